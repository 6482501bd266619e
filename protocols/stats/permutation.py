"""Studentised permutation tests within blocks: label assignments, Welch's t, the test of one comparison.

"Treated" is the controller, "other" what it is compared with; every test is one-sided (treated > other). Labels are
float arrays of shape (B, n) that hold 1 for treated, so that sums over either side are matrix products.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from itertools import permutations as orders
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from protocols.arrays import Bools, Floats, Ints

from .reach import distinct_assignments, smallest_p

MOST_LISTED = 7  # levels of which all orders are listed
Strata = tuple[tuple[int, int], ...]  # (others, treated) per block


class PermutationResult(NamedTuple):
    """Observed difference and Welch t, one-sided p, the smallest p of these trials, and whether p is exact.

    `tied_p`: the smallest p that these values can give whatever their labels (`tied_p`): above `smallest_p` where they
    tie, as counts near zero do.
    """

    difference: float
    t: float
    p: float
    smallest_p: float
    exact: bool
    tied_p: float = 0.0


class Pool(NamedTuple):
    """The trials of one comparison: `rows` (n,) of the trial table, their `values` (n,), and the counts per block."""

    rows: Ints
    values: Floats
    strata: Strata


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
    return _frozen(labels_between(strata, permutations, seed, part=(0, permutations)))


def labels_between(strata: Strata, permutations: int, seed: int, *, part: tuple[int, int]) -> Floats:
    """The assignments ``part[0]`` to ``part[1]`` of `random_labels`, shape (part[1] - part[0], n)."""
    blocks = [
        _random_block(*counts, block=block, permutations=permutations, seed=seed) for block, counts in enumerate(strata)
    ]
    return np.concatenate([block[slice(*part)] for block in blocks], axis=1, dtype=np.float64)


@lru_cache(maxsize=256)
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


def centred(values: Floats) -> Floats:
    """Values (n,) or (n, 1) about their mean, shape (n,); all zero where they do not differ."""
    flat = np.asarray(values, dtype=float).reshape(len(values))
    return flat - flat.mean() if np.ptp(flat) > 1e-12 * np.abs(flat).max() else np.zeros_like(flat)


def mean_difference(labels: Floats, values: Floats) -> Floats:
    """Mean of treated minus mean of other trials, shape (B,); `labels` (B, n), `values` (n,) about their mean."""
    return _difference(labels, values, labels @ values)


def standard_error(labels: Floats, values: Floats) -> Floats:
    """Welch standard error of the difference, shape (B,): unequal variances, unequal counts."""
    return _error(labels, values, labels @ values)


def _difference(labels: Floats, values: Floats, sums: Floats) -> Floats:
    treated = labels[0].sum()
    return np.asarray(sums / treated + sums / (len(values) - treated))  # the centred values sum to zero


def _error(labels: Floats, values: Floats, sums: Floats) -> Floats:
    square, squared = np.zeros(len(labels)), values**2
    squares = labels @ squared
    for treated in (True, False):
        count = labels[0].sum() if treated else labels.shape[1] - labels[0].sum()
        here, power = (sums, squares) if treated else (values.sum() - sums, squared.sum() - squares)
        variance = (power - here**2 / count) / (count - 1)
        square += np.where(variance > 1e-12 * power / count, variance, 0.0) / count  # rounding is no variance
    return np.asarray(np.sqrt(square))


def studentised(difference: Floats, error: Floats, scale: float) -> Floats:
    """Difference over its standard error; without variance 0 for no difference, else +-infinity.

    `scale`: largest magnitude of the values, below 1e-9 of which a difference is rounding.
    """
    degenerate = np.where(np.abs(difference) <= 1e-9 * scale, 0.0, np.copysign(np.inf, difference))
    return np.asarray(np.divide(difference, error, out=degenerate, where=error > 0))


def welch(labels: Floats, values: Floats) -> Floats:
    """Welch's t of every assignment, shape (B,); `labels` (B, n), `values` (n,) about their mean."""
    scale = float(np.abs(values).max(initial=0.0))
    sums = labels @ values
    return studentised(_difference(labels, values, sums), _error(labels, values, sums), scale)


def influence(labels: Floats, values: Floats, error: Floats) -> Floats:
    """Every trial's share of the studentised difference, shape (B, n); the squares of a row sum to 1."""
    sums, shares = labels @ values, np.zeros(labels.shape)
    for treated in (True, False):
        count = labels[0].sum() if treated else labels.shape[1] - labels[0].sum()
        about = values - (sums if treated else values.sum() - sums)[:, None] / count
        shares += (labels if treated else labels - 1.0) * about / math.sqrt(count * (count - 1))
    return np.asarray(np.divide(shares, error[:, None], out=np.zeros_like(shares), where=error[:, None] > 0))


# --- tests ------------------------------------------------------------------------------------------------------------


def permutation_p(observed: float, permuted: Floats, *, exact: bool) -> float:
    """One-sided p: share of assignments at least as large as the observed one.

    Phipson & Smyth (2010) where not all are enumerated.
    """
    tolerance = 1e-9 * max(1.0, min(abs(observed), 1e12))
    hits = int((permuted >= observed - tolerance).sum())
    return hits / len(permuted) if exact else (1 + hits) / (1 + len(permuted))


def tied_p(observed: float, permuted: Floats, *, exact: bool) -> float:
    """The smallest p among these relabellings, the recorded one among them: the share that ties with the largest t.

    It does not depend on which of them was recorded, so that leaving a test out by it keeps the level of the others.
    """
    top = float(permuted.max()) if exact else max(observed, float(permuted.max()))
    tolerance = 1e-9 * max(1.0, min(abs(top), 1e12))
    hits = int((permuted >= top - tolerance).sum())
    return hits / len(permuted) if exact else (hits + (observed >= top - tolerance)) / (1 + len(permuted))


def permutation_test(values: Floats, strata: Strata, *, permutations: int = 9999, seed: int = 0) -> PermutationResult:
    """One-sided studentised permutation test within blocks (Janssen 1997; Chung & Romano 2013).

    Parameters
    ----------
    values : array of shape (n,) or (n, 1)
        Trials block by block, within each block the others first, then the treated.
    strata : tuple of (others, treated)
        Counts per block. At least two trials per side are needed in all.
    permutations, seed : int
        Random assignments; where there are no more distinct ones all are enumerated and p is exact.
    """
    if min(sum(o for o, _ in strata), sum(t for _, t in strata)) < 2:
        raise ValueError(f"strata {strata} (others, treated); expected at least two trials on either side")
    exact = distinct_assignments(strata) <= permutations
    labels = enumerated_labels(strata) if exact else random_labels(strata, permutations, seed)
    about, observed = centred(values), observed_labels(strata)
    t, permuted = float(welch(observed, about)[0]), welch(labels, about)
    return PermutationResult(
        difference=float(mean_difference(observed, about)[0]),
        t=t,
        p=permutation_p(t, permuted, exact=exact),
        smallest_p=smallest_p(strata, permutations),
        exact=exact,
        tied_p=tied_p(t, permuted, exact=exact),
    )


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
