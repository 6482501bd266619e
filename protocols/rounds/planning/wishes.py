"""What the configuration asks for beside the tests of a round."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from protocols.arrays import Floats
from protocols.models.fit import held_out_of
from protocols.project.config.synthesis import graded_steps
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.dataset import Dataset
from protocols.recordings.natural import References
from synth import StimulusBatch

from .division import Pair, Share
from .levels import level_wishes

OFTEN = 8  # presentations of photographs and further seeds, where there is room


def wishes_of(
    project: Project,
    data: Dataset,
    references: References,
    *,
    number: int,
    predicted: Floats,
    sites: Key,
    levels: StimulusBatch | None,
) -> dict[str, Share]:
    """The images of every role of `BESIDE` that are asked for, and how often each is shown.

    `number`: the round; `predicted`: the encoder's predictions (N + F, U) of the photographs at `sites`, those of a
    library last; `levels`: the photographs at graded levels, where they are made already.
    """
    config, arms = project.config, project.config.arms
    protocol, synthesis = config.protocol, config.synthesis
    pairs = len(references.images)
    steps = len(graded_steps(synthesis)) if synthesis.generator == "gradient" else 0
    shown = {data.source_ids[i] for images in references.images.values() for i in images}
    fitted = np.array(data.source_ids[: data.natural])[~held_out_of(project, data)[: data.natural]]
    often = protocol.repeats or OFTEN
    affordable = arms.budget // min(arms.repeats, protocol.repeats or arms.repeats)
    made = pairs * len(arms.kinds)
    if "predicted_natural" in arms.kinds:
        best = predicted_best(references.images, predicted, sites, temperature=synthesis.temperature)
        made += len(best - {images[0] for images in references.images.values()}) - pairs
    return {
        "natural": Share(min(protocol.natural_images, data.natural - len(shown)), often),
        "chosen": Share(min(protocol.chosen_images, len(set(fitted.tolist()) - shown)), often),
        "graded": Share(pairs * steps, synthesis.graded_repeats),
        "arm": Share(min(made, affordable), arms.repeats),
        "seed": Share(pairs * (synthesis.seeds - 1), often),
        **level_wishes(project, number, references, batch=levels, natural=data.natural, often=often),
    }


def predicted_best(pairs: Iterable[Pair], predicted: Floats, sites: Key, *, temperature: float) -> set[int]:
    """Places of the photographs with the highest predicted score of each pair: several pairs may share one."""
    mean, sd = sites.natural_statistics()
    return {
        int(OBJECTIVES[objective].site_scores(predicted, mean, sd, temperature=temperature)[:, k].argmax())
        for objective, k in {(o, sites.site_ids.index(target)) for o, target in pairs}
    }
