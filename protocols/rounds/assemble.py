"""The images of a round, put together: controllers with their graded images and control arms, references, natural images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from encoders import Encoder, Ensemble
from encoders.fitting.predict import predict_stored
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.key import Key, SiteRow
from protocols.recordings.dataset import gather
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
    config, display = project.config, project.display
    key, site_ids = Key((), tuple(sites)), tuple(s.site_id for s in sites)
    data = gather(project, [])
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
        known = gather(project, range(1, number))  # references and controls see the baseline alone
        shown += chosen_stimuli(project, known, encoder, taken={s.source_id for s in shown}, device=device)
    photographs, source_ids = data.pixels[: data.natural], data.source_ids[: data.natural]
    masks = site_masks(display, project.fitted_for(number), site_ids)
    natural = measure(display, photographs, masks)
    predicted = None
    if "predicted_natural" in config.arms.kinds:
        predicted = predict_stored(encoder, photographs, project.cache, device=device).mean(0).double().cpu().numpy()
    material = Material(
        display=display,
        site_ids=site_ids,
        masks=masks,
        pixels=photographs,
        source_ids=source_ids,
        local=natural.local,
        predicted=predicted,
        mean=key.natural_statistics()[0],
        sd=key.natural_statistics()[1],
        temperature=config.synthesis.temperature,
        best={pair: images[0] for pair, images in best.items()},
    )
    arms = choose_arms(
        material,
        controllers,
        config.arms.kinds,
        budget=config.arms.budget,
        repeats=min(config.arms.repeats, config.protocol.repeats),
        shown=[s.source_id for s in shown],
    )
    return with_contrast(display, with_arms(shown, arms), site_ids, masks=masks, natural=natural), arms


def with_contrast(
    display: Display, stimuli: Sequence[Stimulus], site_ids: Sequence[str], *, masks: Tensor, natural: Contrast
) -> list[Stimulus]:
    """`stimuli`, those made for a site with their contrasts there and the 95th percentiles of the photographs' (`natural`)."""
    limits = usual(natural)
    made = [i for i, s in enumerate(stimuli) if s.target]
    found = list(stimuli)
    contrast = measure(display, np.stack([stimuli[i].pixels for i in made]), masks) if made else natural
    for place, i in enumerate(made):
        site = site_ids.index(stimuli[i].target)
        values = of_site(contrast, limits, place, site=site, colour=display.colour == "rgb")
        found[i] = replace(stimuli[i], contrast=values)
    return found
