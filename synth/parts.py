"""A batch made in parts: whole rows of an objective that are climbed together, and the parts as one batch again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.objectives import Objective

from .batch import StimulusBatch
from .batches import plan_of
from .contract import MICRO_BATCH

__all__ = ["join_batches", "part_size", "row_parts"]

LEAST = 8
"""Images that are climbed together at least, where there are so many: fewer cost more time each."""
PARTS = 4
"""Parts that a small batch is divided into, for so many cores."""


def part_size(images: int) -> int:
    """Images climbed together, of so many in all: a quarter of them, but 8 to 32.

    It depends on nothing else, so that the images do not depend on the machine: what is climbed together shares the
    rounding of its sums.
    """
    return min(max(-(-images // PARTS), LEAST), MICRO_BATCH)


def row_parts(objective: Objective, seeds: int, size: int | None = None) -> list[range]:
    """The rows of each part: whole rows, and whole sets of rows that are made together, of about `size` images.

    Parameters
    ----------
    objective : Objective of R rows
    seeds : int
        Images of a row.
    size : int or None
        Images of a part; a row or set of more is a part of its own. None = `part_size` of all.
    """
    size = part_size(len(objective) * seeds) if size is None else size
    return [range(begin, end) for begin, end in plan_of(objective.spans, max(size // seeds, 1))]


def join_batches(parts: Sequence[StimulusBatch]) -> StimulusBatch:
    """Batches of other rows by the same encoder and settings, as one batch in their order.

    Raises
    ------
    ValueError
        Parts of other sites, encoders, settings or versions; or none at all.
    """
    if not parts:
        raise ValueError("no batch to join; expected at least one")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        for name in ("site_ids", "encoder_fingerprint", "validator_fingerprint", "versions"):
            if getattr(part, name) != getattr(first, name):
                raise ValueError(
                    f"parts with the {name} {getattr(first, name)!r} and {getattr(part, name)!r}; expected one batch"
                )
    begins = np.cumsum([0, *map(len, parts)])
    rows = [row for part in parts for row in part.objective_description["rows"]]
    graded = [
        replace(part.graded, parents=part.graded.parents + begin)
        for part, begin in zip(parts, begins, strict=False)
        if part.graded is not None and part.graded.parents is not None
    ]
    columns = max(part.trace.shape[1] for part in parts)
    settings = _settings(parts, begins.tolist())
    return replace(
        first,
        **{name: _column(parts, name) for name in _COLUMNS},
        trace=np.concatenate([_widened(part.trace, columns) for part in parts]),
        objective_description={**first.objective_description, "rows": rows},
        settings=settings,
        graded=replace(join_batches([replace(g, settings={}) for g in graded]), settings=settings) if graded else None,
    )


_COLUMNS = (
    *("images", "predicted", "predicted_sd", "scores", "row_names", "kinds", "targets", "seeds", "start_ids"),
    *("unrounded_predicted", "validator_predicted", "validator_scores", "distance", "outside", "steps", "parents"),
)
"""Fields of one entry per image, without the trace."""


def _column(parts: Sequence[StimulusBatch], name: str) -> Any:
    """One field of all parts in a row; None where a part lacks it."""
    values = [getattr(part, name) for part in parts]
    if any(value is None for value in values):
        return None
    if isinstance(values[0], tuple):
        return tuple(item for value in values for item in value)
    return np.concatenate(values)


def _widened(trace: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """A trace (S, K) with NaN after its last check, (S, `columns`)."""
    return np.pad(trace, ((0, 0), (0, columns - trace.shape[1])), constant_values=np.nan)


def _settings(parts: Sequence[StimulusBatch], begins: Sequence[int]) -> dict[str, Any]:
    """The settings of a batch that was made in parts: what they share, and micro-batches counted through.

    Raises
    ------
    ValueError
        They share less than they should.
    """
    settings = [part.settings for part in parts]
    if not any(settings):
        return {}
    joined: dict[str, Any] = {}
    for key in dict.fromkeys(key for each in settings for key in each):
        values: list[Any] = [each.get(key) for each in settings]
        if key == "objective":
            joined[key] = {**values[0], "rows": [row for value in values for row in value["rows"]]}
        elif key == "plan":
            joined[key] = [
                [begin + low, begin + high] for value, begin in zip(values, begins, strict=False) for low, high in value
            ]
        elif key == "start" and isinstance(values[0], dict):
            joined[key] = {"sha256": [value["sha256"] for value in values]}
        elif key == "check_steps":
            joined[key] = max(values, key=len)
        elif all(value == values[0] for value in values):
            joined[key] = values[0]
        else:
            raise ValueError(f"parts whose setting {key!r} differs: {values[:3]}; expected parts of one batch")
    return joined
