"""Studentised permutation tests within blocks: label assignments, statistics, one test, one joint test over sites.

"Treated" is the controller, "other" what it is compared with; every test is one-sided (treated > other). Labels are
float arrays of shape (B, n) that hold 1 for treated, so that sums over either side are matrix products.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations as orders
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.stats import rankdata

from protocols.arrays import Bools, Floats, Ints

from .intervals import satterthwaite
from .reach import distinct_assignments, smallest_p

MOST_LISTED = 7  # levels of which all orders are listed
Strata = tuple[tuple[int, int], ...]  # (others, treated) per block


class Linearised(NamedTuple):
    """A two-sample contrast under B label assignments, with each trial's first-order contribution to either side.

    ``difference`` has shape (B,); ``treated`` and ``other``, of shape (n,) or (B, n), are the trial values whose means
    have, to first order, the variance of the two sides (the trial values themselves for a difference of means).
    """

    difference: Floats
    treated: Floats
    other: Floats


class PermutationResult(NamedTuple):
    """Observed difference and Welch t, one-sided p, the smallest p of these trials, and whether p is exact."""

    difference: float
    t: float
    p: float
    smallest_p: float
    exact: bool


class Pool(NamedTuple):
    """The trials of one comparison: `rows` (n,) of the trial table, their `values`, `strata` and `statistic`."""

    rows: Ints
    values: Floats
    strata: Strata
    statistic: Statistic


Statistic = Callable[[Floats, Floats], Linearised]


@lru_cache(maxsize=8)
def enumerated_labels(strata: Strata) -> Floats:
    """Every distinct assignment, shape (number, n). Trials lie block by block."""
    blocks = []
    for others, treated in strata:
        chosen = list(itertools.combinations(range(others + treated), treated))
        block = np.zeros((len(chosen), others + treated))
        for row, positions in enumerate(chosen):
            block[row, list(positions)] = 1.0
        blocks.append(block)
    grid = np.indices([len(b) for b in blocks]).reshape(len(blocks), -1)
    return _frozen(np.concatenate([block[index] for block, index in zip(blocks, grid, strict=True)], axis=1))


@lru_cache(maxsize=8)
def random_labels(strata: Strata, permutations: int, seed: int) -> Floats:
    """Random assignments within blocks, shape (permutations, n).

    The random key of slot i of block b depends on `seed`, b and i alone, so that sites tested on the same trials in the
    same slots are relabelled together (Westfall & Young 1993: joint resampling keeps the dependence between tests).
    """
    blocks = [
        _random_block(*counts, block=block, permutations=permutations, seed=seed) for block, counts in enumerate(strata)
    ]
    return _frozen(np.concatenate(blocks, axis=1).astype(np.float64))


@lru_cache(maxsize=128)
def _random_block(others: int, treated: int, *, block: int, permutations: int, seed: int) -> Bools:
    size = others + treated
    if treated in (0, size):
        return np.full((permutations, size), bool(treated))
    keys = np.random.default_rng([seed, block]).random((size, permutations)).T.copy()
    return np.asarray(keys <= np.partition(keys, treated - 1, axis=1)[:, treated - 1 : treated])


@lru_cache(maxsize=MOST_LISTED + 1)
def all_orders(count: int) -> Ints:
    """Every order of `count` places, shape (count!, count)."""
    listed = np.array(list(orders(range(count))))
    listed.flags.writeable = False
    return listed


def observed_labels(strata: Strata) -> Floats:
    """The assignment as recorded, shape (1, n): within each block the others come first, then the treated."""
    return np.concatenate([np.repeat([0.0, 1.0], counts) for counts in strata])[None]


def _frozen(labels: Floats) -> Floats:
    labels.flags.writeable = False
    return labels


# --- statistics -------------------------------------------------------------------------------------------------------


def mean_difference(labels: Floats, values: Floats) -> Linearised:
    """Mean of treated minus mean of other trials; `labels` (B, n), `values` (n,) or (n, 1)."""
    flat = values.reshape(len(values))
    centred = flat - flat.mean() if np.ptp(flat) > 1e-12 * np.abs(flat).max() else np.zeros_like(flat)
    treated = labels[0].sum()
    sums = labels @ centred
    difference = sums / treated + sums / (len(flat) - treated)  # the centred values sum to zero
    return Linearised(difference, centred, centred)


def log_share(scaled: Floats, target: int) -> Floats:
    """Log softmax of `scaled`, shape (..., U), at `target`, shape (...).

    `scipy.special.log_softmax` gives the same to 1e-12 and other last bits: evaluations that were written earlier would
    not repeat.
    """
    return np.asarray(scaled[..., target] - np.logaddexp.reduce(scaled, axis=-1))


def log_softmax_difference(labels: Floats, values: Floats, *, target: int, temperature: float = 1.0) -> Linearised:
    """Log softmax of the mean responses at `target`, treated minus other; `values` (n, U) standardised responses.

    The softmax is taken of means, never of single trials. Linearised by the delta method, a trial contributes
    ``(z_t,target - sum_j S_j z_tj) / temperature``.
    """
    scaled = (values / temperature).T  # (U, n)
    offset = scaled.mean(1, keepdims=True)
    treated = labels[0].sum()
    sums = (scaled - offset) @ labels.T  # (U, B)
    levels, projected = [], []
    for means in (sums / treated + offset, offset - sums / (len(values) - treated)):
        top = means.max(0)
        shares = np.exp(means - top)
        total = shares.sum(0)
        shares /= total
        levels.append(means[target] - top - np.log(total))
        projected.append(scaled[target] - shares.T @ scaled)  # (B, n)
    return Linearised(levels[0] - levels[1], projected[0], projected[1])


def standard_error(labels: Floats, contrast: Linearised) -> Floats:
    """Welch standard error of the difference, shape (B,): unequal variances, unequal counts."""
    square = np.zeros(len(labels))
    for treated, values in ((True, contrast.treated), (False, contrast.other)):
        count = labels[0].sum() if treated else labels.shape[1] - labels[0].sum()
        sums, squares = _side_sums(labels, values, treated=treated), _side_sums(labels, values**2, treated=treated)
        variance = (squares - sums**2 / count) / (count - 1)
        square += np.where(variance > 1e-12 * squares / count, variance, 0.0) / count  # rounding is no variance
    return np.asarray(np.sqrt(square))


def _side_sums(labels: Floats, values: Floats, *, treated: bool) -> Floats:
    """Sum of `values` (n,) or (B, n) over one side of each assignment, shape (B,)."""
    sums = labels @ values if values.ndim == 1 else np.einsum("bn,bn->b", labels, values)
    return np.asarray(sums if treated else values.sum(-1) - sums)


def studentised(labels: Floats, contrast: Linearised, error: Floats | None = None) -> Floats:
    """Difference over its standard error, shape (B,); without variance 0 for no difference, else +-infinity."""
    error = standard_error(labels, contrast) if error is None else error
    negligible = np.abs(contrast.difference) <= 1e-9 * (np.abs(contrast.treated).max() + np.abs(contrast.other).max())
    degenerate = np.where(negligible, 0.0, np.copysign(np.inf, contrast.difference))
    return np.asarray(np.divide(contrast.difference, error, out=degenerate, where=error > 0))


def influence(labels: Floats, contrast: Linearised, error: Floats) -> Floats:
    """Every trial's share of the studentised difference, shape (B, n); the squares of a row sum to 1."""
    shares = np.zeros(labels.shape)
    for treated, values in ((True, contrast.treated), (False, contrast.other)):
        count = labels[0].sum() if treated else labels.shape[1] - labels[0].sum()
        centred = values - _side_sums(labels, values, treated=treated)[:, None] / count
        shares += (labels if treated else labels - 1.0) * centred / math.sqrt(count * (count - 1))
    return np.asarray(np.divide(shares, error[:, None], out=np.zeros_like(shares), where=error[:, None] > 0))


# --- tests ------------------------------------------------------------------------------------------------------------


def permutation_p(observed: float, permuted: Floats, *, exact: bool) -> float:
    """One-sided p: share of assignments at least as large as the observed one.

    Phipson & Smyth (2010) where not all are enumerated.
    """
    tolerance = 1e-9 * max(1.0, min(abs(observed), 1e12))
    hits = int((permuted >= observed - tolerance).sum())
    return hits / len(permuted) if exact else (1 + hits) / (1 + len(permuted))


def permutation_test(
    values: Floats, strata: Strata, *, statistic: Statistic = mean_difference, permutations: int = 9999, seed: int = 0
) -> PermutationResult:
    """One-sided studentised permutation test within blocks (Janssen 1997; Chung & Romano 2013).

    Parameters
    ----------
    values : array of shape (n,) or (n, U)
        Trials block by block, within each block the others first, then the treated. Whole trials (rows) are relabelled.
    strata : tuple of (others, treated)
        Counts per block. At least two trials per side are needed in all.
    statistic : callable (labels (B, n), values) -> Linearised
    permutations : int
        Random assignments; where there are no more distinct ones all are enumerated and p is exact.
    """
    if min(sum(o for o, _ in strata), sum(t for _, t in strata)) < 2:
        raise ValueError(f"strata {strata} (others, treated); expected at least two trials on either side")
    exact = distinct_assignments(strata) <= permutations
    labels = enumerated_labels(strata) if exact else random_labels(strata, permutations, seed)
    contrast = statistic(observed_labels(strata), values)
    t = float(studentised(observed_labels(strata), contrast)[0])
    p = permutation_p(t, studentised(labels, statistic(labels, values)), exact=exact)
    return PermutationResult(
        difference=float(contrast.difference[0]), t=t, p=p, smallest_p=smallest_p(strata, permutations), exact=exact
    )


def joint_permutation_p(pools: Sequence[Pool], *, permutations: int = 9999, seed: int = 0) -> float:
    """One p for "no site is controlled": mean studentised T over sites, labels permuted jointly within block.

    The mean T is itself studentised by the trial-level variance of the sum, in which a trial that serves several sites
    counts as one: sites that share a reference image or noise are not taken for independent.
    """
    columns, places = np.unique(np.concatenate([p.rows for p in pools]), return_inverse=True)
    where = np.split(places, np.cumsum([len(p.rows) for p in pools])[:-1])

    def statistic(pick: Callable[[Strata], Floats], size: int) -> Floats:
        total, shares = np.zeros(size), np.zeros((len(columns), size))
        for pool, place in zip(pools, where, strict=True):
            labels = pick(pool.strata)
            contrast = pool.statistic(labels, pool.values)
            error = standard_error(labels, contrast)
            total += np.clip(studentised(labels, contrast, error), -1e3, 1e3)
            shares[place] += influence(labels, contrast, error).T
        return np.asarray(total / np.sqrt(np.maximum((shares**2).sum(0), 1e-12)))

    observed = float(statistic(observed_labels, 1)[0])
    permuted = statistic(lambda strata: random_labels(strata, permutations, seed), permutations)
    return permutation_p(observed, permuted, exact=False)


def difference_interval(
    values: Floats, strata: Strata, *, statistic: Statistic = mean_difference, confidence: float = 0.95
) -> tuple[float, float]:
    """Welch t interval of the statistic's difference (delta method for a non-linear statistic).

    Trials as in `permutation_test`.
    """
    labels = observed_labels(strata)
    contrast = statistic(labels, values)
    sides = [
        np.broadcast_to(v, labels.shape)[m] for v, m in ((contrast.treated, labels > 0), (contrast.other, labels == 0))
    ]
    variances = [float(v.var(ddof=1)) / len(v) for v in sides]
    df = satterthwaite(variances, [len(v) for v in sides])
    half = float(special.stdtrit(df, 0.5 + confidence / 2)) * math.sqrt(sum(variances))
    return float(contrast.difference[0]) - half, float(contrast.difference[0]) + half


def spearman_test(x: Floats, y: Floats, *, permutations: int, seed: int) -> tuple[float, float]:
    """Spearman correlation of two arrays (n,) and its one-sided permutation p (greater than 0); ties have mid-ranks.

    Equal to `scipy.stats.permutation_test` of `scipy.stats.spearmanr` over pairings where all orders are listed. That
    ranks every order anew: seconds for 7 values, where one matrix product takes milliseconds.
    """
    ranks, other = rankdata(x) - (len(x) + 1) / 2, rankdata(y) - (len(y) + 1) / 2
    norm = math.sqrt(float((ranks**2).sum() * (other**2).sum()))
    if norm == 0:
        return math.nan, 1.0
    exact = len(x) <= MOST_LISTED
    if exact:
        shuffled = other[all_orders(len(x))]
    else:
        generator = np.random.default_rng(seed)
        shuffled = np.array([generator.permutation(other) for _ in range(permutations)])
    rho = float(ranks @ other) / norm
    return rho, permutation_p(rho, shuffled @ ranks / norm, exact=exact)
