"""Columns of text cells as numbers, truth values or text, without guessing: an id that could lose a zero stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.foreign import check_unpacked

from .refusals import unreadable

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d{1,3})?")
_NOT_THERE = frozenset({"", "na", "nan", "n/a", "null", "none"})
_TRUTH = {"true": True, "false": False}
LONGEST = 131_072
"""Characters of a cell, as of the csv module of Python."""
_ZEROS = re.compile(r"[+-]?0\d")


def typed(path: Path, cells: Sequence[str]) -> NDArray[Any]:
    """One column: int64, float64 with NaN for cells that are empty (or NaN, NA), bool for true and false, else text.

    Numbers with a leading zero (0012) are text, and so is every column with a word among its numbers. Errors: see
    `text_array`.
    """
    stripped = [cell.strip() for cell in cells]
    lower = [cell.lower() for cell in stripped]
    if cells and all(cell in _TRUTH for cell in lower):
        return np.array([_TRUTH[cell] for cell in lower])
    there = [cell for cell, low in zip(stripped, lower, strict=True) if low not in _NOT_THERE]
    if not there or any(_ZEROS.match(cell) and "." not in cell for cell in there):
        return np.full(len(cells), np.nan) if cells and not there else text_array(path, stripped)
    if len(there) == len(cells) and all(_WHOLE.fullmatch(cell) for cell in there):
        return np.array([int(cell) for cell in there], dtype=np.int64)
    if all(_NUMBER.fullmatch(cell) or cell.lstrip("+-").lower() in ("inf", "infinity") for cell in there):
        return np.array(
            [np.nan if low in _NOT_THERE else float(cell) for cell, low in zip(stripped, lower, strict=True)]
        )
    return text_array(path, stripped)


def text_array(path: Path, cells: Sequence[str]) -> NDArray[np.str_]:
    """An array of text, which takes as much room for every cell as for the longest one.

    Raises
    ------
    DataError
        A03: a cell longer than any name or word; F14: all cells would take far more room than the file holds.
    """
    longest = max(map(len, cells), default=0)
    if longest > LONGEST:
        raise unreadable(path, f"a cell of {longest} characters; at most {LONGEST}", what="text")
    stored = sum(map(len, cells))
    check_unpacked(path, f"text, of up to {longest} characters per cell,", 4 * longest * len(cells), stored=stored)
    return np.array(cells, dtype=np.str_)


def with_points(cells: Sequence[str]) -> list[str]:
    """Cells of a table whose decimal sign is the comma: 1,5 becomes 1.5."""
    return [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell for cell in cells]


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    return bool(_NUMBER.fullmatch(cell.strip()) or _DECIMAL_COMMA.fullmatch(cell.strip()))
