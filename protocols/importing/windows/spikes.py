"""Spike times -> counts in the response window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from protocols.arrays import Bools, Floats, Ints

from .clock import (
    baseline_window,
    onset_clock,
    out_of_span,
    response_window,
    same_unit_of_time,
    spike_clock,
)
from .values import Windowed, with_baseline, with_missing

CLOCK_S = 1e-9
"""Times that are nearer than this to an edge of the window lie on it: 0.1 + 0.07 is the same moment as 0.17."""
SURE = 20.0
"""Mean intervals between any two spikes of the recording; so long a silence has a chance of exp(-20)."""


def counts_in_window(
    spike_times_s: Sequence[ArrayLike],
    onsets_s: ArrayLike,
    window_ms: Sequence[float],
    *,
    baseline_ms: Sequence[float] | None = None,
    subtract: bool = False,
    observed_s: Sequence[ArrayLike | None] | None = None,
    where: str = "the recording",
) -> Windowed:
    """Spikes per presentation and unit in the half-open window [t0, t1) after image onset.

    Parameters
    ----------
    spike_times_s : sequence of U arrays
        Seconds on one clock, any order; an empty array is a unit without spikes.
    onsets_s : array of shape (T,)
        Onset of each image on the same clock; NaN for an image that was not shown.
    window_ms : (t0, t1)
        Relative to the onset.
    baseline_ms : (b0, b1), optional
        Window of a baseline, which is returned beside the counts, scaled to the length of the response window.
    subtract : bool
        Subtract the baseline of each presentation: differences of rates in spikes/s, unit "au".
    observed_s : sequence of U arrays of shape (N, 2) or None, optional
        When each unit was observed, begin and end in seconds; None: all the time. Without any of them the recording
        lasts from the first to the last spike of all units.
    where : str
        What errors name.

    Returns
    -------
    Windowed
        Counts as int64, unit "spikes"; float64 with NaN where a presentation was not observed.

    Raises
    ------
    DataError
        H01: images shown outside the recording; H02: times that are no seconds; H03: onsets within trials; H04: times
        that are no numbers; H05: a window that is none.
    """
    notes: list[str] = []
    window = response_window(where, window_ms)
    spikes = spike_clock(where, spike_times_s, notes)
    onsets = onset_clock(where, onsets_s)
    same_unit_of_time(where, onsets, spikes)
    missing = _unobserved(where, onsets, window, observed_s=observed_s, spikes=spikes, notes=notes)
    values = with_missing(_counts(spikes, onsets, window), missing)
    note_overlap(onsets, window, notes)
    seconds = (window[1] - window[0]) / 1000
    if baseline_ms is None:
        if subtract:
            raise ValueError("subtract needs baseline_ms")
        return Windowed(values, "spikes", None, tuple(notes))
    before = baseline_window(where, baseline_ms, window)
    scale = (window[1] - window[0]) / (before[1] - before[0])
    unseen = _outside_intervals(onsets, before, observed_s, units=len(spikes)) | missing
    baseline = np.where(unseen, np.nan, _counts(spikes, onsets, before) * scale)
    if scale != 1 and not subtract:
        notes.append(f"the baseline is the count in {before[0]:g} to {before[1]:g} ms times {scale:.4g}")
    return with_baseline(values, baseline, "spikes", subtract=subtract, seconds=seconds, notes=notes)


def note_overlap(onsets: Floats, window_ms: tuple[float, float], notes: list[str]) -> None:
    """Say where windows of successive presentations share time: the same activity answers to two images."""
    times = np.sort(onsets[np.isfinite(onsets)])
    shared = int(np.sum(np.diff(times) * 1000 < window_ms[1] - window_ms[0] - 1e-3))
    if shared:
        notes.append(f"{shared} response windows reach into the window of the next presentation")


def edges_on_clock(onsets: Floats, after_ms: Floats | float) -> Floats:
    """Moments after the onsets, moved back by what rounding may do, so that a time on an edge is not before it."""
    edges = onsets + np.asarray(after_ms) / 1000
    return np.asarray(edges - np.maximum(CLOCK_S, 4 * np.spacing(np.abs(edges))), dtype=np.float64)


def _counts(spikes: list[Floats], onsets: Floats, window_ms: tuple[float, float]) -> Ints:
    counts = np.zeros((len(onsets), len(spikes)), dtype=np.int64)
    begin, end = (edges_on_clock(onsets, after) for after in window_ms)
    for unit, times in enumerate(spikes):
        counts[:, unit] = np.searchsorted(times, end, "left") - np.searchsorted(times, begin, "left")
    return counts


def _unobserved(
    where: str,
    onsets: Floats,
    window_ms: tuple[float, float],
    *,
    observed_s: Sequence[ArrayLike | None] | None,
    spikes: list[Floats],
    notes: list[str],
) -> Bools:
    """(T, U): whether the unit was not recorded in the whole window of the presentation; told in `notes`."""
    unknown = ~np.isfinite(onsets)
    if unknown.any():
        notes.append(f"{int(unknown.sum())} presentations have no onset: no response (NaN)")
    units = len(spikes)
    missing = _outside_intervals(onsets, window_ms, observed_s, units=units)
    stated = observed_s is not None and any(i is not None for i in observed_s)
    if stated:
        intervals = np.concatenate([np.reshape(i, (-1, 2)) for i in observed_s or () if i is not None])
        span = (float(intervals.min()), float(intervals.max())) if intervals.size else (0.0, 0.0)
        out_of_span(where, onsets, window_ms, span_s=span, what="observed intervals")
        lost = int((missing & ~unknown[:, None]).sum())
        if lost:
            notes.append(f"{lost} of {missing.size} windows lie outside the observed intervals of their unit: NaN")
    elif (every := np.sort(np.concatenate(spikes)) if spikes else np.empty(0)).size > 1:
        slack = SURE * (every[-1] - every[0]) / len(every)
        span = (float(every[0] - slack), float(every[-1] + slack))
        outside = out_of_span(where, onsets, window_ms, span_s=span, what="spikes")
        if outside.any():
            notes.append(
                f"{int(outside.sum())} of {len(onsets)} presentations lie before the first or after the last spike "
                "of all units, by far more than chance gives: not recorded (NaN)"
            )
        missing |= outside[:, None]
    return missing | unknown[:, None]


def _outside_intervals(
    onsets: Floats, window_ms: tuple[float, float], observed_s: Sequence[ArrayLike | None] | None, *, units: int
) -> Bools:
    """(T, U): whether the window is not inside one observed interval of the unit."""
    missing = np.zeros((len(onsets), units), dtype=np.bool_)
    for unit, intervals in enumerate(observed_s or ()):
        if intervals is None:
            continue
        merged = _merged(np.asarray(intervals, dtype=np.float64).reshape(-1, 2))
        begin, end = (onsets + after / 1000 for after in window_ms)
        at = np.searchsorted(merged[:, 0], begin + 1e-6, "right") - 1
        inside = (at >= 0) & (end <= np.append(merged[:, 1], -np.inf)[at] + 1e-6)
        missing[:, unit] = ~inside
    return missing


def _merged(intervals: Floats) -> Floats:
    """Intervals in rising order, those that touch or overlap made one."""
    merged: list[list[float]] = []
    for begin, end in intervals[np.argsort(intervals[:, 0], kind="stable")].tolist():
        if merged and begin <= merged[-1][1] + 1e-6:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)
