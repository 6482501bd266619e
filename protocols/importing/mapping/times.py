"""The axis time: where its bins lie, which of them go into the file, and the mean response against time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.importing.contract import Psth

from .exchanged import tell_bins
from .grid import Grid
from .refusals import bad_value, wrong_length
from .sources import Place, meant
from .tables import ImportMap, SourceTable


def bins_of(
    told: ImportMap, grid: Grid, place: Place, *, rows: NDArray[np.bool_], sites: NDArray[np.bool_], notes: list[str]
) -> tuple[NDArray[Any], Floats | None, Psth | None]:
    """The values of the taken `rows` and `sites`, with the bins that the window needs; their edges in ms; their PSTH.

    The PSTH is the mean over all of these rows and over all bins.

    Raises
    ------
    DataError
        A21, A26: edges of another number, or that do not rise.
    """
    if told.time is None:
        values = grid.values if rows.all() else grid.values[rows]
        return (values if sites.all() else values[:, sites]), None, None
    edges = _edges(told, grid.values.shape[2], place)
    first, last = _inside(told, edges)
    if last - first < len(edges) - 1:
        notes.append(
            f"{place.name}: {last - first} of {len(edges) - 1} time bins, from {edges[first]:g} to {edges[last]:g} ms, "
            "reach into the window and were taken"
        )
    values, means = _in_parts(grid, rows, sites, bins=slice(first, last))
    tell_bins(means, place.name, notes)
    if told.unit == "spikes":
        means = means / (np.diff(edges) / 1000.0)
    return values, edges[first : last + 1], Psth(edges_ms=edges, values=means)


def _inside(told: ImportMap, edges: Floats) -> tuple[int, int]:
    """The first bin that reaches into the window, and the one behind the last; all where none does."""
    whole = (0, len(edges) - 1)
    if told.window_ms is None or told.time is None or told.time.keep_all:
        return whole
    begin, end = told.window_ms
    slack = 1e-6 * (edges[-1] - edges[0])
    inside = np.flatnonzero((edges[1:] > begin + slack) & (edges[:-1] < end - slack))
    return (int(inside[0]), int(inside[-1]) + 1) if inside.size else whole


def _in_parts(
    grid: Grid, rows: NDArray[np.bool_], sites: NDArray[np.bool_], *, bins: slice
) -> tuple[NDArray[Any], Floats]:
    """Values (T, U, bins) and the mean over rows (U, B), NaN left out, without a second copy of all bins."""
    count, _, every = grid.values.shape
    step = 256 if grid.slabs is None else grid.slabs.step
    out = np.empty((int(rows.sum()), int(sites.sum()), bins.stop - bins.start), dtype=grid.values.dtype)
    total, known = np.zeros((out.shape[1], every)), np.zeros((out.shape[1], every))
    done = 0
    for begin in range(0, count, step):
        here = rows[begin : begin + step]
        if not here.any():
            continue
        slab = grid.values[begin : begin + step] if grid.slabs is None else grid.slabs.read(begin, begin + len(here))
        slab = slab[here][:, sites]
        out[done : done + len(slab)] = slab[:, :, bins]
        done += len(slab)
        slab = meant(slab, grid.stored)
        total += np.nansum(slab, axis=0, dtype=np.float64)
        known += np.isfinite(slab).sum(axis=0)
    return out, np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)


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
