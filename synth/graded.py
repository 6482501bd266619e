"""Graded images: earlier iterates of an ascent, as 8-bit images with their own predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .answers import Answers, familiarity
from .batch import StimulusBatch
from .contract import EncoderLike


class Snapshots:
    """The iterates of one micro-batch at given steps; images that have stopped by then have none."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.wanted = frozenset(steps)
        self.steps: list[int] = []
        self.images: list[int] = []
        self.pixels: list[NDArray[np.uint8]] = []
        self.predicted: list[NDArray[np.float32]] = []
        self.sd: list[NDArray[np.float32]] = []
        self.scores: list[np.float32] = []

    def keep(self, step: int, pixels: Tensor, answers: Answers, *, stopped: NDArray[np.bool_]) -> None:
        """Take the 8-bit images (B, H, W, C) of a wanted step, and what is predicted for them."""
        if step not in self.wanted:
            return
        for i in np.flatnonzero(~stopped).tolist():
            self.steps.append(step)
            self.images.append(i)
            self.pixels.append(pixels[i].cpu().numpy())
            self.predicted.append(answers.mean[i])
            self.sd.append(answers.sd[i])
            self.scores.append(answers.scores[i])


def graded_batch(encoder: EncoderLike, batch: StimulusBatch, parts: Sequence[Snapshots]) -> StimulusBatch | None:
    """The snapshots of all micro-batches of `batch`, image by image, step by step; None where there are none."""
    begins = [begin for begin, _ in batch.settings["plan"]]
    parents = np.array([b + i for b, s in zip(begins, parts, strict=True) for i in s.images], dtype=np.int64)
    steps = np.array([step for s in parts for step in s.steps], dtype=np.int64)
    if not len(steps):
        return None
    order = np.lexsort([steps, parents])

    def stacked(name: str) -> NDArray[np.float32]:
        return np.stack([value for s in parts for value in getattr(s, name)])[order]

    pixels: NDArray[np.uint8] = np.stack([p for s in parts for p in s.pixels])[order]
    distance, outside = familiarity(encoder, pixels)
    return replace(
        batch.take(parents[order]),
        images=pixels,
        predicted=stacked("predicted"),
        unrounded_predicted=None,
        predicted_sd=stacked("sd"),
        scores=stacked("scores"),
        trace=np.empty((len(order), 0), dtype=np.float32),
        distance=distance,
        outside=outside,
        steps=steps[order],
        parents=parents[order],
    )
