"""The order in which rows were shown, by their clock: used where it is one rising clock, never where it starts again.

A rig's clock may start at 0 in each of two files that were joined, stand still, run over, or be set back by an hour.
Rows sorted by such a clock mix two parts of the session. The planned order tells which order is right: that of the
clock, or that of the rows in the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.errors import DataError

from .copies import refuse_repeated

# Share of the trials that must rise in the planned order, and by how much one order must follow it better than another.
_FOLLOWS, _CLEARLY = 0.8, 0.1


def refuse_ties(path: Path, onset_s: Floats) -> None:
    """I10: two rows at one time, or a clock that is too coarse to tell the rows apart."""
    known = onset_s[np.isfinite(onset_s)]
    if len(np.unique(known)) == len(known):
        return
    single = known.astype(np.float32)
    resolution = float(np.spacing(np.abs(single).max()))
    coarse = bool(np.all(single == known)) and resolution > 1e-4
    refuse_repeated(
        path,
        [f"onset {t:.6f} s" for t in known],
        "the same onset",
        cause=f"trial/onset_s was written as float32, whose resolution at {known.max():.0f} s is {resolution:g} s"
        if coarse
        else "",
        fix="write trial/onset_s as float64 (double in MATLAB), or in seconds since the recording began; or write "
        "trial/block and trial/rep, or leave trial/onset_s out where the rows stand in the order shown"
        if coarse
        else "",
    )


def steps_back(onset_s: Floats) -> int:
    """How often the clock runs back from one row to the next."""
    return int((np.diff(onset_s[np.isfinite(onset_s)]) < 0).sum())


def order_shown(
    path: Path, onset_s: Floats, planned_trials: Callable[[Ints], Sequence[int]], *, notes: list[str]
) -> tuple[Ints, str]:
    """The rows in the order shown, shape (T,), and what it was taken from.

    Parameters
    ----------
    onset_s : array of shape (T,), in seconds, each value once
    planned_trials : callable
        The numbers of the planned trials that rows in a given order would be, one after the other.

    Raises
    ------
    DataError
        I10: two rows at one time; I20: the clock runs back, and neither its order nor that of the rows is the planned
        one.
    """
    refuse_ties(path, onset_s)
    in_file, by_clock = np.arange(len(onset_s)), np.argsort(onset_s, kind="stable")
    back = steps_back(onset_s)
    if not back:
        return in_file, "trial/onset_s"
    file_trials, clock_trials = planned_trials(in_file), planned_trials(by_clock)
    follows_file, follows_clock = _rising(file_trials), _rising(clock_trials)
    if follows_clock >= _FOLLOWS and follows_clock > follows_file + _CLEARLY:
        return by_clock, "trial/onset_s"
    if follows_file >= _FOLLOWS and follows_file >= follows_clock:
        notes.append(
            f"trial/onset_s runs back {back} times (the clock restarts, runs over or was set back): the rows were "
            "taken in the order of the file, which is the planned one"
        )
        return in_file, "the order of the rows"
    raise DataError(
        path.name,
        found=f"a clock trial/onset_s that runs back {back} times, and rows that follow the planned order neither by "
        f"the clock ({follows_clock:.0%} of the trials) nor as they stand in the file ({follows_file:.0%})",
        expected="one rising clock, or rows in the order shown",
        cause="two recordings were joined whose clocks both start at 0, or the clock was set back, and the rows were "
        "sorted afterwards",
        fix="write trial/block and trial/rep from order.csv, or one clock that rises through the whole session",
        code="I20",
    )


def goes_on(onset_s: Floats, numbers: Ints) -> bool:
    """Whether `numbers`, shape (T,), rise with the clock, but for a few."""
    return _rising(numbers[np.argsort(onset_s, kind="stable")].tolist()) >= _FOLLOWS


def _rising(numbers: Sequence[int]) -> float:
    """Length of the longest rising subsequence, as a share of all."""
    ends: list[int] = []
    for number in numbers:
        place = bisect_right(ends, number)
        ends[place : place + 1] = [number]
    return len(ends) / max(1, len(numbers))
