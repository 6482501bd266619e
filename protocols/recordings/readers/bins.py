"""From time bins to one response per trial and site: counts add up, everything else is a mean over time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.errors import DataError
from protocols.recordings.units import UNITS

from .finished import reader_error
from .layout import File

_SAME_MS = 1e-3
# Least share of the response window that the bins of a mean must fill.
_COVERED = 0.5


def window_of_bins(
    file: File, edges: NDArray[Any], window: tuple[float, float] | None, *, unit: str
) -> tuple[NDArray[np.bool_], Floats]:
    """Which of the B bins lie inside the response window, (B,) bool, and how long each bin is, (B,) in ms.

    Where responses are counts, the window must begin and end at edges: a part of a bin cannot be counted. A mean is
    taken over the bins that lie inside, which must fill half of the window at least; the span is noted.

    Raises
    ------
    DataError
        R12
    """
    times = edges.astype(np.float64) if edges.dtype.kind in "fiu" else np.zeros(0)
    if len(times) < 2 or not np.all(np.diff(times) > 0) or window is None:
        raise _unusable(file, f"time_bin_edges_ms = {_some(edges)}" + ("" if window else " and no window_ms"))
    inside = (times[:-1] >= window[0] - _SAME_MS) & (times[1:] <= window[1] + _SAME_MS)
    if not inside.any():
        raise _unusable(file, f"time_bin_edges_ms = {_some(edges)}, no bin of them inside window_ms = {_some(window)}")
    begin, end = float(times[:-1][inside][0]), float(times[1:][inside][-1])
    exact = abs(begin - window[0]) <= _SAME_MS and abs(end - window[1]) <= _SAME_MS
    covered = (end - begin) / (window[1] - window[0])
    if not exact and (UNITS[unit].whole or covered < _COVERED):
        raise _unusable(
            file,
            f"window_ms = {_some(window)} and bins inside it from {begin:g} to {end:g} ms",
            fix=f"write window_ms = [{begin:g}, {end:g}] if that is the window, or the response of the window alone as "
            "trials x sites",
        )
    verb = "summed" if UNITS[unit].whole else "averaged, each bin weighted by its length,"
    file.notes.append(
        f"responses were {verb} over {int(inside.sum())} of {len(inside)} time bins, {begin:g} to {end:g} ms"
        + ("" if exact else f" (the bins inside window_ms = {_some(window)})")
    )
    return inside, np.diff(times)


def over_bins(cube: Floats, inside: NDArray[np.bool_], lengths: Floats, *, unit: str, notes: list[str]) -> Floats:
    """One response per trial and site, (T, U), from `cube`, (T, U, B).

    A sum for counts, else a mean weighted by the bins' lengths. It is NaN where any bin of the window is missing: a sum
    would be too small, and a mean would belong to another window.
    """
    chosen = cube[:, :, inside]
    broken = int((np.isnan(chosen).any(2) & np.isfinite(chosen).any(2)).sum())
    if broken:
        notes.append(f"{broken} responses miss some of their time bins: NaN")
    if UNITS[unit].whole:
        return np.asarray(chosen.sum(2), dtype=np.float64)
    return np.asarray(chosen @ (lengths[inside] / lengths[inside].sum()), dtype=np.float64)


def three_dimensional(file: File, trials: int, sites: int) -> DataError:
    """Why a three-dimensional array without edges is refused: R22 repeats beside each other, else R12."""
    shape = tuple(int(n) for n in file.dataset("responses").shape)
    said = f"responses of {' x '.join(map(str, shape))} for {trials} image ids and {sites} sites, "
    for images, repeats, columns in (shape, shape[::-1]):
        if columns == sites and trials in (images, images * repeats):
            return reader_error(
                file.path,
                found=f"{said}which looks like images x repeats x sites",
                expected="trials x sites: one row per presentation, with the id of its image",
                cause="the repeats of an image stand beside each other in place of in rows of their own",
                fix=f"write one row per presentation: in Python responses.reshape(-1, {sites}) with "
                f"np.repeat(image_id, {repeats}), from images x repeats x sites",
                code="R22",
            )
    return _unusable(file, f"{said}without time_bin_edges_ms")


def _unusable(file: File, found: str, *, fix: str = "") -> DataError:
    return reader_error(
        file.path,
        found=found,
        expected="time_bin_edges_ms (bins + 1 rising numbers, in ms) with bins inside window_ms; counts need bins that "
        "begin and end with it",
        cause="the edges were left out, are in seconds, or were made for another window",
        fix=fix
        or "write time_bin_edges_ms in ms, or one response per trial and site as trials x sites (repeats in rows of "
        "their own)",
        code="R12",
    )


def _some(numbers: Any) -> str:
    values = np.asarray(numbers).reshape(-1).tolist()
    first = ", ".join(f"{v:g}" if isinstance(v, int | float) else str(v) for v in values[:6])
    return f"[{first}{', ...' * (len(values) > 6)}]"
