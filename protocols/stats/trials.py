"""Single trials: sums per image, variance, reliability, correlation and margins."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats, row_blocks

# --- trials -----------------------------------------------------------------------------------------------------------


def sums_per_image(
    values: Floats, index: NDArray[np.int64], n: int, *, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Sum of the finite values of every image and their count, both of shape (n, U).

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    index : int array of shape (T,)
        Image of every trial, 0 .. n - 1; -1 = no image.
    n : int
        Number of images.
    weights : array of shape (T,), optional
        Weight of every trial in sum and count (repeats behind an average); default: 1.
    """
    sums, counts = np.zeros((2, n, values.shape[1]))
    for rows in row_blocks(*values.shape):
        of_image = index[rows] >= 0
        part, places = values[rows][of_image], index[rows][of_image]
        finite = np.isfinite(part)
        weight = np.ones((len(part), 1)) if weights is None else weights[rows][of_image][:, None]
        np.add.at(sums, places, np.where(finite, part, 0.0) * weight)
        np.add.at(counts, places, finite * weight)
    return sums, counts


def trial_variance(values: Floats, image_index: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Variance of single trials about their image's mean, pooled over images, and the mean response, both (U,).

    Images count by their degrees of freedom; NaN where no image has two trials.

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    image_index : int array of shape (T,), -1 = no image
    """
    of_image = image_index >= 0
    values, image_index = values[of_image], image_index[of_image]
    finite = np.isfinite(values)
    sums, counts = sums_per_image(values, image_index, int(image_index.max(initial=-1)) + 1)
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    squares = np.where(finite, (values - means[image_index]) ** 2, 0.0).sum(0)
    freedom = np.maximum(counts - 1, 0)
    total = freedom.sum(0)
    total = np.where(total > 0, total, np.nan)
    return squares / total, (freedom * means).sum(0) / total


# --- reliability ------------------------------------------------------------------------------------------------------


def reliability(values: Floats, index: NDArray[np.int64]) -> float:
    """Share of the variance of image means that is not trial noise: ``1 - mean(s_i^2 / n_i) / var(means)``.

    `values` (T,) finite trials, `index` (T,) the image of each. Images with fewer than two trials are left out; NaN
    below three images.
    """
    counts = np.bincount(index)
    sums = np.bincount(index, weights=values)
    means = np.divide(sums, counts, out=np.zeros(len(counts)), where=counts > 0)
    squares = np.bincount(index, weights=(values - means[index]) ** 2)
    keep = counts > 1
    if keep.sum() < 3:
        return math.nan
    total = float(means[keep].var(ddof=1))
    noise = float(np.mean(squares[keep] / (counts[keep] - 1) / counts[keep]))
    return 1 - noise / total if total > 0 else math.nan


def correlation(predicted: Floats, measured: Floats) -> float:
    """Pearson correlation over the pairs that are finite; NaN below four pairs or without variance."""
    keep = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[keep], measured[keep]
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def margins(z: Floats) -> Floats:
    """Response of each site less the largest of all others, both in natural SDs: (N, U) -> (N, U)."""
    order = np.sort(z, 1)
    margin: Floats = z - np.where(z == order[:, -1:], order[:, -2:-1], order[:, -1:])
    return margin
