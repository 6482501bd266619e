"""`stimsynth generate --out`: words of the command line become a plan, the plan a batch or a comparison of generators."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from protocols.disk.files import check_new
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.folder import Project
from protocols.synthesis.batch import BatchOptions, free_batch, plan_batch, summary, write_batch
from protocols.synthesis.compare import compare_generators, write_comparison
from protocols.synthesis.generators import GENERATORS
from synth.ascent.ascend import DROP_AFTER

__all__ = ["make_batch"]

MATCHES = ({"contrast"}, {"drive", "contrast"})
OPTIONS = {"prior": "--prior", "strength": "--strength", "steps": "--prior-steps", "noise_schedule": "--noise-schedule"}


def make_batch(
    project: Project,
    out: Path,
    wanted: Path | None,
    *,
    generator: str | None,
    match: str | None,
    sampled: dict[str, Any],
    device: str = "cpu",
    progress: Reporter | None = None,
    **asked: Any,
) -> tuple[str, dict[str, Any]]:
    """Make a batch, or compare two generators, and write it to `out`; what is to be told of it, for people and for scripts.

    Parameters
    ----------
    generator : str, or None
        One of `GENERATORS`, or both with a comma between; None = that of project.toml.
    match : str, or None
        "contrast" or "drive,contrast", of two generators.
    sampled : dict
        Keys of ``[diffusion]``, None where project.toml holds; a prior that is a path is relative to the working folder.
    asked : fields of `BatchOptions`

    Raises
    ------
    DataError
        W05: `out` is there; W06: a word of the command line that is not known, or that goes with another one.
    """
    check_new(out)
    generator = project.config.synthesis.generator if generator is None else generator
    names = [word.strip() for word in generator.split(",")]
    if not set(names) <= set(GENERATORS) or len(set(names)) < len(names):
        raise _unknown("--generator", generator, "gradient, diffusion, or gradient,diffusion")
    shared = {"contrast"} if match is None else {word.strip() for word in match.split(",")}
    if match is not None and shared not in MATCHES:
        raise _unknown(
            "--match", match, "contrast, or drive,contrast: images of both generators always have the same contrast"
        )
    if match is not None and len(names) < 2:
        raise _unknown("--match", match, "two generators, --generator gradient,diffusion, that can be matched")
    own = [key for key in ("keep_seeds", "steps", "seconds", "start", "quick") if asked.get(key) is not None]
    climbing = [f"--{key.replace('_', '-')}" for key in own]
    if "gradient" not in names and climbing:
        raise _unknown(
            "--generator", generator, f"gradient, which {', '.join(climbing)} goes with; a prior takes --prior-steps"
        )
    if "diffusion" not in names and any(v is not None for v in sampled.values()):
        given = ", ".join(OPTIONS[k] for k, v in sampled.items() if v is not None)
        raise _unknown("--generator", generator, f"diffusion, which {given} goes with")
    alone = ", ".join(f"--{key.replace('_', '-')}" for key in ("keep_seeds", "quick") if key in own)
    if len(names) > 1 and alone:
        raise _unknown(
            "--generator",
            generator,
            f"gradient alone with {alone}: generators are compared seed by seed and step by step",
        )
    if "keep_seeds" in own:
        _check_kept(project, **asked)
    diffusion = diffusion_settings(project, sampled)
    if len(names) == 1:
        batch = free_batch(
            project, wanted, generator=names[0], device=device, progress=progress, diffusion=diffusion, **asked
        )
        return summary(batch, write_batch(batch, out))
    plan = plan_batch(project, wanted, options=BatchOptions(diffusion=diffusion, **asked), device=device)
    found = compare_generators(
        project,
        (plan.encoder, plan.validator),
        plan.objective,
        request=plan.request,
        match_drive="drive" in shared,
        device=device,
        progress=progress,
    )
    write_comparison(found, out)
    text = f"{found.text()}\nin {out.name}: a folder a generator, comparison.csv, comparison.json, comparison.png"
    return text, found.to_dict() | {"folder": out.name}


def diffusion_settings(project: Project, sampled: dict[str, Any]) -> DiffusionConfig:
    """``[diffusion]`` of project.toml with the words of the command line above it."""
    changes = {key: value for key, value in sampled.items() if value is not None}
    if "strength" in changes:
        with suppress(ValueError):  # a name
            changes["strength"] = float(changes["strength"])
    if "prior" in changes and Path(changes["prior"]).exists():
        changes["prior"] = str(
            Path(changes["prior"]).resolve()
        )  # named from the working folder, not from the project's
    try:
        return DiffusionConfig.model_validate({**project.config.diffusion.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise _unknown(OPTIONS.get(key, key), str(changes.get(key)), first["msg"]) from error


def _unknown(option: str, found: str, expected: str) -> DataError:
    return DataError(
        option,
        found=found,
        expected=expected,
        cause="a slip of the pen, or options that do not go together",
        fix="correct the command; `stimsynth generate --help` lists its options",
        code="W06",
    )


def _check_kept(
    project: Project,
    keep_seeds: int,
    seeds: int | None,
    *,
    steps: int | None,
    seconds: float | None,
    quick: bool | None,
    **_: object,
) -> None:
    settings = project.config.synthesis
    count, climbed = settings.seeds if seeds is None else seeds, settings.steps if steps is None else steps
    if quick and (steps is None or steps <= DROP_AFTER):
        raise _unknown(
            "--keep-seeds",
            str(keep_seeds),
            f"--steps above {DROP_AFTER} too, with --quick: seeds are dropped after {DROP_AFTER} steps",
        )
    if seconds is not None:
        raise _unknown(
            "--keep-seeds",
            str(keep_seeds),
            "it without --seconds, whose steps are counted in images that all climb to the end",
        )
    if keep_seeds > count:
        raise _unknown("--keep-seeds", str(keep_seeds), f"at most the {count} seeds of a row: --seeds sets how many")
    if climbed < DROP_AFTER:
        raise _unknown(
            "--steps",
            str(climbed),
            f"at least {DROP_AFTER} with --keep-seeds: seeds are dropped after {DROP_AFTER} steps",
        )
