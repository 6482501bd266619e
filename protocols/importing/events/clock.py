"""Onsets of an event table -> seconds on the clock of the recording; refused where they cannot be in their unit."""

from __future__ import annotations

import numpy as np

from protocols.arrays import Floats
from protocols.errors import DataError

from .table import EventColumns, EventTable

FASTEST_S = 0.008
"""No display shows images faster than one per frame at 120 Hz."""
PART = 0.05
_ENOUGH = 4


def onset_seconds(
    events: EventTable,
    columns: EventColumns,
    notes: list[str],
    *,
    samples_per_s: float | None,
    span_s: tuple[float, float] | None,
) -> Floats:
    """Onset of each row in seconds on the clock of the recording, (T,); NaN for rows that have none.

    Parameters
    ----------
    events : EventTable
    columns : EventColumns
    notes : list of str
    samples_per_s : float, optional
        Rate of the recording, for onsets in samples.
    span_s : (begin, end), optional
        The recording, in seconds.

    Raises
    ------
    DataError
        H12: onsets that cannot be in the stated unit, samples without a rate, or presentations at one moment.
    """
    onsets = _in_seconds(events, columns, notes, samples_per_s=samples_per_s)
    if columns.clock_scale != 1 or columns.clock_offset_s != 0:
        onsets = onsets * columns.clock_scale + columns.clock_offset_s
        notes.append(f"onsets x {columns.clock_scale:.9g} + {columns.clock_offset_s:.9g} s is the recording's clock")
    known = np.sort(onsets[np.isfinite(onsets) & events.used()])
    _plausible(events, columns, known, span_s=span_s)
    return np.asarray(onsets, dtype=np.float64)


def _in_seconds(events: EventTable, columns: EventColumns, notes: list[str], *, samples_per_s: float | None) -> Floats:
    onset, unit = events.onset, columns.onset_unit
    if unit == "s":
        return onset
    if unit == "ms":
        return onset / 1000
    rate = columns.samples_per_s or samples_per_s
    broken = onset[np.isfinite(onset) & (onset % 1 != 0)]
    if rate is None:
        raise _refused(
            events,
            "onsets in samples, and no sampling rate",
            expected="samples_per_s",
            cause="the recording has no single sampling rate",
            fix="state samples_per_s in the table events of map.toml",
        )
    if broken.size:
        raise _refused(
            events,
            f"onsets such as {broken[0]:.9g}, said to be samples",
            expected="whole numbers",
            cause="the column holds seconds or milliseconds",
            fix='state onset_unit = "s" or "ms" in the table events of map.toml',
        )
    notes.append(f"onsets are samples at {rate:.9g} Hz, the first is number {columns.first_sample}")
    return (onset - columns.first_sample) / rate


def _plausible(events: EventTable, columns: EventColumns, known: Floats, *, span_s: tuple[float, float] | None) -> None:
    """H12 where sorted onsets are at one moment, faster than a display, or fill too little of the recording."""
    told = f"{len(known)} onsets, said to be in {columns.onset_unit}"
    if len(known) < 2:
        return
    gaps = np.diff(known)
    if np.any(gaps <= 0):
        raise _refused(
            events,
            f"{int((gaps <= 0).sum())} presentations with the onset of another, at {known[:-1][gaps <= 0][0]:.9g} s",
            expected="one onset per presentation",
            cause="times that were rounded or stored in single precision, or rows that are there twice",
            fix="write the times in double precision, remove double rows, or mark them in a column valid (0)",
        )
    faster = len(known) > _ENOUGH and float(np.median(gaps)) < FASTEST_S
    if faster:
        raise _refused(
            events,
            f"{told}, {1000 * np.median(gaps):.3g} ms apart (median)",
            expected=f"at least {1000 * FASTEST_S:g} ms from image to image",
            cause="the times are in a larger unit: seconds said to be ms, or ms said to be samples",
            fix="correct onset_unit in the table events of map.toml",
        )
    if span_s is None or columns.part_of_recording or len(known) <= _ENOUGH:
        return
    length, shown = span_s[1] - span_s[0], float(np.ptp(known))
    if shown < PART * length:
        raise _refused(
            events,
            f"{told}, within {shown:.4g} s of a recording of {length:.4g} s",
            expected=f"images in at least {PART:.0%} of the recording",
            cause="the times are in a larger unit, or images were shown in a small part of the recording",
            fix="correct onset_unit, or state part_of_recording = true in the table events of map.toml",
        )


def _refused(events: EventTable, found: str, *, expected: str, cause: str, fix: str) -> DataError:
    return DataError(events.path.name, found=found, expected=expected, cause=cause, fix=fix, code="H12")
