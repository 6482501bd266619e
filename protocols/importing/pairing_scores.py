"""Figures behind the check of pictures against responses: how well pictures predict responses under an assignment.

An assignment says which picture each row of a recording showed: the one that its id names, the next one in the list,
the one of the row before. Under each of them the mean responses to the pictures are predicted from the other pictures
(kernel ridge regression, leave-one-out in closed form) and correlated with what was recorded. The scale is what
permuted and far-shifted lists of pictures give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from protocols.arrays import Bools, Floats, Floats32, Ints

RIDGE = 0.5  # against eigenvalues of a kernel that is 1 on its diagonal
PERMUTATIONS, FAR = 40, 24  # permuted lists, and lists shifted by a tenth of their length or more
BLOCKS = 20  # stretches of the list, for the spread of a difference


@dataclass(frozen=True)
class Evidence:
    """What one assignment of rows to pictures gives.

    Attributes
    ----------
    score : float
        Mean over sites of the correlation of predicted and recorded means, weighted by reliability.
    pictures : int array of shape (N,)
        Positions of the pictures with responses.
    parts : array of shape (N,)
        What each picture adds to `score`, which is their mean.
    weight : array of shape (U,)
        Share of each site, summing to 1.
    """

    score: float
    pictures: Ints
    parts: Floats
    weight: Floats


class Scale(NamedTuple):
    """Mean and SD of a figure where responses and pictures have nothing to do with each other."""

    mean: float
    sd: float

    def z(self, value: float) -> float:
        """Distance of a value from chance, in SDs."""
        return (value - self.mean) / max(self.sd, 1e-9)


class Means(NamedTuple):
    """Mean responses of the pictures at `pictures`, (N, U), standardised per site, 0 where missing."""

    pictures: Ints
    values: Floats32


def means_of(values: Floats, position: Ints, repeats: Ints | None = None) -> Means:
    """Mean response to every picture with a finite response, each site with mean 0 and SD 1.

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    position : int array of shape (T,), -1 = no picture
    repeats : int array of shape (T,), optional
        Presentations behind each row.
    """
    pictures, sums, counts = _sums(values, position, repeats)
    mean = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    kept = (counts > 0).any(1)
    mean, pictures = mean[kept], pictures[kept]
    seen = np.isfinite(mean)
    number = np.maximum(seen.sum(0), 1)
    centred = np.where(seen, mean - np.where(seen, mean, 0).sum(0) / number, 0.0)
    sd = np.sqrt((centred**2).sum(0) / number)
    scaled = np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 1e-9 * np.abs(mean[seen]).max(initial=0))
    return Means(pictures, scaled.astype(np.float32))


def reliability(values: Floats, position: Ints) -> Floats:
    """Share of the variance of the means that is no trial noise, (U,); unclipped, NaN where it cannot be known."""
    pictures, sums, counts = _sums(values, position, None)
    if not len(pictures):
        return np.full(values.shape[1], np.nan)
    squares = _sums(values**2, position, None)[1]
    mean = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    freedom = np.maximum(counts - 1, 0).sum(0)
    within = np.divide(
        (squares - counts * mean**2).sum(0), freedom, out=np.full(len(freedom), np.nan), where=freedom > 4
    )
    each = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0).sum(0) / np.maximum(
        (counts > 0).sum(0), 1
    )
    total = _variance(mean, counts > 0)
    share: Floats = np.divide(total - within * each, total, out=np.full_like(total, np.nan), where=total > 1e-12)
    return share


def without_drift(values: Floats, position: Ints) -> Floats:
    """Rows less the mean of the rows around them, in the order shown: what changes slowly is no response to a picture.

    The mean is over ten rows on each side, or over five runs where pictures are shown several times on end.
    """
    runs = 1 + int((np.diff(position) != 0).sum())
    reach = max(10, round(5 * len(position) / runs))
    finite = np.isfinite(values)
    totals = np.pad(np.cumsum(np.where(finite, values, 0.0), axis=0), ((1, 0), (0, 0)))
    numbers = np.pad(np.cumsum(finite, axis=0), ((1, 0), (0, 0)))
    rows = np.arange(len(values))
    low, high = np.maximum(rows - reach, 0), np.minimum(rows + reach + 1, len(values))
    number = np.maximum(numbers[high] - numbers[low], 1)
    return np.asarray(values - (totals[high] - totals[low]) / number)


def _variance(values: Floats, seen: Bools) -> Floats:
    """Variance of the seen values of every column (ddof 1), (U,); 0 where fewer than three are seen."""
    number = seen.sum(0)
    centre = np.where(seen, values, 0.0).sum(0) / np.maximum(number, 1)
    spread = np.where(seen, values - centre, 0.0)
    return np.asarray(np.where(number > 2, (spread**2).sum(0) / np.maximum(number - 1, 1), 0.0))


def pooled(share: Floats) -> float:
    """Mean reliability of the sites where it is known; NaN where it is known of none."""
    known = share[np.isfinite(share)]
    return float(known.mean()) if len(known) else float("nan")


def reliability_scale(values: Floats, position: Ints) -> Scale:
    """What `pooled` reliability is where rows have nothing to do with their pictures.

    A share is 1 - 1 / F of a one-way analysis of variance, so that its variance is 2 / (N - 1) + 2 / (T - N) at a
    single site; that of the mean over sites follows from the squared correlations of the sites over rows.
    """
    rows = values[(position >= 0) & np.isfinite(values).any(1)]
    images, number = len(np.unique(position[(position >= 0) & np.isfinite(values).any(1)])), len(rows)
    filled = np.where(np.isfinite(rows), rows, 0.0)
    filled = filled - filled.mean(0)
    sd = filled.std(0)
    varying = sd > 1e-12
    if number <= images or images < 2 or not varying.any():
        return Scale(0.0, 0.0)
    scaled = filled[:, varying] / sd[varying]
    alike = float(np.mean((scaled.T @ scaled / number) ** 2))
    return Scale(0.0, float(np.sqrt((2 / (images - 1) + 2 / (number - images)) * alike)))


def _sums(values: Floats, position: Ints, repeats: Ints | None) -> tuple[Ints, Floats, Floats]:
    """Positions with rows, in order, and sum and number of the finite values of each, (N, U)."""
    order = np.argsort(position, kind="stable")
    order = order[position[order] >= 0]
    if not len(order):
        return np.zeros(0, dtype=np.int64), np.zeros((0, values.shape[1])), np.zeros((0, values.shape[1]))
    ordered = position[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    rows = values[order]
    finite = np.isfinite(rows)
    weight = finite * (1.0 if repeats is None else repeats[order].astype(np.float64)[:, None])
    sums = np.add.reduceat(np.where(finite, rows, 0.0) * weight, starts, axis=0)
    return ordered[starts], sums, np.add.reduceat(weight, starts, axis=0)


class Predictor:
    """Leave-one-out predictions of the responses to some pictures from the responses to the others."""

    def __init__(self, kernel: Floats) -> None:
        centred = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
        inverse = np.linalg.inv((centred + RIDGE * np.eye(len(kernel))).astype(np.float32))
        self._of: Floats32 = inverse / np.diag(inverse)[:, None]

    def parts(self, values: Floats32, weight: Floats) -> Floats:
        """What each picture adds to the weighted correlation of predicted and recorded means, (N,)."""
        predicted = values - self._of @ values
        predicted -= predicted.mean(0)
        sd = predicted.std(0)
        share = np.divide(weight, sd, out=np.zeros_like(weight), where=sd > 1e-9)
        return np.asarray((values * predicted) @ share, dtype=np.float64)

    def scale(self, values: Floats32, weight: Floats, generator: np.random.Generator) -> Scale:
        """What the score is by chance: of permuted lists and of lists shifted far, whichever is wider."""
        n = len(values)
        permuted = [float(self.parts(values[generator.permutation(n)], weight).mean()) for _ in range(PERMUTATIONS)]
        least = max(n // 10, 1)
        shifts = np.unique(np.linspace(least, n - least, FAR).astype(int))
        shifted = [float(self.parts(np.roll(values, s, axis=0), weight).mean()) for s in shifts]
        scales = [Scale(float(np.mean(x)), float(np.std(x, ddof=1))) for x in (permuted, shifted) if len(x) > 2]
        return Scale(max(s.mean for s in scales), max(s.sd for s in scales))


def difference(one: Evidence, other: Evidence, step: int) -> float:
    """By how many standard errors `one` scores higher than `other`; stretches of the list are what varies.

    Parameters
    ----------
    step : int
        How far the pictures of `one` stand behind those of `other` in the list, for the same responses.
    """
    blocks = _apart(one, other, step)[0]
    error = blocks.std(ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 2 else np.inf
    return float(blocks.mean() / max(error, 1e-9))


def tail_difference(one: Evidence, other: Evidence, step: int) -> tuple[float, int]:
    """By how many standard errors `one` scores higher than `other` in the last part of the list, and `other` higher
    in the first, whichever is less; and the first picture of that part. The part is chosen by the data.
    """
    blocks, first = _apart(one, other, step)
    best = (-np.inf, -1)
    for cut in range(2, len(blocks) - 1):
        head, tail = blocks[:cut], blocks[cut:]
        spread = np.sqrt((head.var() * cut + tail.var() * len(tail)) / (len(blocks) - 2))
        sure = min(tail.mean() * np.sqrt(len(tail)), -head.mean() * np.sqrt(cut)) / max(spread, 1e-9)
        best = max(best, (float(sure), int(first[cut])))
    return best


def _apart(one: Evidence, other: Evidence, step: int) -> tuple[Floats, Ints]:
    """Mean difference of `parts` in stretches of the list, (B,), and the first picture of each stretch."""
    common, first, second = np.intersect1d(one.pictures - step, other.pictures, return_indices=True)
    count = min(BLOCKS, max(len(common) // 5, 1))
    blocks = np.array_split(one.parts[first] - other.parts[second], count)
    starts = [int(block[0]) if len(block) else -1 for block in np.array_split(common, count)]
    return np.array([b.mean() if len(b) else 0.0 for b in blocks]), np.array(starts, dtype=np.int64)
