"""Arrays with time bins that are too large for memory: read slab by slab, once it is known what is taken of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.importing.containers import Item
from protocols.recordings.readers.declared import creation_fill, unstored_chunks, unstored_in

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
    never : array of bool, optional
        Chunks of the dataset that were never stored, where there are any; their numbers are NaN.
    fill : number, optional
        The number that stands in place of what was never written; NaN.
    """

    item: Item
    axes: list[Axis]
    order: Ints | None = None
    never: NDArray[np.bool_] | None = None
    fill: Any = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Presentations, sites, bins."""
        trials, sites, bins = (self.item.shape[self.axes.index(axis)] for axis in ("trial", "site", "time"))
        return trials, sites, bins

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type; float64 where numbers become NaN that the type may not hold."""
        kept = self.never is None and self.fill is None
        return np.dtype(self.item.dtype) if kept else np.dtype(np.float64)

    @property
    def placeholder(self) -> NDArray[Any]:
        """An array of that shape and type, without memory of its own."""
        return np.broadcast_to(np.zeros((), dtype=self.dtype), self.shape)

    @property
    def step(self) -> int:
        """How many presentations are read at once."""
        _, sites, bins = self.shape
        return max(1, SLAB // max(1, sites * bins * np.dtype(self.item.dtype).itemsize))

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """The presentations from `begin` to before `end`, (end - begin, U, B)."""
        along = self.axes.index("trial")
        part = tuple(slice(begin, min(end, n)) if i == along else slice(0, n) for i, n in enumerate(self.item.shape))
        values = self.item.read(part)
        never = np.zeros(values.shape, dtype=bool) if self.fill is None else values == self.fill
        if self.never is not None:
            dataset, reversed_ = self.item.dataset, self.item.reversed
            mask = unstored_in(dataset, self.never, part[::-1] if reversed_ else part)
            never |= mask.T if reversed_ else mask
        if never.any():
            values = np.where(never, np.nan, values.astype(np.float64))
        values = values.transpose([self.axes.index(axis) for axis in ("trial", "site", "time")])
        return values if self.order is None else values[:, self.order]

    def parts(self) -> Iterator[NDArray[Any]]:
        """All presentations, slab by slab."""
        for begin in range(0, self.shape[0], self.step):
            yield self.read(begin, begin + self.step)


def stays_in_file(item: Item, axes: list[Axis]) -> bool:
    """Whether an array is read slab by slab: large, of numbers, presentations x sites x bins in any order."""
    if sorted(axes) != ["site", "time", "trial"] or len(item.shape) != 3 or not item.is_number or item.dtype == "bool":
        return False
    return item.size * np.dtype(item.dtype).itemsize > LARGE


def written_slabs(item: Item, axes: list[Axis], *, notes: list[str]) -> Slabs:
    """The slabs of an array, with NaN where HDF5 says that nothing was ever written, as in arrays that are read whole.

    Parameters
    ----------
    item : Item
    axes : list of str
    notes : list of str
        What was found is told there.
    """
    slabs = Slabs(item, axes)
    if item.dataset is None:
        return slabs
    item.read(tuple(slice(0, 1) for _ in item.shape))  # compression and links are checked there
    never = unstored_chunks(item.dataset)
    if never.any():
        slabs = replace(slabs, never=never)
        notes.append(f"{int(never.sum())} of {never.size} parts of {item.name} were never written: NaN")
    fill = creation_fill(item.dataset)
    if fill is None or fill == 0:
        return slabs
    count, ordinary = _filled(slabs, fill)
    if count and ordinary:
        notes.append(
            f"{count} values of {item.name} are {float(fill):g}, the fill value that it was created with, and were "
            "kept, since others lie on both sides of it; write NaN where nothing was measured"
        )
    elif count:
        slabs = replace(slabs, fill=fill)
        notes.append(f"{count} values of {item.name} are {float(fill):g} and were never written: NaN")
    return slabs


def _filled(slabs: Slabs, fill: Any) -> tuple[int, bool]:
    """How many numbers are the fill value, and whether it is one as others: all whole, on both sides of it."""
    count, low, high, whole = 0, np.inf, -np.inf, True
    for slab in slabs.parts():
        here = slab == fill
        rest = slab[~here & np.isfinite(slab)]
        count += int(here.sum())
        if rest.size:
            low, high = min(low, float(rest.min())), max(high, float(rest.max()))
            whole &= rest.dtype.kind in "iu" or not np.any(rest % 1)
    return count, whole and low <= float(fill) <= high
