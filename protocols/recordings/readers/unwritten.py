"""Rows that were made with the table and never filled: long runs of zeros, or of one and the same row.

A silent trial is ordinary; sixty of them on end, at every site, for images that drive these sites elsewhere, are not.
The chance of a run is computed from the rest of the same file: from how often a row is silent there, how often each
site is, and how often the very images of the run are. To refuse, each probability p enters as its square root, the
chance of silence of a Poisson process at half its rate, so that a drowsy animal or a drifting electrode is no reason.
What would be too long a run at the full rate is noted.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.errors import DataError
from protocols.recordings.units import UNITS

from .finished import reader_error
from .plausible import Recorded

_HALF, _FULL = 0.5, 1.0
# Expected number of runs as long, by chance, in a file: below this it is refused (at half the rate) or noted.
_CHANCE = 1e-6
_SHORTEST = 3
# Rows on end from which on a single site may be called lost.
_LONG = 10


def check_rows(path: Path, values: Floats, recorded: Recorded, *, notes: list[str]) -> None:
    """Refuse, or note, a run of rows that were never filled.

    Parameters
    ----------
    path : Path
    values : array of shape (T, U)
        In the order of the file, NaN = missing.
    recorded : Recorded
        Rows that are not valid are not looked at.
    notes : list of str

    Raises
    ------
    DataError
        R25
    """
    rows = np.flatnonzero(recorded.used(values))
    table = values if len(rows) == len(values) else values[rows]
    images = np.asarray(recorded.image_ids)[rows]
    if len(rows) < 2 * _SHORTEST:
        return
    missing = np.isnan(table)
    silent = ((table == 0) | missing).all(1)
    again = _again(table, images)
    for flagged, log_sites in ((silent, _log_silence(table, silent)), (again & ~silent, _log_agreement(table))):
        run = _unlikely(flagged, images, log_sites, power=_HALF)
        if run is not None and not recorded.silence_recorded:
            raise _never_filled(path, rows[run], table[run], total=len(rows))
        doubtful = _unlikely(flagged, images, log_sites, power=_FULL)
        if doubtful is not None:
            notes.append(f"{_which(rows[doubtful], table[doubtful])}: if they were never filled, cut them off")
            return
    if not recorded.silence_recorded:
        _scattered(path, rows, table, images=images, recorded=recorded, notes=notes)
        _lost_sites(rows[~silent], _without(table, silent), images=images[~silent], recorded=recorded, notes=notes)


def _again(table: Floats, images: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Rows (T,) that equal the row before at every site, though another image was shown.

    A row of the same image may do so; between two others that do not, it belongs to their run.
    """
    missing = np.isnan(table)
    same, again = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    same[1:] = ((table[1:] == table[:-1]) | missing[1:] | missing[:-1]).all(1)
    again[1:] = same[1:] & (images[1:] != images[:-1])
    again[1:-1] |= same[1:-1] & again[:-2] & again[2:]
    return again


def _scattered(
    path: Path, rows: NDArray[np.intp], table: Floats, *, images: NDArray[np.str_], recorded: Recorded, notes: list[str]
) -> None:
    """Single rows of zeros between others, for images that drive the sites in other rows: aborted trials, perhaps.

    R25 in a unit whose 0 is no special value, so that no trial gives it at every site; else a note, since closed eyes
    may silence all sites.
    """
    silent = ((table == 0) | np.isnan(table)).all(1)
    if not silent.any() or silent.all():
        return
    log_sites, unit = _log_zeros(table[~silent]), UNITS[recorded.unit]
    scale = 1.0
    if not unit.whole:
        window = recorded.window_ms if recorded.unit == "spikes/s" else None
        scale = (window[1] - window[0]) / 1000 if window is not None else math.nan
    doubtful = []
    for image in np.unique(images[silent]):
        mine = images == image
        loud, zeros = table[mine & ~silent], table[mine & silent]
        known = np.isfinite(loud)
        mean = np.where(known, loud, 0).sum(0) / np.maximum(known.sum(0), 1)
        each = -mean * scale if np.isfinite(scale) else np.where(known.any(0), log_sites, 0)
        chance = np.isfinite(zeros) @ each  # of the sites that were recorded in the row
        doubtful += rows[mine & silent][chance + np.log(len(rows)) < np.log(_CHANCE)].tolist()
    if not doubtful:
        return
    told = f"{len(doubtful)} rows are 0 at every site (such as row {min(doubtful) + 1}, counted from 1), though their "
    told += "images evoke responses in other rows"
    if not unit.zero and len(doubtful) >= _SHORTEST:
        raise reader_error(
            path,
            found=told,
            expected="rows that were recorded, or NaN",
            cause="the table was made before the recording, and the rows of aborted trials were never filled",
            fix="write NaN in these rows, or mark them trial/valid = 0. If every one of them was recorded, say so with "
            "the attribute silent_trials = 'recorded'",
            code="R25",
        )
    notes.append(f"{told}: if these trials were aborted or never filled, mark them trial/valid = 0 or write NaN")


def _lost_sites(
    rows: NDArray[np.intp], table: Floats, *, images: NDArray[np.str_], recorded: Recorded, notes: list[str]
) -> None:
    """Note sites that are 0 for too many rows on end: lost, or not there in one of two recordings that were joined."""
    lost = []
    for column in range(table.shape[1]):
        known = np.isfinite(table[:, column])
        flagged = table[known, column] == 0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flagged, [False]]).astype(np.int8)))
        if not len(edges) or flagged.all():
            continue
        longest = int(np.argmax(edges[1::2] - edges[::2]))
        run = int(edges[2 * longest]), int(edges[2 * longest + 1])
        if run[1] - run[0] < _LONG:
            continue
        if _HALF * _log_chance(flagged, images[known], run) + np.log(table.size) < np.log(_CHANCE):
            name = recorded.site_ids[column] if recorded.site_ids else f"column {column + 1}"
            lost.append(f"{name} in {run[1] - run[0]} rows, {rows[known][run[0]] + 1} to {rows[known][run[1] - 1] + 1}")
    if lost:
        notes.append(
            f"{len(lost)} sites are 0 in many rows on end, which is not by chance ({'; '.join(lost[:3])}): where a "
            "site was lost, or not there in one of the recordings that were joined, write NaN"
        )


def _log_chance(flagged: NDArray[np.bool_], images: NDArray[np.str_], run: tuple[int, int]) -> float:
    """Log of the chance that the rows of a run are flagged, from all others; 0 where there are none."""
    outside = np.ones(len(flagged), dtype=bool)
    begin, end = run
    outside[begin:end] = False
    if not outside.any():
        return 0.0
    total = int(outside.sum())
    floor = max(_log_share(int(flagged[outside].sum()), total), -math.log(total + 1))
    shown, hits = Counter(images[outside].tolist()), Counter(images[outside & flagged].tolist())
    chance = 0.0
    for image, times in Counter(images[begin:end].tolist()).items():
        alone = shown[image] == 0
        chance += floor if alone else times * max(floor, _log_share(hits[image], shown[image]))
    return chance


def _unlikely(
    flagged: NDArray[np.bool_], images: NDArray[np.str_], log_sites: float, *, power: float
) -> NDArray[np.intp] | None:
    """The longest run of flagged rows that is too long for chance; None where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flagged, [False]]).astype(np.int8)))
    for begin, end in sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[0] - run[1]):
        outside = np.ones(len(flagged), dtype=bool)
        outside[begin:end] = False
        if end - begin < _SHORTEST or not outside.any():
            return None
        floor = max(log_sites, _log_share(int(flagged[outside].sum()), int(outside.sum())))
        shown, hits = Counter(images[outside].tolist()), Counter(images[outside & flagged].tolist())
        chance = 0.0
        for image, times in Counter(images[begin:end].tolist()).items():
            # An image that is shown in the run alone may be one that nothing answers to: that is one event.
            alone = shown[image] == 0
            chance += floor if alone else times * max(floor, _log_share(hits[image], shown[image]))
        if power * chance + np.log(len(flagged)) < np.log(_CHANCE):
            return np.arange(begin, end)
    return None


def _log_share(hits: int, total: int) -> float:
    return float(np.log(hits / total)) if hits else -np.inf


def _log_silence(table: Floats, silent: NDArray[np.bool_]) -> float:
    """Log of the chance that all sites are silent, were they independent; from the rows that are not silent."""
    return float(_log_zeros(_without(table, silent)).sum())


def _without(table: Floats, rows: NDArray[np.bool_]) -> Floats:
    """The other rows of a table; itself where there are no such rows."""
    return table[~rows] if rows.any() else table


def _log_zeros(rest: Floats) -> Floats:
    """Log of the share of zeros of each site, (U,)."""
    return np.asarray(np.log(((rest == 0).sum(0) + 1) / (np.isfinite(rest).sum(0) + 1)), dtype=np.float64)


def _log_agreement(table: Floats) -> float:
    """Log of the chance that two trials agree at all sites, were they independent."""
    log = 0.0
    for column in table.T:
        known = column[np.isfinite(column)]
        if len(known):
            share = np.unique(known, return_counts=True)[1] / len(known)
            log += float(np.log((share**2).sum()))
    return log


def _which(rows: NDArray[np.intp], table: Floats) -> str:
    zero = not np.any(table[np.isfinite(table)])
    what = "0 at every site" if zero else "the same as the row before, at every site"
    return (
        f"{len(rows)} rows on end ({rows[0] + 1} to {rows[-1] + 1}, counted from 1) are {what}, which is not by chance"
    )


def _never_filled(path: Path, rows: NDArray[np.intp], table: Floats, *, total: int) -> DataError:
    return reader_error(
        path,
        found=f"{_which(rows, table)}, as the other {total - len(rows)} rows say",
        expected="rows that were recorded",
        cause="the table was made before the recording, which stopped early, so that its rows were never filled",
        fix="cut these rows off, or mark them: trial/valid = 0, or NaN at all sites. If every one of them was "
        "recorded, say so with the attribute silent_trials = 'recorded'",
        code="R25",
    )
