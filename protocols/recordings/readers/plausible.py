"""Numbers that no recording gives: wrapped or saturated integers, rates that are called counts, stand-ins for missing.

These are looked for in every file. Where the numbers themselves prove the fault, they are refused; where good data may
look like this, a sentence is added to the notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats, row_blocks
from protocols.errors import DataError
from protocols.recordings.units import UNITS

from .finished import reader_error

# More events per second than any site gives (a threshold crossing needs 0.3 ms; several thousand per electrode).
_FASTEST_HZ = 1e5
_FAST_HZ = 1e3
# Whole values needed to say that all of them are multiples of a number: by chance 2^-30 or less.
_MULTIPLES = 30
_PEGGED = 5
_ROUNDING = 1e-6
_LIMITS = [float(limit) for k in (8, 16, 32, 64) for limit in (2 ** (k - 1) - 1, 2**k - 1)]
_STAND_INS = [
    *(float(sign * (10**n - 1)) for n in range(2, 7) for sign in (1, -1)),
    *(float(-(2 ** (k - 1))) for k in (16, 32, 64)),
    *(sign * value for value in (1e20, 1e30, 1e36, 9.969209968386869e36) for sign in (1, -1)),
    *(sign * float(np.finfo(kind).max) for kind in (np.float32, np.float64) for sign in (1, -1)),
]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the values of a file are.

    Attributes
    ----------
    unit : str
        One of `UNITS`.
    image_ids : sequence of T str
        The image of every trial.
    site_ids : tuple of U str
        For notes; may be empty.
    window_ms : (t0, t1), or None
        The time in which a response was taken.
    valid : bool array of shape (T,), or None
        False: not to be used, and not looked at.
    averaged : bool
        Rows are averages over repeats.
    silence_recorded : bool
        The lab says that rows of zeros were recorded.
    """

    unit: str
    image_ids: NDArray[np.str_]
    site_ids: tuple[str, ...] = ()
    window_ms: tuple[float, float] | None = None
    valid: NDArray[np.bool_] | None = None
    averaged: bool = False
    silence_recorded: bool = False

    def used(self, values: Floats) -> NDArray[np.bool_]:
        """The trials that are used: valid, with at least one value; (T,)."""
        some = np.isfinite(values).any(tuple(range(1, values.ndim)))
        return np.asarray(some if self.valid is None else some & self.valid, dtype=np.bool_)


def check_numbers(path: Path, values: Floats, recorded: Recorded, *, notes: list[str]) -> None:
    """Refuse, or note, numbers that no recording gives.

    Parameters
    ----------
    path : Path
    values : array of shape (T, U) or (T, U, B)
        As the file gives them, NaN = missing; with time bins before these are summed.
    recorded : Recorded
    notes : list of str

    Raises
    ------
    DataError
        R21: values that the unit does not allow in time bins, wrapped or saturated integers, counts that are all
        multiples of a number; R26: a number that stands for missing values.
    """
    used = recorded.used(values)
    table = (values if used.all() else values[used]).reshape(int(used.sum()), math.prod(values.shape[1:]))
    known = np.isfinite(table)
    finite = table.reshape(-1) if known.all() else table[known]
    if not finite.size or finite.min() == finite.max():
        return
    _stand_ins(path, finite, unit=recorded.unit)
    _impossible(path, finite, recorded, milliseconds=_milliseconds(values, recorded))
    _wrapped(path, table, recorded, images=np.asarray(recorded.image_ids)[used], notes=notes)
    _saturated(path, finite, unit=recorded.unit, notes=notes)
    _multiples(path, finite, recorded, notes=notes)
    _repeated(finite, recorded, notes)
    if values.ndim == 3:
        _in_bins(path, finite, recorded)


def as_counts(values: Floats, recorded: Recorded, *, notes: list[str]) -> Floats:
    """Counts that a program computed (rate x window) without what rounding left: 3.0000000000000004 is 3.

    Only where every value is that near to a whole number, and the unit demands whole numbers of single trials. Where
    more than the last digits are off, many values must be: a single one is no rounding.
    """
    if not UNITS[recorded.unit].whole or recorded.averaged or not _any(values, lambda part: part % 1 > 0):
        return values
    whole = np.rint(values)
    off = np.abs(values - whole)
    size, number = np.maximum(1, np.abs(whole)), int((off > 0).sum())
    few = number < max(_PEGGED, np.count_nonzero(whole > 0) / 100)
    if np.any(off > (8 * np.finfo(np.float64).eps if few else _ROUNDING) * size):
        return values
    notes.append(f"{number} counts were whole but for rounding (by {np.nanmax(off):.1g}): made whole")
    return whole + 0.0


def _repeated(finite: Floats, recorded: Recorded, notes: list[str]) -> None:
    """Note one value that comes again and again among real numbers that hardly do: it may stand for missing ones."""
    if UNITS[recorded.unit].whole:
        return
    ordered = np.sort(finite)
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    distinct = len(ordered) - len(again)
    if not len(again) or distinct - 1 < 2 * _MULTIPLES:
        return
    ends = np.append(np.flatnonzero(np.diff(again) > 1), len(again) - 1)
    counts = np.diff(ends, prepend=-1) + 1  # of each value that comes more than once
    often = int(counts.argmax())
    value, others = ordered[again[ends[often]]], np.delete(counts, often)
    if value in (ordered[0], ordered[-1]):
        return
    if counts[often] >= max(_PEGGED, 10 * others.max(initial=1)) and (distinct - len(counts)) / (distinct - 1) > 0.95:
        notes.append(
            f"{counts[often]} values are exactly {value:g}, while hardly any other value comes twice: if it "
            "stands for missing values, write NaN"
        )


def _any(values: Floats, predicate: Callable[[Floats], NDArray[Any]]) -> bool:
    """Whether the predicate holds anywhere in an array, of which it sees some rows at once."""
    width = math.prod(values.shape[1:])
    return any(bool(np.any(predicate(values[rows]))) for rows in row_blocks(len(values), width))


def _milliseconds(values: Floats, recorded: Recorded) -> float:
    if recorded.window_ms is None:
        return np.inf
    return float(recorded.window_ms[1] - recorded.window_ms[0]) / (values.shape[2] if values.ndim == 3 else 1)


def _stand_ins(path: Path, finite: Floats, *, unit: str) -> None:
    """R26: -999 and its like, far from all other values."""
    extreme = [v for v in (finite.min(), finite.max()) if v in _STAND_INS]
    for value in extreme:
        here = finite == value
        others = np.abs(finite[~here])
        enough = here.sum() > 1 or np.any(others % 1)
        if UNITS[unit].whole and value > 0:
            enough = here.sum() > 2
        if not enough or not others.size or others.max() >= abs(value) / 10:
            continue
        raise reader_error(
            path,
            found=f"{int(here.sum())} values of exactly {value:g}, while no other is larger than {others.max():g}",
            expected="NaN where nothing was measured",
            cause="the number stands for missing values, and the file does not say so",
            fix=f"write NaN in their place, or declare it: the attribute _FillValue = {value:g} of responses (in HDF5)",
            code="R26",
        )


def _impossible(path: Path, finite: Floats, recorded: Recorded, *, milliseconds: float) -> None:
    """R21: more events per second than any site gives."""
    if not UNITS[recorded.unit].claim:
        return
    most = _FASTEST_HZ * milliseconds / 1000 if UNITS[recorded.unit].whole else _FASTEST_HZ
    beyond = finite[finite > max(most, 1000.0)]
    if beyond.size:
        bits = next((k for k in (16, 32, 64) if 2.0**k * 7 / 8 <= beyond.max() <= 2.0**k), None)
        raise _refused(
            path,
            f"{beyond.size} values such as {beyond.max():.12g} with units = {recorded.unit!r}"
            + (f" in {milliseconds:g} ms" if UNITS[recorded.unit].whole and np.isfinite(milliseconds) else ""),
            expected="responses that a site can give",
            cause=_wrap_cause(bits) if bits else "other numbers were written, or in another unit",
            fix="subtract in signed or floating-point numbers (int32, double) and name the unit that results (zscore, "
            "au), or write raw counts"
            if bits
            else "write the recorded responses, NaN where nothing was measured",
        )


def _wrapped(path: Path, table: Floats, recorded: Recorded, *, images: NDArray[np.str_], notes: list[str]) -> None:
    """R21: values just below 2^k beside small ones, nothing between: differences below 0 of unsigned numbers.

    A site whose images give either few or very many spikes looks alike, but not within the trials of one image: the
    wrap is refused where one image has both.
    """
    for bits in (8, 16, 32, 64):
        top = 2.0**bits
        if table.size == 0 or np.nanmin(table) < 0 or not top * 7 / 8 <= np.nanmax(table) <= top:
            continue
        high = table >= top * 7 / 8
        gap = (table > top / 4) & ~high
        columns = high.any(0) & ~gap.any(0) & (table <= top / 4).any(0)
        high &= columns & (table % 1 == 0)
        count = int(high.sum())
        if not count:
            continue
        low = (table <= top / 4) & columns
        _, image = np.unique(images, return_inverse=True)
        mixed = sum(
            bool(np.any((high[image == i].any(0)) & (low[image == i].any(0)))) for i in np.unique(image[high.any(1)])
        )
        told = (
            f"{count} values of {np.min(table[high]):.12g} to {np.max(table[high]):.12g} and none between {top / 4:g} "
        )
        told += f"and {top * 7 / 8:g}"
        strict = bits > 8 and bool(UNITS[recorded.unit].claim)
        if strict or (mixed and count >= 3):
            raise _refused(
                path,
                told + (f", both in the trials of {mixed} images" if mixed else ""),
                expected="responses whose trials vary without such a gap",
                cause=_wrap_cause(bits),
                fix="subtract in signed or floating-point numbers (int32, double) and write these; the unit is then "
                "zscore, au or dff; or write raw counts, without the subtraction",
            )
        notes.append(
            f"{told}: if a baseline was subtracted from {bits}-bit unsigned numbers, they are wraps of negative ones"
        )


def _wrap_cause(bits: int) -> str:
    return f"a difference below 0 was stored as an unsigned {bits}-bit number (1 - 2 = {2**bits - 1})"


def _saturated(path: Path, finite: Floats, *, unit: str, notes: list[str]) -> None:
    """Many values at the limit of an integer type, few just beside it: R21 for counts and rates, else a note."""
    for limit, sign in ((float(finite.max()), 1), (float(-finite.min() - 1), -1)):
        if limit not in _LIMITS:
            continue
        values = finite if sign > 0 else -finite - 1
        pegged = int((values == limit).sum())
        _, others = np.unique(values[values != limit], return_counts=True)
        if pegged < _PEGGED or (len(others) and pegged < 3 * others[-10:].max()):
            continue
        at = limit if sign > 0 else -limit - 1
        told = f"{pegged} values of exactly {at:.12g}, the limit of an integer type, and fewer just beside it"
        if not UNITS[unit].claim:
            notes.append(
                f"{told}: the amplifier or the type of the numbers was saturated; the true values are not known"
            )
            continue
        raise _refused(
            path,
            told,
            expected="counts that fit into their type",
            cause="the counts were stored in a type that is too small, which keeps its largest number",
            fix="write them again in a larger type (uint16, int32, double), or NaN where the count is not known",
        )


def _multiples(path: Path, finite: Floats, recorded: Recorded, *, notes: list[str]) -> None:
    """R21: counts that are all multiples of one number above 1 are rates or sums with weights."""
    window = recorded.window_ms
    if recorded.unit == "spikes/s" and window is not None and not recorded.averaged:
        step = 1000 / (window[1] - window[0])
        if (
            step > 1
            and not _any(finite, lambda part: part % 1)
            and _any(finite, lambda part: np.abs(part / step - np.rint(part / step)) > 1e-6)
        ):
            notes.append(
                f"all rates are whole numbers, and not multiples of {step:g} (one spike in the window): counts, perhaps"
            )
    if not UNITS[recorded.unit].whole or recorded.averaged:
        return
    if _any(finite, lambda part: part % 1) or finite.min() < 0:
        return
    distinct = np.zeros(0)
    for rows in row_blocks(len(finite), 1):
        distinct = np.union1d(distinct, finite[rows][finite[rows] > 0])
    if not distinct.size or distinct[-1] >= 2**53:
        return
    step = int(np.gcd.reduce(distinct.astype(np.int64)))
    number = int((finite > 0).sum())
    if step == 1 or number < _MULTIPLES:
        return
    rate = window is not None and abs(step * (window[1] - window[0]) / 1000 - 1) < 1e-3
    raise _refused(
        path,
        f"{number} counts that are all multiples of {step}, with units = {recorded.unit!r}",
        expected="counts 0, 1, 2, ...",
        cause=f"rates in spikes per second ({step} = one spike in the window of {window[1] - window[0]:g} ms)"
        if rate and window is not None
        else "counts that were multiplied (rates, or a scale)",
        fix=f"write raw counts (the values divided by {step}), or name their unit: spikes/s for rates, else au",
    )


def _in_bins(path: Path, finite: Floats, recorded: Recorded) -> None:
    """R21: what the unit does not allow, before bins are summed and hide it."""
    unit = UNITS[recorded.unit]
    negative, broken = finite[finite < 0], finite[finite % 1 != 0]
    if (unit.claim and negative.size) or (unit.whole and broken.size and not recorded.averaged):
        example = (negative if negative.size else broken)[0]
        raise _refused(
            path,
            f"values such as {example:g} in time bins with units = {recorded.unit!r}",
            expected=unit.claim,
            cause="a baseline was subtracted, or the counts were turned into rates",
            fix="write raw counts, or name the unit that it is (spikes/s, zscore, au)",
        )


def _refused(path: Path, found: str, *, expected: str, cause: str, fix: str) -> DataError:
    return reader_error(path, found=found, expected=expected, cause=cause, fix=fix, code="R21")
