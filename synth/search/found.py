"""Photographs that a search found, as a batch of images with all that is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.batch import StimulusBatch
from synth.batches import batch_of
from synth.contract import EncoderLike
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
    return batch_of(
        encoder,
        pixels.reshape(rows * count, *pixels.shape[2:]),
        objective.repeat(count),
        seeds=[rank for _ in range(rows) for rank in range(count)],
        start_ids=[name for row in names for name in row],
        settings={"generator": "search", "objective": objective.describe(), "steps": 0} | settings,
    )
