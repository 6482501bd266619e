"""Columns of a table of presentations beside image and onset: valid, block, rep, and those that may say what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .choices import entries, undecided
from .options import NwbOptions

OUTCOMES = (
    *("correct", "is_correct", "completed", "is_valid", "outcome", "trial_outcome", "aborted", "abort", "error"),
    *("is_aborted", "fixation_broken", "broke_fixation", "success", "good", "is_good", "excluded", "rejected"),
)
"""Columns that may say which presentations are to be used; told where they were not."""
BOOLEAN = ("0", "1", "true", "false")


def trial_columns(
    path: Path, table: Any, options: NwbOptions, *, rows: NDArray[np.intp], notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Columns of ``trial/``, (T,) each: those that the options name, else those of these very names (told).

    Parameters
    ----------
    rows : array of shape (T,)
        The row of the table of each presentation, in rising order.
    """
    columns: dict[str, NDArray[Any]] = {}
    for key, named in (("valid", options.valid_column), ("block", options.block_column), ("rep", "")):
        name = named or key
        if not named and name not in table.colnames:
            continue
        values = _per_image(path, entries(path, table, f"{key}_column", named=name), rows, name=name)
        if not named and not _plain(key, values):
            notes.append(f"the column {name} of {table.name} was not taken as trial/{key}: {_some(values)}")
            continue
        columns[key] = values.astype(np.uint8) if values.dtype.kind == "b" else values
        if not named:
            notes.append(f"the column {name} of {table.name} was taken as trial/{key}")
    doubtful = [c for c in table.colnames if c != options.valid_column and c.lower() in (*OUTCOMES, "valid")]
    if doubtful and "valid" not in columns:
        notes.append(
            f"all rows of {table.name} are used, whatever {', '.join(doubtful)} says; see valid_column and "
            "keep_presentations"
        )
    return columns


def _plain(key: str, values: NDArray[Any]) -> bool:
    """Whether a column is without doubt what its name says: 0 or 1, or whole numbers from 0."""
    if key == "valid":
        return {str(v).lower().removesuffix(".0") for v in values.tolist()} <= set(BOOLEAN)
    return values.dtype.kind in "iu" and bool(np.all(values >= 0))


def _some(values: NDArray[Any]) -> str:
    return "it holds " + ", ".join(dict.fromkeys(str(v) for v in values.tolist()[:3])) if values.size else "it is empty"


def _per_image(path: Path, values: list[Any], rows: NDArray[np.intp], *, name: str) -> NDArray[Any]:
    """One entry per image from a column with one per row, or with one per image of each row (H07: neither)."""
    held = [values[int(r)] for r in rows]
    if not any(isinstance(v, np.ndarray | list | tuple) for v in held):
        return np.asarray(held)
    within = np.arange(len(rows)) - np.searchsorted(rows, rows, "left")
    images = np.searchsorted(rows, rows, "right") - np.searchsorted(rows, rows, "left")
    if any(np.shape(v) != (n,) for v, n in zip(held, images, strict=True)):
        raise undecided(
            path,
            found=f"the column {name} with several entries per row, not as many as images",
            expected="one entry per row, or one per image",
            fix="name another column, or leave it out",
        )
    return np.asarray([v[n] for v, n in zip(held, within, strict=True)])
