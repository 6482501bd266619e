"""Photographs that a search found, as a batch of images with all that is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.answers import evaluating
from synth.batch import StimulusBatch
from synth.batches import Best, collect
from synth.contract import MICRO_BATCH, EncoderLike, attributes_of
from synth.objectives import Objective

__all__ = ["found_batch"]


def found_batch(
    encoder: EncoderLike,
    objective: Objective,
    pixels: NDArray[np.uint8],
    *,
    names: Sequence[Sequence[str]],
    settings: dict[str, Any],
) -> StimulusBatch:
    """R x K photographs with their predictions: row 0 rank 0, row 0 rank 1, ...; the rank stands as the seed.

    Parameters
    ----------
    encoder : callable
        As for `synth.ascend`; what is stored is its answer to these pixels.
    objective : Objective of R rows
    pixels : uint8 array of shape (R, K, H, W, C)
    names : R sequences of K names of the photographs
        Kept as ``start_ids``.
    settings : dict
        What else is to be recorded of the search.

    Raises
    ------
    ValueError
        Pixels or names of another number than the objective has rows.
    """
    rows, count = pixels.shape[:2]
    if rows != len(objective) or len(names) != rows or any(len(n) != count for n in names):
        raise ValueError(
            f"{rows} rows of {count} photographs and {len(names)} of names; expected {len(objective)} rows"
        )
    known = attributes_of(encoder)
    repeated, flat = objective.repeat(count), pixels.reshape(rows * count, *pixels.shape[2:])
    parts = []
    for begin in range(0, len(flat), MICRO_BATCH):
        some = torch.from_numpy(flat[begin : begin + MICRO_BATCH]).to(known.device)
        bound = repeated[begin : begin + MICRO_BATCH].bind(known.site_ids, known.mean, known.sd)
        best = Best(len(some), checks=1, patience=None)
        best.update(some, evaluating(encoder, bound, some))
        best.end()
        parts.append(best)
    return collect(
        encoder,
        parts,
        repeated,
        seeds=np.tile(np.arange(count, dtype=np.int64), rows),
        start_ids=tuple(name for row in names for name in row),
        known=known,
        settings={"generator": "search", "objective": objective.describe(), "steps": 0, "check_steps": [0]} | settings,
    )
