"""The axis time: where its bins lie, which of them go into the file, and the mean response against time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.importing.contract import Psth

from .grid import Grid
from .refusals import bad_value, wrong_length
from .sources import Place
from .tables import ImportMap, SourceTable


def bins_of(
    told: ImportMap, grid: Grid, place: Place, *, used: NDArray[np.bool_], notes: list[str]
) -> tuple[NDArray[Any], Floats | None, Psth | None]:
    """The values with the bins that the window needs, their edges in ms, and the mean over all `used` rows.

    Raises
    ------
    DataError
        A21, A26: edges of another number, or that do not rise.
    """
    if told.time is None:
        return grid.values, None, None
    values, count = grid.values, grid.values.shape[2]
    edges = _edges(told, count, place)
    psth = Psth(edges_ms=edges, values=_means(values[used], edges, str(told.unit)))
    if told.window_ms is None or told.time.keep_all:
        return values, edges, psth
    begin, end = told.window_ms
    slack = 1e-6 * (edges[-1] - edges[0])
    inside = np.flatnonzero((edges[1:] > begin + slack) & (edges[:-1] < end - slack))
    if not inside.size or inside.size == count:
        return values, edges, psth
    first, last = int(inside[0]), int(inside[-1]) + 1
    notes.append(
        f"{place.name}: {last - first} of {count} time bins, from {edges[first]:g} to {edges[last]:g} ms, "
        "reach into the window and were taken"
    )
    return values[:, :, first:last], edges[first : last + 1], psth


def _edges(told: ImportMap, count: int, place: Place) -> Floats:
    assert told.time is not None
    table, factor = told.time, 1000.0 if told.time.unit == "s" else 1.0
    if table.start is not None and table.step is not None:
        starts = np.asarray((table.start + table.step * np.arange(count + 1)) * factor, dtype=np.float64)
        return starts
    centres = table.edges is None
    stated = next(s for s in (table.edges, table.centres, table.ends) if s is not None)
    if isinstance(stated, SourceTable):
        numbers = place.values(stated)
    else:
        numbers = np.array(stated)
    where = "time.edges" if not centres else "time.centres" if table.centres is not None else "time.ends"
    if len(numbers) != count + (not centres):
        raise wrong_length(where, f"{len(numbers)} numbers", f"{count + (not centres)} for {count} bins")
    if numbers.dtype.kind not in "iuf" or not np.all(np.diff(numbers.astype(np.float64)) > 0):
        raise bad_value(where, "numbers that do not rise", "times in rising order", fix="name the array of times")
    edges = numbers.astype(np.float64) * factor
    if not centres:
        return edges
    steps = np.diff(edges)
    if not steps.size or np.ptp(steps) > 1e-3 * steps.mean():
        raise bad_value(where, "unequal steps", "middles of bins of one length", fix="give edges instead")
    step = float(steps.mean())
    back = step if table.ends is not None else step / 2
    return np.append(edges - back, edges[-1] - back + step)


def _means(values: NDArray[Any], edges: Floats, unit: str) -> Floats:
    """Mean over rows (U, B), NaN left out, in slabs; spikes per second for spikes."""
    total = np.zeros(values.shape[1:])
    known = np.zeros(values.shape[1:])
    for begin in range(0, len(values), 256):
        slab = np.asarray(values[begin : begin + 256], dtype=np.float64)
        total += np.nansum(slab, axis=0)
        known += np.isfinite(slab).sum(axis=0)
    means = np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
    return means / (np.diff(edges) / 1000.0) if unit == "spikes" else means
