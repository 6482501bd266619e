"""Traces, frame by frame -> means in the response window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.arrays import Floats

from .clock import baseline_window, frame_clock, onset_clock, out_of_span, response_window
from .spikes import note_overlap
from .values import Windowed, with_baseline

LONGEST_FRAME = 1.5
"""A step between frames that is longer than this many frames holds missing frames."""
ALL_BUT = 1e-9
"""Frames that share less than this part of the window touch it by rounding alone."""
ALL = 1 - 1e-6
"""The part of a window that frames must cover, but for rounding."""


def means_in_window(
    traces: NDArray[np.floating | np.integer],
    onsets_s: ArrayLike,
    window_ms: Sequence[float],
    *,
    frame_times_s: ArrayLike,
    unit: str = "dff",
    baseline_ms: Sequence[float] | None = None,
    subtract: bool = False,
    where: str = "the recording",
) -> Windowed:
    """Mean of each trace in the window [t0, t1) after image onset, frames weighted by the time they share with it.

    A frame lasts from its time to that of the next frame. Where the next one comes late (1.5 frames or more), frames
    are missing between them. A window with a part that no frame covers, or with a frame that is NaN, has no response.

    Parameters
    ----------
    traces : array of shape (F, U)
    onsets_s : array of shape (T,)
        On the clock of the frames; NaN for an image that was not shown.
    window_ms : (t0, t1)
    frame_times_s : array of shape (F,)
        Begin of each frame; `frame_times` makes it from a rate.
    unit : str
        Of the traces: "dff", "deconvolved", "au", ...
    baseline_ms : (b0, b1), optional
        The mean in this window is returned as the baseline.
    subtract : bool
        Subtract it; units that know no numbers below 0 become "au".
    where : str
        What errors name.

    Returns
    -------
    Windowed
        Values of shape (T, U), float64.

    Raises
    ------
    DataError
        H01 to H05, as `counts_in_window`.
    """
    notes: list[str] = []
    window = response_window(where, window_ms)
    times = frame_clock(where, frame_times_s, len(traces), window_ms=window)
    onsets = onset_clock(where, onsets_s)
    ends = frame_ends(times)
    out_of_span(where, onsets, window, span_s=(float(times[0]), float(ends[-1])), what="frames")
    values = _means(traces, onsets, window, frames=(times, ends))
    _note_missing(values, onsets, notes)
    frame_ms = 1000 * float(np.median(np.diff(times)))
    if window[1] - window[0] < frame_ms:
        notes.append(f"the window is shorter than one frame ({frame_ms:.4g} ms): each mean is of one or two frames")
    note_overlap(onsets, window, notes)
    if baseline_ms is None:
        if subtract:
            raise ValueError("subtract needs baseline_ms")
        return Windowed(values, unit, None, tuple(notes))
    before = baseline_window(where, baseline_ms, window)
    baseline = _means(traces, onsets, before, frames=(times, ends))
    seconds = (window[1] - window[0]) / 1000
    return with_baseline(values, baseline, unit, subtract=subtract, seconds=seconds, notes=notes)


def frame_ends(times: Floats) -> Floats:
    """End of each frame, (F,): the begin of the next one, or one median frame later where frames are missing."""
    steps = np.diff(times)
    usual = float(np.median(steps))
    ends = times + np.append(np.where(steps < LONGEST_FRAME * usual, steps, usual), usual)
    return np.asarray(ends, dtype=np.float64)


def _means(
    traces: NDArray[np.floating | np.integer],
    onsets: Floats,
    window_ms: tuple[float, float],
    *,
    frames: tuple[Floats, Floats],
) -> Floats:
    begins, ends = frames
    means = np.full((len(onsets), traces.shape[1]), np.nan)
    length = (window_ms[1] - window_ms[0]) / 1000
    for trial, onset in enumerate(onsets):
        if not np.isfinite(onset):
            continue
        t0, t1 = onset + window_ms[0] / 1000, onset + window_ms[1] / 1000
        rows = slice(int(np.searchsorted(ends, t0, "right")), int(np.searchsorted(begins, t1, "left")))
        shared = np.minimum(ends[rows], t1) - np.maximum(begins[rows], t0)
        kept = shared > ALL_BUT * length
        if shared.sum() >= ALL * length and kept.any():
            means[trial] = shared[kept] @ np.asarray(traces[rows], dtype=np.float64)[kept] / shared[kept].sum()
    return means


def _note_missing(values: Floats, onsets: Floats, notes: list[str]) -> None:
    unknown = ~np.isfinite(onsets)
    if unknown.any():
        notes.append(f"{int(unknown.sum())} presentations have no onset: no response (NaN)")
    missing = np.isnan(values[~unknown])
    whole = int(missing.all(axis=1).sum()) if missing.size else 0
    if whole:
        notes.append(f"{whole} presentations have a window that frames do not cover: no response (NaN)")
    single = int(missing.sum()) - whole * values.shape[1]
    if single:
        notes.append(f"{single} responses of single sites are missing (NaN) since a frame of their window is")
