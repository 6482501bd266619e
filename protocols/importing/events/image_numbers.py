"""Images that a table gives as numbers: of what list, and does the list begin with 0 or 1? Never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.errors import DataError

MISSING = ("", "n/a", "na", "nan", "none", "null")
"""What a cell without a value holds, in lower case."""
TEMPLATE = re.compile(r"([^{}]*)\{(?::0?(\d{1,2})d)?\}([^{}]*)")
"""A file name with one place for a number: ``nsd{:05d}.png``."""


@dataclass(frozen=True)
class Numbered:
    """How a number becomes a file name.

    Parameters
    ----------
    template : str
        See `TEMPLATE`.
    ids_from, names_from : 0 or 1
        Number of the first image in the table, and in the file names.
    """

    template: str
    ids_from: int
    names_from: int

    def name(self, number: int) -> str:
        """File name of the image that the table calls `number`."""
        match = TEMPLATE.fullmatch(self.template)
        assert match is not None
        return f"{match[1]}{number - self.ids_from + self.names_from:0{int(match[2] or 0)}d}{match[3]}"


def names_by_number(
    path: Path, column: str, cells: Sequence[str], *, rule: Numbered, notes: list[str]
) -> NDArray[np.str_]:
    """File names of the images, (T,); empty where a row names none.

    Raises
    ------
    DataError
        H13: cells that are no whole numbers, or numbers below the one that is said to be the first.
    """
    numbers = _whole(path, column, cells, base=rule.ids_from)
    notes.append(
        f"images are named by number: {rule.ids_from} in the column {column!r} is the first, the file "
        f"{rule.name(rule.ids_from)}"
    )
    return np.array(["" if n is None else rule.name(n) for n in numbers], dtype=np.str_)


def positions(path: Path, column: str, cells: Sequence[str], *, base: int) -> Ints:
    """Positions among the sorted photographs as the table counts them, (T,).

    Raises
    ------
    DataError
        H13: as `names_by_number`, and rows without a number.
    """
    numbers = _whole(path, column, cells, base=base)
    if None in numbers:
        raise _refused(
            path,
            f"{numbers.count(None)} rows without a number in the column {column!r}",
            expected="the number of an image in every row",
            cause="rows of blanks or aborted presentations",
            fix="leave them out with `only` in the table events of map.toml, or remove them",
        )
    return np.array(numbers, dtype=np.int64)


def _whole(path: Path, column: str, cells: Sequence[str], *, base: int) -> list[int | None]:
    numbers = [int(cell) if re.fullmatch(r"\d{1,15}", cell) else None for cell in cells]
    strange = [c for c, n in zip(cells, numbers, strict=True) if n is None and c.lower() not in MISSING]
    counted = [n for n in numbers if n is not None]
    if strange or not counted:
        raise _refused(
            path,
            f"images such as {(strange or list(cells))[0]!r} in the column {column!r}",
            expected="whole numbers, since map.toml says where they count from",
            cause="the column holds names, or nothing",
            fix="leave index_base, image_name, ids_from and names_from out of map.toml, or name another column",
        )
    if min(counted) < base:
        raise _refused(
            path,
            f"image {min(counted)} in the column {column!r}, said to count from {base}",
            expected=f"numbers of {base} or more",
            cause="the numbers count from 0",
            fix="state 0 in map.toml (index_base, or ids_from)",
        )
    return numbers


def _refused(path: Path, found: str, *, expected: str, cause: str, fix: str) -> DataError:
    return DataError(path.name, found=found, expected=expected, cause=cause, fix=fix, code="H13")
