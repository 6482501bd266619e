"""The order in which rows were shown, by their clock: used where it is one rising clock, never where it starts again.

A rig's clock may start at 0 in each of two files that were joined, stand still, run over, or be set back by an hour.
Rows sorted by such a clock mix two parts of the session. The planned order tells which order is right: that of the
clock, or that of the rows in the file.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.errors import DataError
from protocols.project.outbox import PlannedTrial

from .copies import refuse_repeated

_FOLLOWS = 0.8  # share of numbers that must rise with a clock
_SHORTER = 0.9  # of the time of an image: the least time between two onsets, with some tolerance for the rig


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


def times(number: int) -> str:
    """How often something happens, in words."""
    return "once" if number == 1 else f"{number} times"


def steps_back(onset_s: Floats) -> int:
    """How often the clock runs back from one row to the next."""
    return int((np.diff(onset_s[np.isfinite(onset_s)]) < 0).sum())


def order_shown(
    path: Path,
    onset_s: Floats,
    shown: Sequence[str],
    *,
    planned: Sequence[PlannedTrial],
    dropped: int,
    notes: list[str],
) -> tuple[Ints, str]:
    """The rows in the order shown, shape (T,), and what it was taken from.

    Parameters
    ----------
    onset_s : array of shape (T,), in seconds
    shown : sequence of T str
        The image of each row.
    planned : sequence of PlannedTrial
        In the planned order.
    dropped : int
        Rows that were left out before: each may have been shown again at another place.

    Raises
    ------
    DataError
        I10: two rows at one time; I20: the clock runs back, and neither its order nor that of the rows is the planned
        one.
    """
    refuse_ties(path, onset_s)
    in_file, by_clock = np.arange(len(onset_s)), np.argsort(onset_s, kind="stable")
    back = steps_back(onset_s)
    sequence, enough = [t.image_id for t in planned], len(shown) - dropped
    follow_file = in_common(shown, sequence)
    if not back:
        if follow_file < enough:
            notes.append(
                f"by trial/onset_s the rows were not shown in the planned order ({follow_file} of {len(shown)} follow "
                "it): the rig changed the order, or recordings whose clocks differ were joined; write trial/block and "
                "trial/rep where it was the second"
            )
        return in_file, "trial/onset_s"
    follow_clock = in_common([shown[row] for row in by_clock.tolist()], sequence)
    at_once = float(np.diff(onset_s[by_clock]).min()) < _SHORTER * min(t.on_ms for t in planned) / 1000
    if follow_clock >= enough and follow_clock > follow_file and not at_once:
        return by_clock, "trial/onset_s"
    if follow_file >= enough and (follow_file > follow_clock or at_once):
        notes.append(
            f"trial/onset_s runs back {times(back)} (the clock restarts, runs over or was set back): the rows were "
            "taken in the order of the file, which is the planned one"
        )
        return in_file, "the order of the rows"
    together = ", some at one time" if at_once else ""
    raise DataError(
        path.name,
        found=f"a clock trial/onset_s that runs back {times(back)}, and {len(shown)} rows of which {follow_clock} "
        f"follow the planned order by the clock{together} and {follow_file} as they stand in the file",
        expected="one rising clock, or rows in the order shown",
        cause="two recordings were joined whose clocks both start at 0, or the clock was set back",
        fix="write trial/block and trial/rep from order.csv; or one clock that rises through the whole session; or, "
        "where the rows stand in the order shown, leave trial/onset_s out",
        code="I20",
    )


def in_common(shown: Sequence[str], planned: Sequence[str]) -> int:
    """Length of the longest common subsequence: how many of `shown` follow the planned order, whatever is missing."""
    places: dict[str, list[int]] = {}
    for place in range(len(planned) - 1, -1, -1):
        places.setdefault(planned[place], []).append(place)
    ends: list[int] = []
    for image in shown:
        for place in places.get(image, ()):  # from the last to the first, so that each row counts once
            at = bisect_left(ends, place)
            ends[at : at + 1] = [place]
    return len(ends)


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
