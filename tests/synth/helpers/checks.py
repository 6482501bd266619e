"""Comparisons that several rooms make."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from synth import StimulusBatch


def check_alike(whole: StimulusBatch, part: StimulusBatch, rows: slice, tolerance: float) -> None:
    """A run of some `rows` of the objective gives what the run of all gave, but for rounding; both with a snapshot at every check after step 0.

    The 8-bit images are the same but for one value an image, on the border of two levels; scores of the same pixels agree within `tolerance`.
    """
    assert whole.graded is not None
    assert part.graded is not None
    apart = np.abs(whole.trace[rows] - part.trace)
    assert apart[:, 0].max() < tolerance
    steps = sorted(set(part.graded.steps.tolist()))
    assert part.trace.shape[1] == len(steps) + 1
    for column, step in enumerate(steps, start=1):
        ours, theirs = (b.graded.images[b.graded.steps == step].astype(int) for b in (whole, part))
        levels = np.abs(ours[rows] - theirs).reshape(len(theirs), -1)
        assert levels.max() <= 1
        assert (levels > 0).sum(1).max() <= 1
        assert (apart[~levels.any(1), column] < tolerance).all()


def wide(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def to_float(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def rescore(batch: StimulusBatch, encoder: nn.Module) -> np.ndarray:
    bound = batch.objective.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    images = to_float(batch.images)
    return bound(images, encoder(images)).numpy()


class Cramped(nn.Module):
    """An encoder whose device holds at most `room` images at a time."""

    def __init__(self, encoder: nn.Module, room: int) -> None:
        super().__init__()
        self.encoder, self.room = encoder.eval(), room
        self.site_ids, self.fingerprint = encoder.site_ids, encoder.fingerprint
        self.natural_mean, self.natural_sd = encoder.natural_mean, encoder.natural_sd

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.encoder(images)
