"""The files of an array job for those who submit by hand: two batch scripts of Slurm, one script that submits both, and
a recipe for a container.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ArrayJob", "script_texts"]

RECIPE = """Bootstrap: docker
From: python:3.11-slim

# Build it in the folder of the source of stimsynth:  apptainer build stimsynth.sif {recipe}
# For graphics cards:                                apptainer exec --nv stimsynth.sif stimsynth ...

%files
    . /opt/stimsynth

%post
    python -m pip install --no-cache-dir '/opt/stimsynth[cluster]'

%environment
    export OMP_NUM_THREADS=1
    export MPLBACKEND=Agg

%runscript
    exec stimsynth "$@"

%test
    stimsynth --version
"""


@dataclass(frozen=True, kw_only=True)
class ArrayJob:
    """What an array job is.

    Attributes
    ----------
    project : Path
        As the user gave it.
    words : sequence of str
        Options of `generate`.
    tasks : int
        Of the array.
    slurm : dict of option to value
        Of sbatch, such as {"partition": "gpu"}; None = without a value.
    setup : sequence of str
        Lines of the shell before the command.
    image : Path or None
        A container in which the command is run.
    nvidia : bool
        Whether the container sees the graphics cards.
    """

    project: Path
    words: Sequence[str]
    tasks: int
    slurm: Mapping[str, str | None] = field(default_factory=dict)
    setup: Sequence[str] = ()
    image: Path | None = None
    nvidia: bool = False

    @property
    def logs(self) -> Path:
        """Folder of the jobs' output."""
        return self.project / "cache" / "slurm"


def script_texts(job: ArrayJob, out: Path) -> dict[str, str]:
    """File name to text, of the folder `out`; paths in them are as the user gave them, from the working folder.

    Raises
    ------
    ValueError
        A word holds a line break, which ends a line of a batch script.
    """
    paths = [str(path) for path in (job.project, out, job.image or "")]
    every = [*paths, *job.words, *job.setup, *filter(None, job.slurm.values())]
    if broken := [word for word in every if not word.isprintable()]:
        raise ValueError(f"{broken[0]!r} holds a line break or another sign that is not printed; expected plain text")
    part = f'--shard "$SLURM_ARRAY_TASK_ID/{job.tasks}"'
    array = _batch(job, {"array": f"1-{job.tasks}", "requeue": None}, ending=part, number="%A_%a")
    merge = _batch(job, {"requeue": None}, ending="--merge", number="%j")
    return {
        "generate.sbatch": array,
        "merge.sbatch": merge,
        "submit.sh": _submit(job, out),
        "stimsynth.def": RECIPE.format(recipe="stimsynth.def"),
    }


def _batch(job: ArrayJob, options: Mapping[str, str | None], *, ending: str, number: str) -> str:
    log = f"{str(job.logs).replace('%', '%%')}/%x_{number}.log"
    asked: dict[str, str | None] = {
        "job-name": "stimsynth", "nodes": "1", "ntasks": "1", **job.slurm, **options,
        "output": log, "open-mode": "append",
    }  # fmt: skip
    lines = [f"#SBATCH --{name}" + ("" if value is None else f"={_quoted(value)}") for name, value in asked.items()]
    inside = [] if job.image is None else ["apptainer", "exec", *(["--nv"] if job.nvidia else []), str(job.image)]
    command = shlex.join([*inside, "stimsynth", "--quiet", "generate", str(job.project), *job.words])
    head = ["#!/bin/bash", *lines, "set -e", "export OMP_NUM_THREADS=1 MPLBACKEND=Agg"]
    return "\n".join([*head, *job.setup, f"{command} {ending}", ""])


def _quoted(value: str) -> str:
    """A value of an #SBATCH line, whose reader knows double quotes and the backslash as the shell does."""
    if shlex.quote(value) == value:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _submit(job: ArrayJob, out: Path) -> str:
    back = os.path.relpath(".", out)
    array, merge = (shlex.quote(str(out / name)) for name in ("generate.sbatch", "merge.sbatch"))
    return f"""#!/bin/bash
# Submits the array job, and the job that puts its shards together when all its tasks have ended.
# Give it again after a failure: what is done is kept.
set -eu
cd "$(dirname "${{BASH_SOURCE[0]}}")"
cd {shlex.quote(back)}
mkdir -p {shlex.quote(str(job.logs))}
array=$(sbatch --parsable {array})
merge=$(sbatch --parsable --dependency=afterany:"${{array%%;*}}" {merge})
echo "array job ${{array%%;*}}, then merging job ${{merge%%;*}}"
"""
