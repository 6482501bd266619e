"""Are the times of spikes, frames and images seconds of one clock? What is not is refused before it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.arrays import Bools, Floats
from protocols.errors import DataError

ENOUGH = 20
"""So many whole numbers are no seconds by chance."""
LONGEST_GAP_S = 60.0
"""Images that follow one another more slowly than this, in the median, were not timed in seconds."""
LONGEST_WINDOW_MS = 60_000.0
MANY_TIMES = 200.0
"""A recording that is so many times longer than the presentations is in another unit of time than they are."""


def response_window(where: str, window_ms: Sequence[float], name: str = "window_ms") -> tuple[float, float]:
    """The window as two numbers in ms, begin before end (H05)."""
    window = np.asarray(window_ms, dtype=np.float64).reshape(-1)
    if len(window) == 2 and np.all(np.isfinite(window)) and 1 <= window[1] - window[0] <= LONGEST_WINDOW_MS:
        return float(window[0]), float(window[1])
    in_seconds = len(window) == 2 and 0 < window[1] - window[0] < 1
    raise DataError(
        where,
        found=f"{name} = {window.tolist()}",
        expected="two numbers, begin and end in ms after image onset, such as [70, 170]",
        cause="the window was given in seconds" if in_seconds else "a slip, or another unit of time",
        fix=f"give {name} in milliseconds",
        code="H05",
    )


def baseline_window(where: str, baseline_ms: Sequence[float], window_ms: tuple[float, float]) -> tuple[float, float]:
    """The baseline's window, which must not share time with the response window (H05)."""
    begin, end = response_window(where, baseline_ms, "baseline_ms")
    if end <= window_ms[0] or begin >= window_ms[1]:
        return begin, end
    raise DataError(
        where,
        found=f"baseline_ms = {[begin, end]}, which shares time with window_ms = {list(window_ms)}",
        expected="a baseline without the response, such as [-100, 0]",
        cause="the two windows were mixed up",
        fix="let baseline_ms end before window_ms begins",
        code="H05",
    )


def as_times(where: str, name: str, times: ArrayLike) -> NDArray[Any]:
    """One row of times in their stored type (H04: other shapes, text, NaN or infinite numbers)."""
    found = np.asarray(times)
    if found.dtype.kind not in "fiu" and found.size:
        raise _malformed(where, f"{name} of the type {found.dtype}", "numbers: seconds")
    if found.ndim != 1:
        raise _malformed(where, f"{name} of shape {'x'.join(map(str, found.shape))}", "one row of times")
    if found.dtype.kind == "f" and not np.all(np.isfinite(found)):
        raise _malformed(where, f"{name} with NaN or infinite numbers", "one time per spike or frame, in seconds")
    return found


def spike_clock(where: str, spike_times_s: Sequence[ArrayLike], notes: list[str]) -> list[Floats]:
    """Spike times per unit, in seconds and rising order.

    Raises
    ------
    DataError
        H02: whole numbers, which are sample indices; H04: no numbers, or numbers with too few digits.
    """
    found = [as_times(where, f"spike times of unit {u}", times) for u, times in enumerate(spike_times_s)]
    some = [times for times in found if times.size]
    spikes = sum(map(len, some))
    if spikes >= ENOUGH and all(times.dtype.kind in "iu" or not np.any(times % 1) for times in some):
        raise not_seconds(where, f"{spikes} spike times, all whole numbers", "sample indices, or milliseconds")
    unsorted = [u for u, times in enumerate(found) if np.any(np.diff(times) < 0)]
    if unsorted:
        notes.append(f"the spike times of {len(unsorted)} of {len(found)} units were not in rising order: sorted")
    _digits(where, some, notes)
    return [np.sort(times.astype(np.float64)) for times in found]


def _digits(where: str, times: list[NDArray[Any]], notes: list[str]) -> None:
    """Spike times in single precision: 0.25 ms apart at best after an hour, 16 s apart in seconds since 1970."""
    if not times or any(np.any(t != t.astype(np.float32)) for t in times):
        return
    step_ms = 1000 * float(np.spacing(np.float32(max(np.abs(t).max() for t in times))))
    if step_ms > 10:
        raise _malformed(
            where, f"spike times in single precision, {step_ms:.3g} ms apart at best", "times exact to a millisecond"
        )
    if step_ms > 0.1:
        notes.append(f"spike times are in single precision: they are exact to {step_ms:.2g} ms only")


def onset_clock(where: str, onsets_s: ArrayLike) -> Floats:
    """Onsets of the images in seconds, (T,); NaN stands for an image that was not shown.

    Raises
    ------
    DataError
        H02: too far apart for seconds; H03: onsets that are the same again and again; H04: no row of numbers.
    """
    found = np.asarray(onsets_s)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        raise _malformed(where, f"onsets of shape {found.shape} and type {found.dtype}", "one time per presentation")
    onsets = found.astype(np.float64)
    known = onsets[np.isfinite(onsets)]
    if not known.size:
        raise _malformed(where, "no onset that is a number", "one time per presentation, in seconds")
    if len(np.unique(known)) <= len(known) / 2:
        raise DataError(
            where,
            found=f"{len(known)} onsets with {len(np.unique(known))} different times",
            expected="the time of each presentation on the clock of the recording",
            cause="onsets count from the begin of each trial, or were rounded",
            fix="take the column that holds the onset on the clock of the recording",
            code="H03",
        )
    gap = float(np.median(np.diff(np.unique(known)))) if len(known) > ENOUGH else 0.0
    if gap > LONGEST_GAP_S:
        raise not_seconds(where, f"onsets that lie {gap:.4g} s apart (median)", "milliseconds or sample indices")
    return onsets


def frame_times(frames: int, rate_hz: float, start_s: float = 0.0) -> Floats:
    """Begin of each of `frames` frames in seconds, at a constant rate."""
    if not (np.isfinite(rate_hz) and rate_hz > 0 and np.isfinite(start_s)):
        raise ValueError(f"rate_hz = {rate_hz}, start_s = {start_s}; expected a rate above 0 and a finite start")
    return start_s + np.arange(frames, dtype=np.float64) / rate_hz


def frame_clock(where: str, frame_times_s: ArrayLike, frames: int, *, window_ms: tuple[float, float]) -> Floats:
    """Begin of each frame in seconds, in rising order.

    Raises
    ------
    DataError
        H02: frame numbers; H04: another number of times than of frames, or times that stand still or run back.
    """
    times = as_times(where, "frame times", frame_times_s).astype(np.float64)
    if len(times) != frames:
        raise _malformed(where, f"{len(times)} frame times", f"{frames}, one per frame")
    steps = np.diff(times)
    if len(times) < 2 or np.any(steps <= 0):
        raise _malformed(where, "frame times that stand still or run back", "rising times of two frames or more")
    if len(times) > ENOUGH and np.all(steps == 1) and window_ms[1] - window_ms[0] < 1000:
        raise not_seconds(where, "frames that are exactly 1 s apart, longer than the window", "frame numbers")
    return times


def out_of_span(
    where: str, onsets: Floats, window_ms: tuple[float, float], *, span_s: tuple[float, float], what: str
) -> Bools:
    """Which presentations have no part of their window between the begin and end of the recording, (T,).

    Raises
    ------
    DataError
        H01: more than half of them; H02: because one clock is in milliseconds or sample indices.
    """
    begin, end = span_s
    outside = (onsets + window_ms[1] / 1000 < begin) | (onsets + window_ms[0] / 1000 > end)
    known = np.isfinite(onsets)
    count, all_known = int((outside & known).sum()), int(known.sum())
    shown = onsets[known]
    told = f"{what} from {begin:.6g} s to {end:.6g} s, images from {shown.min():.6g} s to {shown.max():.6g} s"
    length, presented = end - begin, float(np.ptp(shown))
    if all_known > ENOUGH and max(length, 1.0) * MANY_TIMES < presented:
        raise not_seconds(where, told, "milliseconds or sample indices for the images")
    if count * 2 > all_known:
        raise DataError(
            where,
            found=f"{told}: {count} of {all_known} presentations lie outside the recording",
            expected="images that were shown while the recording ran",
            cause="two clocks with different zeros, or the files of two sessions",
            fix="take onsets on the clock of the recording (from its photodiode or sync channel), or cut the rows off",
            code="H01",
        )
    return np.asarray(outside, dtype=np.bool_)


def same_unit_of_time(where: str, onsets: Floats, spikes: list[Floats]) -> None:
    """H02 where the spikes last many times longer than the presentations, and are rarer than of any neuron."""
    some = [times for times in spikes if len(times) > 1]
    shown = onsets[np.isfinite(onsets)]
    if not some or len(shown) <= ENOUGH:
        return
    begin, end = min(t[0] for t in some), max(t[-1] for t in some)
    rate = float(np.median([len(t) for t in some])) / max(end - begin, 1e-9)
    if end - begin > MANY_TIMES * np.ptp(shown) and rate < 0.1:
        raise not_seconds(
            where,
            f"spikes over {end - begin:.4g} s, {rate:.2g} per second and unit, and images over {np.ptp(shown):.4g} s",
            "milliseconds or sample indices for the spikes",
        )


def not_seconds(where: str, found: str, cause: str) -> DataError:
    """H02: times in another unit than seconds."""
    return DataError(
        where,
        found=found,
        expected="times in seconds, on one clock",
        cause=cause,
        fix="divide sample indices by the sampling rate, frame numbers by the frame rate, milliseconds by 1000",
        code="H02",
    )


def _malformed(where: str, found: str, expected: str) -> DataError:
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="another array was taken for the times, or it was damaged",
        fix="name the array that holds the times, in double precision, or correct it",
        code="H04",
    )
