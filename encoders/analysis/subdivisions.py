"""Clusters of sites by what they read: their number, how stable they are, and whether there are any.

BrainDiVE (Luo et al. 2023) divides areas by clusters of the readout weights. Clustering always finds clusters; here
they are compared with those of one Gaussian cloud of the same shape (as SigClust: Liu et al. 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats, Ints, Progress

STARTS, ITERATIONS = 8, 50
SMALLEST = 3
"""Sites of the smallest cluster."""
KEPT = 0.8
"""Share of the sites in each clustering that measures the stability."""


@dataclass(frozen=True)
class Subdivisions:
    """Clusters of sites.

    Attributes
    ----------
    labels : array of shape (U,), int
        0 ... k - 1, the largest cluster first; all zero where there are no clusters.
    k : int
        Number of clusters; 1 = no clusters.
    best_k : int
        The number that was tested.
    p : float
        Share of the clouds whose largest excess reaches that of the sites.
    stability : float
        Mean adjusted Rand index of `best_k` clusters of random 80 % of the sites with those of all.
    site_stability : array of shape (U,)
        Share of the other sites with which a site keeps together, or apart, in these clusterings.
    excess : dict of int to float
        For each number of clusters: how far its -log(sum of squares within / total) lies above that of the clouds, in
        SDs over clouds; minus infinity where its smallest cluster has fewer than three sites.
    """

    labels: Ints
    k: int
    best_k: int
    p: float
    stability: float
    site_stability: Floats
    excess: dict[int, float]


def subdivide(
    weights: ArrayLike,
    *,
    largest: int = 8,
    level: float = 0.05,
    stable: float = 0.5,
    n_draws: int = 99,
    seed: int = 0,
    progress: Progress | None = None,
) -> Subdivisions:
    """Clusters of the directions of weights, or "no clusters".

    Rows are taken to length 1 and clustered by k-means. Each number k of 2 ... `largest` has an excess: how far its
    sum of squares within clusters lies below that of clouds, draws of a Gaussian with the mean and covariance of the
    rows, taken to length 1 as well. k is the smallest whose excess is at most 1 below the largest. There are clusters
    if (1) at most a share `level` of the clouds, each with its own largest excess, reaches the largest, and (2) the
    stability of the k clusters is at least `stable`.

    Parameters
    ----------
    weights : array of shape (U, D)
        One row per site, at least 8; not all zero.
    largest : int
        Limit of k; at most U / 3.
    level, stable : float
    n_draws : int
        Clouds, and clusterings of a part of the sites.
    seed : int
    progress : callable (label, done, total), optional
    """
    rows = _directions(weights)
    generator = np.random.default_rng(seed)
    numbers = list(range(2, min(largest, len(rows) // SMALLEST) + 1))
    found = {k: k_means(rows, k, generator) for k in numbers}
    mean, root = rows.mean(0), _root(rows)
    clouds = np.empty((n_draws, len(numbers)))
    for done, draw in enumerate(clouds):
        cloud = mean + generator.standard_normal((len(rows), len(root))) @ root
        cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
        draw[:] = [tightness(cloud, k_means(cloud, k, generator)) for k in numbers]
        if progress is not None:
            progress("clusters of sites, null", done + 1, n_draws)
    middle, spread = clouds.mean(0), np.maximum(clouds.std(0), 1e-9)
    observed = np.array([tightness(rows, labels) for labels in found.values()])
    large = np.array([np.bincount(labels).min() >= SMALLEST for labels in found.values()])
    excess = np.where(large, (observed - middle) / spread, -np.inf)
    best = int(np.argmax(excess >= excess.max() - 1))
    k, labels = numbers[best], by_size(found[numbers[best]])
    reached = int((((clouds - middle) / spread).max(1) >= excess.max()).sum())
    p = (1 + reached) / (1 + n_draws)
    stability, per_site = _stability(rows, labels, generator, n_draws=n_draws)
    real = p <= level and stability >= stable
    return Subdivisions(
        labels=labels if real else np.zeros_like(labels),
        k=k if real else 1,
        best_k=k,
        p=p,
        stability=stability,
        site_stability=per_site,
        excess=dict(zip(numbers, excess.tolist(), strict=True)),
    )


def k_means(rows: Floats, k: int, generator: np.random.Generator) -> Ints:
    """Labels (U,) of k-means: the best of several starts, each seeded by distance (Arthur & Vassilvitskii 2007)."""
    centres = np.stack([_seeded(rows, k, generator) for _ in range(STARTS)])  # (S, k, D)
    square = (rows * rows).sum(1)
    labels = np.full((STARTS, len(rows)), -1)
    for _ in range(ITERATIONS):
        distance = square[:, None] - 2 * rows @ centres.transpose(0, 2, 1) + (centres * centres).sum(2)[:, None]
        moved = distance.argmin(2)
        if np.array_equal(moved, labels):
            break
        labels = moved
        member = (labels[:, None] == np.arange(k)[:, None]).astype(np.float64)  # (S, k, U)
        count = member.sum(2, keepdims=True)
        centres = np.where(count > 0, member @ rows / np.maximum(count, 1), centres)
    return np.asarray(labels[np.argmin(distance.min(2).sum(1))], dtype=np.int64)


def cluster(weights: ArrayLike, k: int, *, seed: int = 0) -> Ints:
    """Labels (U,) of `k` clusters of the directions of weights (U, D), the largest first."""
    return by_size(k_means(_directions(weights), k, np.random.default_rng(seed)))


def cohesion(
    similarity: ArrayLike, labels: ArrayLike, *, n_permutations: int = 999, seed: int = 0
) -> tuple[float, float, float]:
    """Mean similarity (U, U) of pairs of sites within clusters and across them, and the chance of such a difference.

    The chance is that of labels permuted over sites: (1 + those with at least this difference) / (1 + permutations).
    All three are NaN where no two sites share a cluster, or none are apart.
    """
    s, own = np.asarray(similarity, np.float64), np.asarray(labels)
    if s.shape != (len(own), len(own)):
        raise ValueError(f"similarity {s.shape}, labels {own.shape}; expected (U, U) and (U,)")
    upper = np.triu_indices(len(own), 1)
    generator = np.random.default_rng(seed)

    def means(one: Ints) -> tuple[float, float]:
        together = (one[:, None] == one)[upper]
        return float(s[upper][together].mean()), float(s[upper][~together].mean())

    together = (own[:, None] == own)[upper]
    if not together.any() or together.all():
        return float("nan"), float("nan"), float("nan")
    within, across = means(own)
    drawn = [means(generator.permutation(own)) for _ in range(n_permutations)]
    reached = sum(a - b >= within - across - 1e-12 for a, b in drawn)
    return within, across, (1 + reached) / (1 + n_permutations)


def tightness(rows: Floats, labels: Ints) -> float:
    """-log of the sum of squares within clusters over that about the mean of all rows."""
    within = sum(((rows[labels == c] - rows[labels == c].mean(0)) ** 2).sum() for c in np.unique(labels))
    return float(-np.log(max(within, 1e-12) / max(((rows - rows.mean(0)) ** 2).sum(), 1e-12)))


def adjusted_rand(first: ArrayLike, second: ArrayLike) -> float:
    """Adjusted Rand index of two clusterings (U,) (Hubert & Arabie 1985): 1 = the same, 0 on average by chance."""
    a, b = (np.unique(np.asarray(x), return_inverse=True)[1] for x in (first, second))
    if a.shape != b.shape or not len(a):
        raise ValueError(f"clusterings of {a.shape} and {b.shape}; expected the same sites in both")
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs, rows, columns, total = (
        float((x * (x - 1) / 2).sum()) for x in (table, table.sum(1), table.sum(0), np.array([float(len(a))]))
    )
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


def by_size(labels: Ints) -> Ints:
    """The same clusters, numbered from the largest; of equal ones the first to appear is first."""
    names, first, count = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -count))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return np.asarray(rank[np.searchsorted(names, labels)])


def _directions(weights: ArrayLike) -> Floats:
    """Rows of length 1, in the space that they span about their mean, and their mean."""
    w = np.asarray(weights, np.float64)
    length = np.linalg.norm(w, axis=1, keepdims=True) if w.ndim == 2 else np.zeros(0)
    if w.ndim != 2 or len(w) < 8 or not np.isfinite(w).all() or not bool((length > 0).all()):
        raise ValueError(f"weights of shape {w.shape}; expected (U, D), at least 8 sites, finite, none all zero")
    unit = w / length
    if unit.shape[1] <= len(unit):
        return np.asarray(unit)
    left, values, _ = np.linalg.svd(unit, full_matrices=False)  # the same distances in at most U dimensions
    return np.asarray(left * values)


def _root(rows: Floats) -> Floats:
    """Matrix (R, D) that turns R independent normal numbers into a draw with the covariance of `rows`."""
    _, values, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return np.asarray(values[:, None] * right / np.sqrt(max(len(rows) - 1, 1)))


def _seeded(rows: Floats, k: int, generator: np.random.Generator) -> Floats:
    chosen = [int(generator.integers(len(rows)))]
    nearest = ((rows - rows[chosen[0]]) ** 2).sum(1)
    while len(chosen) < k:
        total = nearest.sum()
        p = nearest / total if total > 0 else None
        chosen.append(int(generator.choice(len(rows), p=p)))
        nearest = np.minimum(nearest, ((rows - rows[chosen[-1]]) ** 2).sum(1))
    return np.asarray(rows[chosen])


def _stability(rows: Floats, labels: Ints, generator: np.random.Generator, *, n_draws: int) -> tuple[float, Floats]:
    """Mean adjusted Rand index, and per site, of clusterings of a part of the sites with `labels`."""
    k, n = int(labels.max()) + 1, len(rows)
    size = max(k, round(KEPT * n))
    agreement, pairs, scores = np.zeros(n), np.zeros(n), []
    for _ in range(n_draws):
        part = generator.permutation(n)[:size]
        again = k_means(rows[part], k, generator)
        scores.append(adjusted_rand(labels[part], again))
        same = labels[part][:, None] == labels[part]
        agreement[part] += ((again[:, None] == again) == same).sum(1) - 1
        pairs[part] += size - 1
    return float(np.mean(scores)), np.divide(agreement, pairs, out=np.ones(n), where=pairs > 0)
