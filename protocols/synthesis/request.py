"""What is asked of a generator: targets, objectives, display statistics, graded steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor

from encoders import Encoder, Ensemble
from protocols.arrays import Pixels
from protocols.errors import DataError
from protocols.project.config.synthesis import DiffusionConfig, SynthesisConfig
from protocols.project.decisions.standing import read_standing
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.objectives import ObjectiveName
from synth import Objective, cautious, fourier, jitter, one_hot, stretch, suppress
from synth.recipes import few_steps

from .colour import colour_limits


@dataclass(frozen=True)
class Request:
    """What is asked of a generator.

    Parameters
    ----------
    recipe : dict
        Of `recipe`: constraints, transforms, and for the ascent variables and learning rate.
    shape : (C, H, W) of the display
    seeds : sequence of int
        One image per row and seed.
    steps : int
        Gradient steps; a prior takes those of `diffusion`.
    start : Tensor of shape (R, len(seeds), C, H, W), or None
        Starting images of the ascent, with their names `start_ids`; a prior starts from noise.
    keep_seeds, budget_s, snapshots, batch_size : as for `synth.ascend`
    diffusion : DiffusionConfig
    quick : bool
        The recipe is the one of `quick_recipe`.
    """

    recipe: dict[str, Any]
    shape: tuple[int, int, int]
    seeds: Sequence[int]
    steps: int
    diffusion: DiffusionConfig
    start: Tensor | None = None
    start_ids: Sequence[Sequence[str]] | None = None
    keep_seeds: int | None = None
    budget_s: float | None = None
    snapshots: Sequence[int] = ()
    batch_size: int | None = None
    quick: bool = False

    def of_rows(self, rows: Sequence[int]) -> Request:
        """What is asked for these rows of the objective."""
        start = None if self.start is None else self.start[list(rows)]
        names = None if self.start_ids is None else [self.start_ids[i] for i in rows]
        return replace(self, start=start, start_ids=names)


def natural_luminance(display: Display, natural: Pixels) -> dict[str, float]:
    """Medians over natural images of mean luminance and RMS contrast (SD of luminance) inside the aperture."""
    statistics = display.constraints()[-1].statistics(torch.from_numpy(natural).permute(0, 3, 1, 2).float() / 255)
    return {name: float(statistics[name].median()) for name in ("mean", "rms")}


def recipe(project: Project, natural: Pixels) -> dict[str, Any]:
    """The settings of project.toml as arguments of `synth.ascend`: variables, constraints, transforms, learning rate.

    Where it gives no mean luminance or contrast, they are the medians of the photographs `natural`, uint8 (N, H, W, C);
    where it gives no largest chroma, that of nearly all of their pixels.
    """
    settings, typical = project.config.synthesis, natural_luminance(project.display, natural)
    mean = typical["mean"] if settings.mean_luminance is None else settings.mean_luminance
    rms = typical["rms"] if settings.rms_contrast is None else settings.rms_contrast
    return {
        "parameterisation": fourier(project.display.shape, decay=settings.decay),
        "constraints": [
            *project.display.constraints(mean=mean, rms=rms),
            *colour_limits(project.display, settings, natural),
        ],
        "transforms": [jitter(settings.jitter_fraction)] if settings.jitter_fraction else [],
        "learning_rate": settings.learning_rate,
    }


def quick_recipe(how: dict[str, Any], shape: tuple[int, int, int], *, timed: bool) -> tuple[dict[str, Any], int]:
    """`how`, of `recipe`, with the variables, the rule and the shifts of `synth.recipes.quick`; and its steps.

    A run that is `timed` ends at a check, so that it checks every step.
    """
    fast: dict[str, Any] = dict(few_steps.quick(shape))
    steps = int(fast.pop("steps"))
    return {**how, **fast, **({"check_every": 1} if timed else {})}, steps


def chosen_targets(project: Project, encoder: Encoder | Ensemble, number: int | None = None) -> list[str]:
    """The sites to control: all eligible ones, or those that the configuration names; of round `number` those that
    were decided on, without the sites that are stopped.

    Raises
    ------
    DataError
        D07: a named site is not eligible, or none is; all are stopped; S10: the decisions cannot be read.
    """
    standing = None if number is None else read_standing(project.folder)
    chosen = None if standing is None or number is None else standing.targets_of(number)
    wanted: Sequence[str] = project.config.synthesis.targets if chosen is None else chosen.sites
    targets = list(encoder.target_ids) if wanted == "all" else list(wanted)
    refused = [t for t in targets if t not in encoder.target_ids]
    if refused or not targets:
        raise DataError(
            str(project.folder / "project.toml"),
            found=f"targets that cannot be controlled: {', '.join(refused) or 'no eligible site'}",
            expected=f"sites among {', '.join(encoder.target_ids) or '(none)'}",
            cause="their reliability is below reliability_target, or the name is not one of the recorded sites",
            fix="set [synthesis] targets to eligible sites, or record more repeats"
            if chosen is None
            else "choose other sites with `stimsynth decide targets SITE ...`",
            code="D07",
        )
    left = [t for t in targets if standing is None or t not in standing.stopped]
    if not left:
        raise DataError(
            "decisions.jsonl",
            found=f"all {len(targets)} targets of round {number} stopped",
            expected="a site to control",
            cause="more sites were stopped than was meant",
            fix="`stimsynth decide resume SITE`, or choose others with `stimsynth decide targets SITE ...`",
            code="D07",
        )
    return left


IMAGE_OBJECTIVES: dict[ObjectiveName, Callable[[list[str], SynthesisConfig], Objective]] = {
    "stretch": lambda targets, settings: stretch(targets),
    "one_hot": lambda targets, settings: one_hot(targets, temperature=settings.temperature),
    "suppress": lambda targets, settings: suppress(targets),
}
"""What the images of each objective of `protocols.project.objectives` are made for: the targets and ``[synthesis]`` ->
one row per target.
"""


def declared(project: Project, targets: list[str]) -> Objective:
    """The objectives of project.toml, one row per objective and target, minus a penalty for the disagreement of the
    encoder's members.
    """
    settings = project.config.synthesis
    objective = reduce(or_, [IMAGE_OBJECTIVES[name](targets, settings) for name in settings.objectives])
    return cautious(objective, settings.kappa) if settings.kappa else objective
