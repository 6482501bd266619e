"""Rows that were written twice: told from responses that are equal by chance, from the values alone.

Two presentations of one image may evoke the same counts. How probable that is follows from the recording: a value far
above the smallest step between values, or one that no other image evokes, is rarely met twice; 0 or 1 spike often is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.errors import DataError
from protocols.recordings.responses import Responses

# Chance below which equal rows are copies: of a whole recording, and of single rows (four thresholds are tried).
_WHOLE, _SINGLE = 1e-6, 1e-5
# The most probable count of a site with mean k and a variance of 0.3 k has a chance of 0.73 / sqrt(k).
_REGULAR = 0.73
# Where none of n pairs of values agrees, the chance is below 3 / n; within an image it may be four times as large.
_UNSHARED = 12.0
_MOST_ROWS = 100  # of one image, for the chance that every one of its rows has a twin
_MOST_LAGS = 10


POOL = (
    "write one row per image: the mean of its averages, weighted by trial/averaged_over, and their sum in that column"
)
"""The way out where an image has several averages."""


class Finding(NamedTuple):
    """Rows that have a twin beyond chance: how many are too many, the image of one of them, and how they lie."""

    rows: int
    image: str
    how: str

    def text(self) -> str:
        """The finding in words."""
        which = "1 row is" if self.rows == 1 else f"{self.rows} rows are"
        return f"{which} there twice, with equal values in all sites (such as {self.image}; {self.how})"


def find_copies(responses: Responses) -> Finding | None:
    """Rows of one image that are equal at all sites more often than chance allows; None where there are none.

    Three signs are looked at: every row of the recording is there twice (or k times); a stretch of consecutive rows
    is there again, in the same order; single rows agree whose values are too rare to be met twice.
    """
    values, images = _distinguishing(responses.values), np.unique(responses.image_ids, return_inverse=True)[1]
    if len(values) < 2 or not values.shape[1]:
        return None
    filled = np.where(np.isfinite(values), values, np.finfo(float).max) + 0.0  # -0 becomes 0
    rows = np.ascontiguousarray(np.column_stack([images, filled]))
    code = np.unique(rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel(), return_inverse=True)[1]
    counts = np.bincount(code)
    if counts.max() < 2:
        return None
    chance = _log_chance(values, images)
    how = _whole(code, counts, images, chance=chance) or _stretch(code, chance) or _rare(code, images, chance)
    if not how:
        return None
    telling = (chance < math.log(0.9)) & (counts[code] > 1)
    first = np.unique(code[telling], return_index=True)[1]
    image = str(responses.image_ids[np.flatnonzero(telling)[0]])
    return Finding(int(telling.sum()) - len(first), image, how)


def refuse_copies(path: Path, responses: Responses, *, apart: str, notes: list[str]) -> None:
    """I10: rows that were written twice. Where `apart` says what tells the rows apart, a note is added instead."""
    found = find_copies(responses)
    if found is None:
        return
    if apart:
        notes.append(f"{found.text()}; they are kept, since {apart} tells them apart: were they written twice?")
        return
    raise twice(
        path,
        found.text(),
        fix="remove the duplicates and write the file again; if the repeats of an image really gave one and the same "
        "value, write one row per image with trial/averaged_over",
    )


def refuse_repeated(path: Path, entries: Iterable[object], what: str, *, fix: str = "", cause: str = "") -> None:
    """I10: an entry that may be there once is there more often; `what` names what the rows share."""
    repeated = sorted(entry for entry, n in Counter(map(str, entries)).items() if n > 1)
    if repeated:
        rows = "1 row" if len(repeated) == 1 else f"{len(repeated)} rows"
        raise twice(path, f"{rows} twice, with {what} (such as {repeated[0]})", fix=fix, cause=cause)


def twice(path: Path, found: str, *, expected: str = "", cause: str = "", fix: str = "") -> DataError:
    """I10 for rows that are there more than once."""
    return DataError(
        path.name,
        found=found,
        expected=expected or "every presentation in one row",
        cause=cause or "rows were appended twice, or two recordings were joined",
        fix=fix or "remove the duplicates and write the file again",
        code="I10",
    )


def _distinguishing(values: Floats) -> Floats:
    """The columns that vary, each once: one unit on two electrodes says nothing new."""
    varies = np.array([len(np.unique(c[np.isfinite(c)])) > 1 for c in values.T], dtype=bool)
    kept: Floats = np.unique(values[:, varies], axis=1) if varies.any() else values[:, :0]
    return kept


def _log_chance(values: Floats, images: Ints) -> Floats:
    """Log of the chance that another presentation of its image equals a row at all sites, shape (T,).

    Per site the larger of two bounds is taken: the chance of the most probable count as far above 0, and four times
    the share of rows of other images with this very value.
    """
    total = np.zeros(len(values))
    for column in values.T:
        known = np.isfinite(column)
        levels, level = np.unique(column[known], return_inverse=True)
        if not len(levels):
            continue
        gaps = np.diff(levels)
        gaps = gaps[gaps > 1e-9 * np.abs(levels).max()]
        steps = np.abs(levels) / gaps.min() if len(gaps) else np.zeros(len(levels))
        regular = _REGULAR / np.sqrt(np.maximum(steps, 0.25))[level]
        pair = np.unique(np.column_stack([images[known], level]), axis=0, return_inverse=True)[1].reshape(-1)
        elsewhere = np.bincount(level)[level] - np.bincount(pair)[pair]
        others = known.sum() - np.bincount(images[known])[images[known]]
        share = np.divide(4.0 * elsewhere, others, out=np.ones(len(level)), where=others > 0)
        if not elsewhere.any():  # no two images share a value: the values are finer than the smallest step seen
            regular = np.minimum(regular, _UNSHARED / max(1.0, float(others.sum()) / 2))
        total[known] += np.log(np.minimum(np.maximum(regular, np.where(others > 0, share, 0.0)), 1.0))
    return total


def _whole(code: Ints, counts: Ints, images: Ints, *, chance: Floats) -> str:
    """Whether every row is there k times, and chance cannot be the reason."""
    times = int(np.gcd.reduce(counts))
    if times < 2:
        return ""
    image_of = np.zeros(len(counts), dtype=np.int64)
    image_of[code], log_of = images, np.zeros(len(counts))
    log_of[code] = chance
    total = 0.0
    for image in np.unique(images):
        mine = np.flatnonzero(image_of == image)
        if len(mine) == 1:
            total += (counts[mine[0]] - 1) * log_of[mine[0]]
        elif counts[mine].sum() <= _MOST_ROWS:
            total += math.log(_all_divisible(counts[mine], times))
    return f"every row is there {times} times" if total < math.log(_WHOLE) else ""


def _all_divisible(counts: Ints, times: int) -> float:
    """Chance that all counts are multiples of `times` where rows are drawn with the frequencies seen."""
    n = int(counts.sum())
    series = np.zeros(n + 1)
    series[0] = 1.0
    for frequency in counts / n:
        terms = np.array([frequency**j / math.factorial(j) if j % times == 0 else 0.0 for j in range(n + 1)])
        series = np.convolve(series, terms)[: n + 1]
    return min(1.0, max(float(series[n]) * math.factorial(n), 1e-300))


def _stretch(code: Ints, chance: Floats) -> str:
    """Whether a stretch of consecutive rows comes again in the same order, and chance cannot be the reason."""
    n, weights = len(code), -chance
    lags: Counter[int] = Counter()
    order = np.argsort(code, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        if 2 <= len(same) <= _MOST_ROWS and chance[same[0]] < math.log(0.9):
            for i, first in enumerate(same[:-1]):
                lags.update((same[i + 1 :] - first).tolist())
    for lag, _ in lags.most_common(_MOST_LAGS):
        equal = code[:-lag] == code[lag:]
        gathered = np.cumsum(np.where(equal, weights[:-lag], 0.0))
        at_break = np.maximum.accumulate(np.where(equal, 0.0, gathered))
        runs = np.where(equal, gathered - at_break, 0.0)
        if runs.max() > -math.log(_SINGLE) + 2 * math.log(n):
            return f"rows come again in the same order {lag} rows later"
    return ""


def _rare(code: Ints, images: Ints, chance: Floats) -> str:
    """Whether rows agree whose values are too rare to be met twice."""
    others = np.bincount(images)[images] - 1
    for most in (1e-3, 1e-5, 1e-7, 1e-9):
        rows = chance <= math.log(most)
        expected = float((others[rows] * np.exp(chance[rows])).sum()) / 2
        found = int(rows.sum()) - len(np.unique(code[rows]))
        if found and _log_at_least(found, expected) < math.log(_SINGLE):
            return "values that hardly occur twice by chance"
    return ""


def _log_at_least(found: int, expected: float) -> float:
    """Upper bound of the log of the chance that a Poisson count of mean `expected` reaches `found`."""
    if found <= expected:
        return 0.0
    first = found * math.log(max(expected, 1e-300)) - expected - math.lgamma(found + 1)
    return first - math.log1p(-expected / (found + 1))
