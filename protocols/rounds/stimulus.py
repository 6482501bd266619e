"""The stimuli of a round: controllers, graded images and natural images, each with what the key says of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from protocols.arrays import Pixels
from protocols.project.objectives import controller_id
from protocols.recordings.dataset import Dataset
from synth import StimulusBatch

MADE_BY = {"ascend": "gradient", "guide": "diffusion"}


def batch_statistics(batch: StimulusBatch) -> dict[str, float | None]:
    """Mean luminance and RMS contrast that the batch was held to."""
    for constraint in batch.settings.get("constraints", []):
        if "rms" in constraint:
            return {"mean": constraint["mean"], "rms": constraint["rms"]}
    return {"mean": None, "rms": None}


def batch_names(batch: StimulusBatch, number: int) -> list[str]:
    """Source ids of the images of a batch as controllers of round `number`."""
    rows = zip(batch.kinds, batch.targets, batch.seeds, strict=True)
    return [controller_id(number, kind, target, seed=seed) for kind, target, seed in rows]


def controller_stimuli(batch: StimulusBatch, number: int) -> list[Stimulus]:
    """The controllers of a batch; one per (objective, site), the validator's choice, is confirmatory."""
    chosen = {(batch.row_names[i], batch.seeds[i]) for i in batch.best_indices()}
    names = batch_names(batch, number)
    return [
        Stimulus(
            pixels=batch.images[i],
            role="controller",
            source_id=names[i],
            objective=batch.kinds[i],
            target=batch.targets[i],
            generator=MADE_BY.get(batch.settings.get("generator", "ascend"), str(batch.settings.get("generator"))),
            seed=int(batch.seeds[i]),
            confirmatory=(batch.row_names[i], batch.seeds[i]) in chosen,
            started_from=batch.start_ids[i] if batch.start_ids else "",
            score=float(batch.scores[i]),
            validator_score=float("nan") if batch.validator_scores is None else float(batch.validator_scores[i]),
        )
        for i in range(len(batch))
    ]


def graded_stimuli(batch: StimulusBatch, number: int) -> list[Stimulus]:
    """The graded images of the confirmatory controllers; one that is the controller itself is left out."""
    graded, controllers = batch.graded, controller_stimuli(batch, number)
    if graded is None or graded.parents is None or graded.steps is None:
        return []
    stimuli = []
    for i, (parent, step) in enumerate(zip(graded.parents.tolist(), graded.steps.tolist(), strict=True)):
        controller = controllers[parent]
        if controller.confirmatory and not np.array_equal(graded.images[i], controller.pixels):
            stimuli.append(
                replace(
                    controller,
                    pixels=graded.images[i],
                    role="graded",
                    source_id=f"{controller.source_id}_step{step:03d}",
                    parent=controller.source_id,
                    confirmatory=False,
                    score=float(graded.scores[i]),
                    validator_score=float("nan")
                    if graded.validator_scores is None
                    else float(graded.validator_scores[i]),
                )
            )
    return stimuli


def natural_stimuli(
    data: Dataset, best: dict[tuple[str, str], list[int]], n_random: int, *, seed: int
) -> list[Stimulus]:
    """The references (each listed for every objective and site that it serves) and `n_random` other natural images."""
    serves: dict[int, list[tuple[str, str]]] = {}
    for pair, images in best.items():
        for image in images:
            serves.setdefault(image, []).append(pair)
    others = np.array([i for i in range(data.natural) if i not in serves])
    drawn = np.random.default_rng(seed).permutation(others)[:n_random]
    references = [
        Stimulus(pixels=data.pixels[i], role="reference", source_id=data.source_ids[i], reference_for=tuple(pairs))
        for i, pairs in sorted(serves.items())
    ]
    return references + [
        Stimulus(pixels=data.pixels[i], role="natural", source_id=data.source_ids[i])
        for i in sorted(int(d) for d in drawn)
    ]


@dataclass(frozen=True)
class Stimulus:
    """An image to be shown: `pixels` uint8 (H, W, C) in the display's size, and what the sealed key says about it (see
    `KeyRow`).
    """

    pixels: Pixels
    role: str
    source_id: str
    objective: str = ""
    target: str = ""
    generator: str = ""
    seed: int | None = None
    confirmatory: bool = False
    reference_for: tuple[tuple[str, str], ...] = ()
    started_from: str = ""
    arm: str = ""
    parent: str = ""
    score: float = float("nan")
    validator_score: float = float("nan")
    contrast: dict[str, float] = field(default_factory=dict)
    level: dict[str, float] = field(default_factory=dict)


SHARED = tuple(f.name for f in fields(Stimulus) if f.name != "pixels")
