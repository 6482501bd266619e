"""Array types with one meaning in the whole package, and large arrays taken block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats32 = NDArray[np.float32]

BLOCK = 2**20
"""Numbers in the temporary arrays that are made of a table of trials, about: 8 MB of float64."""


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of consecutive rows, at least one each, of about `BLOCK` numbers."""
    step = max(1, BLOCK // max(1, columns))
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))


def site_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of consecutive columns of about `BLOCK` numbers; two or more each where there are two.

    Sums over the rows of such a block are those of the whole table, bit for bit; those of a single column may be taken
    pair by pair.
    """
    step = max(2, BLOCK // max(1, rows))
    begins = list(range(0, columns, step))
    if len(begins) > 1 and columns - begins[-1] == 1:
        begins.pop()
    yield from (slice(begin, end) for begin, end in zip(begins, [*begins[1:], columns], strict=False))
