"""The images of a round, put together: controllers with their graded images and control arms, references, natural
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from encoders import Encoder, Ensemble
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.generations.files import OBJECTIVE
from protocols.project.key import Key, SiteRow
from protocols.rounds.planning.levels import level_stimuli
from protocols.rounds.planning.round_plan import RoundDivision
from synth import StimulusBatch

from .arms import Arms, Material, choose_arms, with_arms
from .choice import chosen_stimuli
from .contrast import Contrast, measure, of_site, site_masks, usual
from .decisions.evolved import entering
from .evolved import evolved_alone, evolved_controllers
from .stimulus import Stimulus, controller_stimuli, graded_stimuli, natural_stimuli


def assemble(
    project: Project,
    number: int,
    batch: StimulusBatch,
    *,
    encoder: Encoder | Ensemble,
    plan: RoundDivision,
    sites: Sequence[SiteRow],
    device: str = "cpu",
) -> tuple[list[Stimulus], Arms]:
    """All images of round `number` but the blank, with their contrasts; and what became of the control arms.

    `plan` says which photographs are references and how many images of each role there is room for.
    """
    config, display, key = project.config, project.display, Key((), tuple(sites))
    data, division = plan.data, plan.division
    best = {pair: list(images) for pair, images in division.references.items()}
    controlled = {str(t) for kind, t in zip(batch.kinds, batch.targets, strict=True) if kind == OBJECTIVE}
    alone = evolved_alone(project, number, controlled, site_ids=key.site_ids)
    made = division.cut(
        [*controller_stimuli(batch, number), *evolved_controllers(alone), *graded_stimuli(batch, number)]
    )
    controllers = [s for s in made if s.role == "controller"]
    shown = [
        *made,
        *natural_stimuli(data, best, division.beside["natural"].images, seed=config.protocol.seed + number),
    ]
    if plan.levels is not None:
        shown += level_stimuli(plan.levels, number, division, shown=shown, data=data, sites=key)
    if count := division.beside["chosen"].images:
        taken = {s.source_id for s in shown}
        shown += chosen_stimuli(project, data, encoder, count=count, taken=taken, device=device)
    masks = site_masks(display, project.fitted_for(number), key.site_ids)
    natural = measure(display, data.pixels[: data.natural], masks)
    arms = choose_arms(
        replace(
            arm_material(project, plan, key, masks=masks, natural=natural, best=best),
            evolved=entering(project, number) if "evolved" in config.arms.kinds else {},
        ),
        controllers,
        config.arms.kinds,
        budget=_arm_budget(plan),
        repeats=division.beside["arm"].repeats,
        shown=[s.source_id for s in shown],
    )
    return with_contrast(display, with_arms(shown, arms), key.site_ids, masks=masks, natural=natural), arms


def _arm_budget(plan: RoundDivision) -> int:
    """Presentations of all arms together: those that the division has room for."""
    arms = plan.division.beside["arm"]
    return arms.images * arms.repeats


def arm_material(
    project: Project,
    plan: RoundDivision,
    key: Key,
    *,
    masks: Tensor,
    natural: Contrast,
    best: Mapping[tuple[str, str], Sequence[int]],
) -> Material:
    """What the control arms of a round are made from; photographs of a library stand behind the project's."""
    data, library, (mean, sd) = plan.data, plan.library, key.natural_statistics()
    asked = "predicted_natural" in project.config.arms.kinds
    return Material(
        display=project.display,
        site_ids=key.site_ids,
        masks=masks,
        pixels=np.concatenate([data.pixels[: data.natural], library.pixels]),
        source_ids=(*data.source_ids[: data.natural], *library.source_ids),
        local=natural.local,
        predicted=np.concatenate([plan.predicted, library.predicted]) if asked else None,
        mean=mean,
        sd=sd,
        temperature=project.config.synthesis.temperature,
        best={pair: images[0] for pair, images in best.items()},
    )


def with_contrast(
    display: Display, stimuli: Sequence[Stimulus], site_ids: Sequence[str], *, masks: Tensor, natural: Contrast
) -> list[Stimulus]:
    """`stimuli`, those made for a site with their contrasts there and the 95th percentiles of the photographs
    (`natural`).
    """
    limits = usual(natural)
    targeted = [i for i, s in enumerate(stimuli) if s.target]
    measured = list(stimuli)
    contrast = measure(display, np.stack([stimuli[i].pixels for i in targeted]), masks) if targeted else natural
    for place, i in enumerate(targeted):
        site = site_ids.index(stimuli[i].target)
        values = of_site(contrast, limits, place, site=site, colour=display.colour == "rgb")
        measured[i] = replace(stimuli[i], contrast=values)
    return measured
