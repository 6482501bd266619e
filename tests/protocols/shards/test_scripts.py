"""The scripts of an array job: whatever the words hold, the shell gives them on as they were; no path becomes absolute."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.shards.scripts import ArrayJob, script_texts

RECORDER = """#!/bin/sh
printf '%s\\000' "${0##*/}" "$@" >> "$TOLD"
printf '\\n\\000' >> "$TOLD"
echo "17;one"
"""
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8).filter(
    str.isprintable
)
NAMES = st.text("ab '\"$`\\*%&;|<>!~#()é", min_size=1, max_size=6).map(lambda text: f"x{text}x")


def programs(folder: Path) -> dict[str, str]:
    """The environment with programs that only say how they were called."""
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("sbatch", "stimsynth", "apptainer"):
        path = folder / "bin" / name
        path.write_text(RECORDER, encoding="utf-8")
        path.chmod(0o755)
    (folder / "told").write_text("", encoding="utf-8")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TOLD": str(folder / "told"), "SLURM_ARRAY_TASK_ID": "2"}


def told(folder: Path) -> list[list[str]]:
    calls = (folder / "told").read_bytes().decode().split("\n\0")
    return [call.split("\0")[:-1] for call in calls if call]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=3), name=NAMES, out=NAMES)
def test_the_shell_gives_on_what_was_given(tmp_path: Path, words: list[str], name: str, out: str) -> None:
    environment = programs(tmp_path)
    folder = Path(f"{out}/jobs")
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(tmp_path)  # the scripts lead back to the folder they were written from
    try:
        texts = script_texts(ArrayJob(project=Path(name), words=words, tasks=3, slurm={"mem": "4G"}), folder)
    finally:
        os.chdir(before)
    for file, text in texts.items():
        (tmp_path / folder / file).write_text(text, encoding="utf-8")
        assert str(tmp_path) not in text, "a path became absolute"
    run = {"env": environment, "check": True, "capture_output": True}
    subprocess.run(["bash", tmp_path / folder / "submit.sh"], cwd="/", **run)
    for script in ("generate.sbatch", "merge.sbatch"):
        subprocess.run(["bash", tmp_path / folder / script], cwd=tmp_path, **run)
    command = ["stimsynth", "--quiet", "generate", name, *words]
    assert told(tmp_path) == [
        ["sbatch", "--parsable", f"{folder}/generate.sbatch"],
        ["sbatch", "--parsable", "--dependency=afterany:17", f"{folder}/merge.sbatch"],
        [*command, "--shard", "2/3"],
        [*command, "--merge"],
    ]
    assert (tmp_path / name / "cache" / "slurm").is_dir()


def test_what_sbatch_reads_stands_at_the_top(tmp_path: Path) -> None:
    job = ArrayJob(
        project=Path("my lab 5%"),
        words=["--out", "b"],
        tasks=7,
        slurm={"gres": "gpu:1"},
        setup=["source .venv/bin/activate"],
        image=Path("s.sif"),
        nvidia=True,
    )
    text = script_texts(job, Path("jobs"))["generate.sbatch"]
    head = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert text.splitlines()[1 : len(head) + 1] == head
    for line in ("--array=1-7", "--requeue", "--gres=gpu:1", '--output="my lab 5%%/cache/slurm/%x_%A_%a.log"'):
        assert f"#SBATCH {line}" in head
    assert "--array" not in script_texts(job, Path("jobs"))["merge.sbatch"]
    assert text.index("activate") < text.index("apptainer exec --nv s.sif stimsynth")
    assert shlex.split(text.splitlines()[-1])[-1] == "$SLURM_ARRAY_TASK_ID/7"


@pytest.mark.parametrize("word", ["a\nrm -rf x", "a\r", "\x00"])
def test_a_line_break_ends_no_line_of_a_script(word: str) -> None:
    for job in (
        ArrayJob(project=Path("p"), words=[word], tasks=1),
        ArrayJob(project=Path(word), words=[], tasks=1),
        ArrayJob(project=Path("p"), words=[], tasks=1, slurm={"partition": word}),
        ArrayJob(project=Path("p"), words=[], tasks=1, setup=[word]),
    ):
        with pytest.raises(ValueError, match="plain text"):
            script_texts(job, Path("jobs"))


def test_the_recipe_installs_the_package_on_the_python_image() -> None:
    recipe = script_texts(ArrayJob(project=Path("p"), words=[], tasks=1), Path("jobs"))["stimsynth.def"]
    sections = [line for line in recipe.splitlines() if line.startswith("%")]
    assert recipe.startswith("Bootstrap: docker\nFrom: python:3.")
    assert sections == ["%files", "%post", "%environment", "%runscript", "%test"]
    assert "pip install --no-cache-dir '/opt/stimsynth[cluster]'" in recipe
