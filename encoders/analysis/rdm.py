"""Representational dissimilarity matrices (RDMs) and the similarity of two of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats
from encoders.metrics import MINIMUM_IMAGES

Metric = Literal["correlation", "euclidean"]
Method = Literal["spearman", "pearson"]
MINIMUM_SITES = 3  # fewer give no correlation


def rdm(responses: ArrayLike, metric: Metric = "correlation") -> Floats:
    """Representational dissimilarity matrix over images (Kriegeskorte, Mur & Bandettini 2008).

    Sites with large means or variances dominate; scale the columns first unless that is intended.

    Parameters
    ----------
    responses : array of shape (N, P)
        One row per image. NaN = missing: a pair of images is compared over the sites where both are finite.
    metric : "correlation" or "euclidean"
        1 - Pearson correlation of two rows, in [0, 2]; or their Euclidean distance in the unit of the responses (where
        values are missing, scaled up to P sites).

    Returns
    -------
    array of shape (N, N)
        Symmetric, 0 on the diagonal; NaN where two images share too few sites (fewer than 3, or 1 for the distance) or,
        for the correlation, where a row is constant.

    Raises
    ------
    ValueError
        Other shapes or metrics.
    """
    rows = np.asarray(responses, np.float64)
    if rows.ndim != 2 or metric not in ("correlation", "euclidean"):
        raise ValueError(
            f"responses of shape {rows.shape}, metric {metric!r}; expected (N, P), one row per image, and correlation "
            "or euclidean. Likely cause: feature maps that were not flattened. Fix: features.reshape(len(features), "
            "-1)"
        )
    if metric == "correlation":
        result = _correlation_distances(rows)
    elif np.isfinite(rows).all():
        from scipy.spatial.distance import pdist, squareform  # slow to import

        result = np.asarray(squareform(pdist(rows)))
    else:
        result = _masked_distances(rows)
    np.fill_diagonal(result, 0.0)
    return result


def rdm_similarity(a: ArrayLike, b: ArrayLike, method: Method = "spearman") -> float:
    """Correlation of the upper triangles of two RDMs (Kriegeskorte et al. 2008).

    Parameters
    ----------
    a, b : arrays of shape (N, N)
        Pairs where either is NaN are left out before ranking.
    method : "spearman" or "pearson"
        Spearman ranks ties by their average.

    Returns
    -------
    float
        NaN where fewer than three pairs remain or either side does not vary.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise ValueError(
            f"RDMs of shapes {first.shape} and {second.shape}; expected the same (N, N). Likely cause: responses given "
            "in place of their RDM, or RDMs of other images. Fix: rdm(responses) of the same images, in the same order"
        )
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method {method!r}; expected spearman or pearson")
    upper = np.triu_indices(len(first), 1)
    x, y = first[upper], second[upper]
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    return _pearson(average_ranks(x), average_ranks(y)) if method == "spearman" else _pearson(x, y)


def topological_rdm(dissimilarity: ArrayLike, lower: float, upper: float) -> Floats:
    """Geo-topological transform of an RDM (Lin & Kriegeskorte 2024).

    Dissimilarities below the lower quantile become 0,
    those above the upper quantile 1; between the two they are scaled linearly.

    Parameters
    ----------
    dissimilarity : array of shape (N, N)
    lower, upper : floats, 0 <= lower <= upper <= 1
        Quantiles of the finite off-diagonal dissimilarities. 0 and 1 only rescale the geometry; equal ones give a
        graph: 1 where the dissimilarity exceeds the quantile, else 0.

    Returns
    -------
    array of shape (N, N)
        In [0, 1]; NaN where `dissimilarity` is.
    """
    matrix = np.asarray(dissimilarity, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 0 <= lower <= upper <= 1:
        raise ValueError(
            f"RDM of shape {matrix.shape}, quantiles {lower} and {upper}; expected (N, N) and 0 <= lower <= upper <= "
            "1. Likely cause: thresholds given as dissimilarities. Fix: give quantiles, such as 0.2 and 0.8"
        )
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    if not np.isfinite(pairs).any():
        return np.full_like(matrix, np.nan)
    low, high = np.nanquantile(pairs, [lower, upper])
    if high <= low:
        return np.where(np.isnan(matrix), np.nan, (matrix > low).astype(np.float64))
    return np.asarray(np.clip((matrix - low) / (high - low), 0.0, 1.0))


def topological_similarity(
    a: ArrayLike, b: ArrayLike, lower: float, *, upper: float, method: Method = "pearson"
) -> float:
    """`rdm_similarity` of two RDMs after `topological_rdm` with the same quantiles; Pearson by default, as many values
    are tied.
    """
    return rdm_similarity(topological_rdm(a, lower, upper), topological_rdm(b, lower, upper), method)


def average_ranks(x: Floats) -> Floats:
    """Ranks 1 ... n of the values of `x`; ties get their average rank."""
    from scipy.stats import rankdata  # slow to import

    return np.asarray(rankdata(x), np.float64)


def _correlation_distances(rows: Floats) -> Floats:
    """1 - Pearson correlation of all pairs of rows, over the columns where both are finite.

    Not `numpy.corrcoef`, which cannot leave out NaN.
    """
    finite = np.isfinite(rows)
    mask = finite.astype(np.float64)
    n = np.maximum(mask.sum(1, keepdims=True), 1)
    x = np.where(finite, rows, 0.0)
    x = np.where(finite, x - x.sum(1, keepdims=True) / n, 0.0)  # exact for complete rows, and conditions the sums below
    size = np.sqrt((x * x).sum(1, keepdims=True))
    varies = size > 1e-12 * (np.abs(np.where(finite, rows, 0.0)).max(1, keepdims=True, initial=0.0) + 1e-300) * np.sqrt(
        n
    )
    x = np.divide(x, size, out=np.zeros_like(x), where=varies)
    shared = mask @ mask.T
    sums, squares, products = x @ mask.T, (x * x) @ mask.T, x @ x.T
    count = np.maximum(shared, 1)
    covariance = products - sums * sums.T / count
    variance = squares - sums * sums / count
    scale = np.sqrt(np.maximum(variance, 0) * np.maximum(variance.T, 0))
    good = (shared >= MINIMUM_SITES) & (scale > 1e-12)
    r = np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=good)
    return np.asarray(1 - np.clip(r, -1, 1))


def _masked_distances(rows: Floats) -> Floats:
    """Euclidean distances over the columns where both rows are finite, scaled up to all columns.

    Not `scipy.spatial.distance.pdist`, which cannot leave out NaN.
    """
    result = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        difference = rows - row
        finite = np.isfinite(difference)
        shared = finite.sum(1)
        total = (np.where(finite, difference, 0.0) ** 2).sum(1)
        result[i, shared > 0] = np.sqrt(total[shared > 0] * rows.shape[1] / shared[shared > 0])
    return result


def _pearson(x: Floats, y: Floats) -> float:
    """Pearson correlation; NaN, without the warning of `scipy.stats.pearsonr`, where a side is short or constant."""
    if len(x) < MINIMUM_IMAGES:
        return float("nan")
    scale = max(float(np.abs(x).max()), 1e-300), max(float(np.abs(y).max()), 1e-300)
    x, y = (x - x.mean()) / scale[0], (y - y.mean()) / scale[1]
    spread = float(np.sqrt((x * x).mean())), float(np.sqrt((y * y).mean()))
    return float((x * y).mean() / (spread[0] * spread[1])) if min(spread) > 1e-12 else float("nan")
