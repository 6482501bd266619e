"""The images of a round, put together: controllers with their graded images and control arms, references, natural
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from encoders import Encoder, Ensemble
from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.key import Key, SiteRow
from protocols.recordings.dataset import Dataset, gather
from protocols.recordings.natural import best_natural
from synth import StimulusBatch

from .arms import Arms, Material, choose_arms, with_arms
from .choice import chosen_stimuli
from .contrast import Contrast, measure, of_site, site_masks, usual
from .stimulus import Stimulus, controller_stimuli, graded_stimuli, natural_stimuli


def assemble(
    project: Project,
    number: int,
    batch: StimulusBatch,
    *,
    encoder: Encoder | Ensemble,
    sites: Sequence[SiteRow],
    device: str = "cpu",
) -> tuple[list[Stimulus], Arms]:
    """All images of round `number` but the blank, with their contrasts; and what became of the control arms."""
    config, display, key = project.config, project.display, Key((), tuple(sites))
    data = gather(project, [])  # references and control arms come from the baseline alone
    best = best_natural(
        data,
        key,
        list(dict.fromkeys(batch.targets)),
        objectives=config.synthesis.objectives,
        count=config.protocol.references,
        temperature=config.synthesis.temperature,
    )
    controllers = controller_stimuli(batch, number)
    shown = [
        *controllers,
        *graded_stimuli(batch, number),
        *natural_stimuli(data, best, config.protocol.natural_images, seed=config.protocol.seed + number),
    ]
    if config.protocol.chosen_images:
        recorded = gather(project, range(1, number))
        shown += chosen_stimuli(project, recorded, encoder, taken={s.source_id for s in shown}, device=device)
    masks = site_masks(display, project.fitted_for(number), key.site_ids)
    natural = measure(display, data.pixels[: data.natural], masks)
    predicted = None
    if "predicted_natural" in config.arms.kinds:
        photographs = data.pixels[: data.natural]
        predicted = predict_stored(encoder, photographs, project.cache, device=device).mean(0).double().cpu().numpy()
    arms = choose_arms(
        arm_material(project, data, key, masks=masks, natural=natural, predicted=predicted, best=best),
        controllers,
        config.arms.kinds,
        budget=config.arms.budget,
        repeats=min(config.arms.repeats, config.protocol.repeats),
        shown=[s.source_id for s in shown],
    )
    return with_contrast(display, with_arms(shown, arms), key.site_ids, masks=masks, natural=natural), arms


def arm_material(
    project: Project,
    data: Dataset,
    key: Key,
    *,
    masks: Tensor,
    natural: Contrast,
    predicted: Floats | None,
    best: Mapping[tuple[str, str], Sequence[int]],
) -> Material:
    """What the control arms of a round are made from; `predicted`: of the N photographs at the U sites, (N, U), or
    None.
    """
    mean, sd = key.natural_statistics()
    return Material(
        display=project.display,
        site_ids=key.site_ids,
        masks=masks,
        pixels=data.pixels[: data.natural],
        source_ids=data.source_ids[: data.natural],
        local=natural.local,
        predicted=predicted,
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
