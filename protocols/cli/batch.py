"""`stimsynth generate --out`: the options become a plan, and the plan a batch or a comparison of generators."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from protocols.disk.files import check_new
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.config.synthesis import DiffusionConfig, SynthesisConfig
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.shards.array import Merge
from protocols.shards.engines import Engine
from protocols.synthesis.objectives_table import check_sites, read_table

from .app import announce

__all__ = ["check_wanted", "make_batch", "unknown_option"]

GENERATORS: tuple[str, ...] = get_args(SynthesisConfig.model_fields["generator"].annotation)
MATCHES = ({"contrast"}, {"drive", "contrast"})
"""What two generators may share."""
ASCENT = {
    "keep_seeds": "--keep-seeds",
    "steps": "--steps",
    "seconds": "--seconds",
    "start": "--start",
    "quick": "--quick",
}
"""Options that go with the generator "gradient"."""
ONE_ASCENT = ("keep_seeds", "quick")
"""Those of them that go with "gradient" alone, not with a comparison."""
SAMPLING = {
    "prior": "--prior",
    "strength": "--strength",
    "steps": "--prior-steps",
    "noise_schedule": "--noise-schedule",
}
"""Options that go with the generator "diffusion": keys of ``[diffusion]``."""


def make_batch(
    project: Project,
    out: Path,
    wanted: Path | None,
    *,
    generator: str | None,
    match: str | None,
    sampled: dict[str, Any],
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
    **asked: Any,
) -> tuple[str, dict[str, Any]]:
    """Make a batch, or compare two generators, and write it to `out`; returns what to print for people and for scripts.

    Parameters
    ----------
    generator : str, or None
        One of `GENERATORS`, or both with a comma between; None = that of project.toml.
    match : str, or None
        "contrast" or "drive,contrast", of two generators.
    sampled : dict
        Keys of ``[diffusion]``, None where project.toml holds; a prior that is a path is relative to the working
        folder.
    asked : fields of `BatchOptions`

    Raises
    ------
    DataError
        W05: `out` exists; W06: an option of the command line is not known, or does not go with another one.
    """
    if not isinstance(engine, Merge):  # which may be given again
        check_new(out)
    generator = project.config.synthesis.generator if generator is None else generator
    names = [word.strip() for word in generator.split(",")]
    shared = _shared(match, generator, names)
    _check_options(generator, names, asked=asked, sampled=sampled)
    if asked.get("keep_seeds") is not None:
        _check_kept(project, **asked)
    diffusion = diffusion_settings(project, sampled)
    where: dict[str, Any] = {"device": device, "engine": engine, "progress": progress}
    if wanted is not None:
        check_wanted(project, wanted)
    announce("loading the networks")
    from protocols.synthesis.batch import BatchOptions, free_batch, holds, plan_batch, summary, write_batch
    from protocols.synthesis.compare import compare_generators, write_comparison

    if len(names) == 1:
        batch = free_batch(project, wanted, generator=names[0], diffusion=diffusion, **where, **asked)
        if isinstance(engine, Merge) and holds(out, batch):
            return summary(batch, out)
        if "groups" not in {kind for kinds in batch.kinds for kind in kinds.split("+")}:
            return summary(batch, write_batch(batch, out))
        from protocols.insilico.controllers.groups import joint_range

        beyond = joint_range(project, batch, device=device)
        text, record = summary(batch, write_batch(batch, out, beyond.write))
        return f"{text}\n{beyond.text()}", record | {"groups": beyond.rows}
    plan = plan_batch(project, wanted, options=BatchOptions(diffusion=diffusion, **asked), device=device)
    found = compare_generators(
        project,
        (plan.encoder, plan.validator),
        plan.objective,
        request=plan.request,
        match_drive="drive" in shared,
        **where,
    )
    write_comparison(found, out)
    text = f"{found.text()}\nin {out.name}: one folder per generator, comparison.csv, comparison.json, comparison.png"
    return text, found.to_dict() | {"folder": out.name}


def check_wanted(project: Project, wanted: Path) -> None:
    """Refuse a slip in the file of objectives before the networks are loaded: keys, kinds, and sites of the newest
    fit.
    """
    table, newest = read_table(wanted), project.newest_fit()
    fitted = None if newest is None else fitted_for(project.fitted, newest)
    if fitted is not None and (known := [site.site_id for site in fitted.sites if site.eligible_fit]):
        check_sites(wanted, table, known)


def _shared(match: str | None, generator: str, names: list[str]) -> set[str]:
    """What the images of two generators share; refuses unknown generators and matches."""
    if not set(names) <= set(GENERATORS) or len(set(names)) < len(names):
        raise unknown_option("--generator", generator, "gradient, diffusion, gradient,diffusion, or evolution")
    if match is None:
        return {"contrast"}
    shared = {word.strip() for word in match.split(",")}
    if shared not in MATCHES:
        expected = "contrast, or drive,contrast: images of both generators always have the same contrast"
        raise unknown_option("--match", match, expected)
    if len(names) < 2:
        raise unknown_option("--match", match, "two generators, --generator gradient,diffusion, that can be matched")
    return shared


def _check_options(generator: str, names: list[str], *, asked: dict[str, Any], sampled: dict[str, Any]) -> None:
    """Refuse an option without the generator that it goes with, and one that does not go with a comparison."""

    def given(options: Mapping[str, str], values: dict[str, Any]) -> str:
        return ", ".join(option for key, option in options.items() if values.get(key) is not None)

    climbing, sampling = given(ASCENT, asked), given(SAMPLING, sampled)
    alone = given({key: ASCENT[key] for key in ONE_ASCENT}, asked)
    rules = (
        (climbing and "gradient" not in names, f"gradient, which {climbing} goes with; a prior takes --prior-steps"),
        (sampling and "diffusion" not in names, f"diffusion, which {sampling} goes with"),
        (
            alone and len(names) > 1,
            f"gradient alone with {alone}: generators are compared seed by seed and step by step",
        ),
    )
    for broken, expected in rules:
        if broken:
            raise unknown_option("--generator", generator, expected)


def diffusion_settings(project: Project, sampled: dict[str, Any]) -> DiffusionConfig:
    """``[diffusion]`` of project.toml with the options of the command line in place of its keys."""
    changes = {key: value for key, value in sampled.items() if value is not None}
    if "strength" in changes:
        with suppress(ValueError):  # a name
            changes["strength"] = float(changes["strength"])
    if "prior" in changes and Path(changes["prior"]).exists():
        # The option is relative to the working folder, the key of project.toml to the project.
        changes["prior"] = str(Path(changes["prior"]).resolve())
    try:
        return DiffusionConfig.model_validate({**project.config.diffusion.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise unknown_option(SAMPLING.get(key, key), str(changes.get(key)), first["msg"]) from error


def unknown_option(option: str, found: str, expected: str) -> DataError:
    """W06: an option, or a value of it, that does not go with the others."""
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
    from synth.ascent.ascend import DROP_AFTER

    settings = project.config.synthesis
    count, climbed = settings.seeds if seeds is None else seeds, settings.steps if steps is None else steps
    if quick and (steps is None or steps <= DROP_AFTER):
        raise unknown_option(
            "--keep-seeds",
            str(keep_seeds),
            f"--steps above {DROP_AFTER} too, with --quick: seeds are dropped after {DROP_AFTER} steps",
        )
    if seconds is not None:
        raise unknown_option(
            "--keep-seeds",
            str(keep_seeds),
            "it without --seconds, whose steps are counted in images that all climb to the end",
        )
    if keep_seeds > count:
        raise unknown_option(
            "--keep-seeds", str(keep_seeds), f"at most the {count} seeds of a row: --seeds sets how many"
        )
    if climbed < DROP_AFTER:
        raise unknown_option(
            "--steps",
            str(climbed),
            f"at least {DROP_AFTER} with --keep-seeds: seeds are dropped after {DROP_AFTER} steps",
        )
