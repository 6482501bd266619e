"""Reliability of recordings and accuracy of predictions: pure functions on trials, one value per site.

Trials come as ``values`` of shape (T, U) with NaN = missing and ``image_index`` of shape (T,), the image of every
trial; trials of image -1 (or of any image beyond those scored) are left out. Repeats may be ragged, and may differ
between sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .contract import Floats, Ints
from .reliability import ROUNDING, as_trials, reliability_of_means, varies
from .reliability import repeat_means as repeat_means
from .reliability import signal_sd as signal_sd

MINIMUM_IMAGES = 3  # fewer give no correlation
BLOCK = 20_000_000  # elements of table x splits in one block


def correlation(predicted: ArrayLike, observed: ArrayLike) -> Floats:
    """Pearson correlation over images, one value per site, shape (U,).

    Parameters
    ----------
    predicted, observed : arrays of shape (N, U)
        Images where either is NaN are left out of that site.

    Returns
    -------
    array of shape (U,)
        NaN where fewer than three images remain or either side does not vary.
    """
    a, b = np.asarray(predicted, np.float64), np.asarray(observed, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"predicted {a.shape} and observed {b.shape}; expected the same shape (N, U)")
    r: Floats = _correlation(a[None], b[None])[0]
    return r


@dataclass(frozen=True)
class Calibration:
    """How measured responses follow predicted ones over images, one value per site; see `calibration`.

    Attributes
    ----------
    r : array of shape (U,)
        Correlation.
    slope, intercept : arrays of shape (U,)
        Of the regression of measured on predicted responses. A slope below 1: the prediction promises more than comes.
    r2 : array of shape (U,)
        1 - squared error of the prediction as it stands / variance of the measured responses; negative where their mean
        would have been the better prediction.
    images : array of shape (U,), int
        Images with both.
    """

    r: Floats
    slope: Floats
    intercept: Floats
    r2: Floats
    images: Ints


def calibration(predicted: ArrayLike, measured: ArrayLike) -> Calibration:
    """Correlation, regression of measured on predicted responses, and R2, one value per site.

    Over controllers and graded images these say how far an encoder controls ("self") or judges another's images
    ("peer"), as held-out photographs do not.

    Parameters
    ----------
    predicted, measured : arrays of shape (N, U)
        Images where either is NaN are left out of that site.

    Returns
    -------
    Calibration
        NaN where fewer than three images remain or either side does not vary.
    """
    r = correlation(predicted, measured)  # checks the shapes
    a, b = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(finite, a, np.nan), np.where(finite, b, np.nan)
    slope, intercept, r2 = np.full((3, a.shape[1]), np.nan)
    known = np.isfinite(r)
    x, y = a[:, known], b[:, known]
    slope[known] = r[known] * np.nanstd(y, 0) / np.nanstd(x, 0)
    intercept[known] = np.nanmean(y, 0) - slope[known] * np.nanmean(x, 0)
    r2[known] = 1 - np.nanmean((y - x) ** 2, 0) / np.nanvar(y, 0)
    return Calibration(r=r, slope=slope, intercept=intercept, r2=r2, images=finite.sum(0))


def split_half_reliability(
    values: ArrayLike, image_index: ArrayLike, *, n_splits: int = 100, seed: int = 0, n_images: int | None = None
) -> Floats:
    """Reliability of the repeat means from split halves (Spearman 1910, Brown 1910): a cross-check of
    `reliability_of_means`.

    Every split divides the trials of an image at random into two halves, which differ by at most one trial. The
    correlation r_h of the halves' means over images with two trials or more is averaged over splits, and stepped up to
    the means of all images as they are. With h the mean of 1 / (trials of a half) and m the mean over all images of
    1 / (trials of an image), rho = r_h h / (r_h h + (1 - r_h) m). For equal, even numbers of trials that is
    2 r_h / (1 + r_h). A negative r_h is not clipped.

    Parameters
    ----------
    values : array of shape (T, U)
    image_index : array of shape (T,), int
    n_splits : int
    seed : int

    Returns
    -------
    array of shape (U,)
        NaN where fewer than three images have two trials. A split whose halves do not vary is left out.
    """
    table = _table(values, image_index, n_images)  # (N, R, U)
    available = np.isfinite(table)
    generator = np.random.default_rng(seed)
    patterns, which = np.unique(available.reshape(-1, table.shape[2]), axis=1, return_inverse=True)
    halves, of_half, of_mean = np.full((3, table.shape[2]), np.nan)
    for p in range(patterns.shape[1]):
        sites = np.flatnonzero(which.ravel() == p)
        mask = patterns[:, p].reshape(table.shape[:2])
        counts = mask.sum(1)
        repeated = counts >= 2
        if repeated.sum() >= MINIMUM_IMAGES:
            halves[sites] = _mean_split(table[repeated][:, :, sites], mask[repeated], n_splits, generator=generator)
            low = counts[repeated] // 2
            of_half[sites] = (1 / low + 1 / (counts[repeated] - low)).mean() / 2
            of_mean[sites] = (1 / counts[counts > 0]).mean()
    signal, noise = halves * of_half, (1 - halves) * of_mean
    reliability: Floats = np.divide(signal, signal + noise, out=np.full_like(halves, np.nan), where=signal + noise > 0)
    return reliability


def spearman_brown(half: ArrayLike) -> Floats:
    """Reliability of the full mean from the correlation of its halves: 2 r / (1 + r)."""
    r = np.asarray(half, np.float64)
    return np.asarray(np.divide(2 * r, 1 + r, out=np.full_like(r, np.nan), where=r > -1))


def noise_corrected_r(
    predicted: ArrayLike,
    values: ArrayLike,
    image_index: ArrayLike,
    *,
    reliability: ArrayLike | None = None,
) -> Floats:
    """Correlation with the repeat means, divided by that of a perfect prediction: r / sqrt(rho).

    Both belong to the same images: those with a trial of the site and a prediction, whatever their number of trials.

    Parameters
    ----------
    predicted : array of shape (N, U)
        One row per image; ``image_index`` points into these rows.
    values : array of shape (T, U)
    image_index : array of shape (T,), int
    reliability : array of shape (U,), optional
        rho of the repeat means. Default: `reliability_of_means` of these trials.

    Returns
    -------
    array of shape (U,)
        NaN where rho is not positive: the trials show no signal that could be predicted. May exceed 1 by chance.
    """
    predicted = np.asarray(predicted, np.float64)
    trials, index, n = as_trials(values, image_index, len(predicted))
    if predicted.ndim == 2 and predicted.shape[1] == trials.shape[1]:
        trials = np.where(np.isfinite(predicted[index]), trials, np.nan)
    r = correlation(predicted, repeat_means(trials, index, n)[0])
    found = reliability_of_means(trials, index, n_images=n) if reliability is None else reliability
    rho = np.asarray(found, np.float64)
    return np.divide(r, np.sqrt(np.where(rho > 0, rho, 1)), out=np.full_like(r, np.nan), where=rho > 0)


def explainable_variance(values: ArrayLike, image_index: ArrayLike, *, n_images: int | None = None) -> Floats:
    """Fraction of single-trial variance that the image explains (Cadena et al. 2019), shape (U,): (total - noise) /
    total.
    """
    total, noise = _variances(_table(values, image_index, n_images))
    return np.divide(total - noise, total, out=np.full_like(total, np.nan), where=total > 0)


def feve(predicted: ArrayLike, values: ArrayLike, image_index: ArrayLike) -> Floats:
    """Fraction of explainable variance explained, from single trials (Cadena et al. 2019).

    1 - (mean over trials of (trial - prediction)^2 - noise) / (total - noise), with noise the mean within-image
    variance (ddof 1; images weighted by their trials, as in the squared error) and total the variance over all trials
    (ddof 1). A wrong bias or gain of the prediction lowers it. It can be negative, and can exceed 1 by chance; filter
    unreliable sites by `explainable_variance`.

    Parameters
    ----------
    predicted : array of shape (N, U)
    values : array of shape (T, U)
    image_index : array of shape (T,), int

    Returns
    -------
    array of shape (U,)
        NaN where no image has two trials or the image explains nothing (total <= noise).
    """
    predicted = np.asarray(predicted, np.float64)
    table = _table(values, image_index, len(predicted))
    if table.shape[2] != predicted.shape[1]:
        raise ValueError(f"predictions of {predicted.shape[1]} sites for trials of {table.shape[2]}")
    total, noise = _variances(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = (table - predicted[:, None]) ** 2
        error = np.nansum(squared, (0, 1)) / np.isfinite(squared).sum((0, 1))
        explained = 1 - (error - noise) / (total - noise)
    return np.where(total > noise, explained, np.nan)


def _table(values: ArrayLike, image_index: ArrayLike, n_images: int | None) -> Floats:
    """Trials as (N, R, U), images x repeats x sites, filled up with NaN."""
    trials, index, n = as_trials(values, image_index, n_images)
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=n)
    repeat = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n, int(counts.max(initial=1)), trials.shape[1]), np.nan)
    table[index[order], repeat] = trials[order]
    return table


def _mean_split(
    table: Floats, available: NDArray[np.bool_], n_splits: int, *, generator: np.random.Generator
) -> Floats:
    """Mean over random splits of the correlation between the halves' means; table (N, R, U) with one mask (N, R).

    Splits in which a half does not vary are left out.
    """
    filled = np.where(available[:, :, None], table, 0.0)
    total = filled.sum(1)  # (N, U)
    counts = available.sum(1)
    sums, known = np.zeros((2, table.shape[2]))
    block = max(1, min(n_splits, BLOCK // max(1, filled.size)))
    for start in range(0, n_splits, block):
        splits = min(block, n_splits - start)
        keys = np.where(available, generator.random((splits, *available.shape)), 2.0)
        rank = keys.argsort(2).argsort(2)  # (S, N, R): place of the trial in a random order of the image's trials
        odd = generator.integers(0, 2, (splits, len(table), 1))
        first = ((rank + odd) % 2 == 0) & available
        n_first = first.sum(2)[:, :, None]  # (S, N, 1)
        a = np.matmul(first.transpose(1, 0, 2).astype(np.float64), filled).transpose(1, 0, 2)  # (S, N, U)
        r = _correlation(a / n_first, (total - a) / (counts[:, None] - n_first))
        sums += np.nan_to_num(r).sum(0)
        known += np.isfinite(r).sum(0)
    return np.divide(sums, known, out=np.full_like(sums, np.nan), where=known > 0)


def _correlation(a: Floats, b: Floats) -> Floats:
    """Pearson correlation over axis 1 of (S, N, U) arrays, shape (S, U).

    Not `scipy.stats.pearsonr`: here a NaN leaves out its image for that column alone, and a constant column gives NaN
    without a warning.
    """
    finite = np.isfinite(a) & np.isfinite(b)
    n = finite.sum(1)
    count = np.maximum(n, 1)[:, None]
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    floor_a, floor_b = (ROUNDING * np.sqrt(np.maximum(n, 1)) * np.abs(x).max(1, initial=0.0) for x in (a, b))
    a = np.where(finite, a - a.sum(1, keepdims=True) / count, 0.0)
    b = np.where(finite, b - b.sum(1, keepdims=True) / count, 0.0)
    spread_a, spread_b = np.sqrt((a * a).sum(1)), np.sqrt((b * b).sum(1))
    good = (n >= MINIMUM_IMAGES) & (spread_a > floor_a) & (spread_b > floor_b)
    r: Floats = np.divide((a * b).sum(1), spread_a * spread_b, out=np.full(good.shape, np.nan), where=good)
    return r


def _variances(table: Floats) -> tuple[Floats, Floats]:
    """Variance over all trials, and within images (weighted by trials), both ddof 1 and of shape (U,)."""
    table = np.where(varies(table.reshape(-1, table.shape[2])), table, np.where(np.isfinite(table), 0.0, np.nan))
    finite = np.isfinite(table)
    counts = finite.sum(1)  # (N, U)
    filled = np.where(finite, table, 0.0)
    grand = filled.sum((0, 1)) / np.maximum(counts.sum(0), 1)
    means = filled.sum(1) / np.maximum(counts, 1)
    within = np.where(finite, table - means[:, None], 0.0)
    across = np.where(finite, table - grand, 0.0)
    repeated = counts >= 2
    variance = np.divide((within**2).sum(1), counts - 1, out=np.zeros_like(means), where=repeated)
    weights = np.where(repeated, counts, 0)
    noise = np.divide(
        (variance * weights).sum(0), weights.sum(0), out=np.full(len(grand), np.nan), where=weights.sum(0) > 0
    )
    n = counts.sum(0)
    total = np.divide((across**2).sum((0, 1)), n - 1, out=np.full(len(grand), np.nan), where=n > 1)
    return total, noise
