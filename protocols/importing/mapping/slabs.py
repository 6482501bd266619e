"""Arrays with time bins that are too large for memory: read slab by slab, once it is known what is taken of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.importing.containers import Item

from .tables import Axis

LARGE = 10**9
"""Bytes from which on an array stays in its file."""
SLAB = 10**8
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Slabs:
    """Presentations x sites x bins that lie in a file.

    Parameters
    ----------
    item : Item
    axes : list of str
        "trial", "site" and "time" in the order of the array.
    order : array of shape (U,), int, optional
        Positions that put the sites in order.
    """

    item: Item
    axes: list[Axis]
    order: Ints | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Presentations, sites, bins."""
        trials, sites, bins = (self.item.shape[self.axes.index(axis)] for axis in ("trial", "site", "time"))
        return trials, sites, bins

    @property
    def placeholder(self) -> NDArray[Any]:
        """An array of that shape and type, without memory of its own."""
        return np.broadcast_to(np.zeros((), dtype=self.item.dtype), self.shape)

    @property
    def step(self) -> int:
        """How many presentations are read at once."""
        _, sites, bins = self.shape
        return max(1, SLAB // max(1, sites * bins * np.dtype(self.item.dtype).itemsize))

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """The presentations from `begin` to before `end`, (end - begin, U, B)."""
        along = self.axes.index("trial")
        part = self.item.read(tuple(slice(begin, end) if i == along else slice(None) for i in range(3)))
        values = part.transpose([self.axes.index(axis) for axis in ("trial", "site", "time")])
        return values if self.order is None else values[:, self.order]


def stays_in_file(item: Item, axes: list[Axis]) -> bool:
    """Whether an array is read slab by slab: large, of numbers, presentations x sites x bins in any order."""
    if sorted(axes) != ["site", "time", "trial"] or len(item.shape) != 3 or not item.is_number or item.dtype == "bool":
        return False
    return item.size * np.dtype(item.dtype).itemsize > LARGE
