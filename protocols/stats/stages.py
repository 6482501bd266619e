"""Group-sequential tests from independent stages: alpha spending, the boundary of every look, a p that always holds.

The trials between two looks are one stage, and each stage has a p of its own, from its own trials alone. The stages are
combined by the inverse normal method with weights that are fixed before the first trial (Bauer & Koehne 1994; Lehmacher
& Wassmer 1999): whatever an interim look changes about later stages (how many trials, which images), the combination
keeps its level, because a later stage's p is uniform, or larger, given everything before it. Alpha is spent over the
looks by a function of the planned share of the trials (Lan & DeMets 1983).

`shares` (K,) are the planned shares of the trials that are in at each look, rising to 1 at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from protocols.arrays import Floats

Spending = Literal["obrien_fleming", "pocock"]
POINTS = 96  # of the quadrature between two looks
FARTHEST = 9.0  # SDs below 0 where the density of a continued path is cut off; 1e-19
SMALLEST, LARGEST = 1e-12, 0.5  # repeated p values are sought between these


def obrien_fleming(alpha: float, share: float) -> float:
    """Alpha spent at `share` of the trials: ``2 - 2 Phi(z(1 - alpha / 2) / sqrt(share))``, little at first.

    Lan & DeMets (1983), their first function: boundaries like those of O'Brien & Fleming (1979).
    """
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(share)))


def pocock(alpha: float, share: float) -> float:
    """Alpha spent at `share` of the trials: ``alpha log(1 + (e - 1) share)``, about evenly.

    Lan & DeMets (1983), their second function: boundaries like those of Pocock (1977).
    """
    return alpha * math.log1p((math.e - 1) * share)


SPENDING: dict[str, Callable[[float, float], float]] = {"obrien_fleming": obrien_fleming, "pocock": pocock}


def stage_weights(shares: Sequence[float]) -> Floats:
    """Weight of every stage, (K,): the root of its planned share of the trials; the squares sum to 1."""
    check_shares(shares)
    return np.asarray(np.sqrt(np.diff([0.0, *shares])))


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that do not rise from above 0 to 1."""
    if not shares or not all(a < b for a, b in zip([0.0, *shares], shares, strict=False)) or shares[-1] != 1.0:
        raise ValueError(f"shares {tuple(shares)}; expected numbers above 0 that rise to 1")


@lru_cache(maxsize=4096)
def boundaries(alpha: float, shares: tuple[float, ...], spending: Spending) -> tuple[float, ...]:
    """Bounds of the combined statistic ``Z_k``, (K,): "success" at look k where ``Z_k`` is at least the k-th.

    By recursion over the density of the paths that no earlier look stopped (Armitage, McPherson & Rowe 1969), with
    Gauss-Legendre quadrature: the probability under the null of the first success at look k is what `spending` gives
    between look k - 1 and look k.

    Parameters
    ----------
    alpha : float
        One-sided, below 0.5.
    shares : tuple of float
    spending : "obrien_fleming" or "pocock"
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}; expected a number between 0 and 1")
    from scipy.optimize import brentq  # takes a third of a second, which nobody who reads a project waits for

    weights, spend = stage_weights(shares), SPENDING[spending]
    spent = np.diff([0.0, *(spend(alpha, share) for share in shares)])
    bounds = [float(-special.ndtri(spent[0]))]
    nodes, density = _continued(bounds[0] * math.sqrt(shares[0]), None, weights[0])
    for k in range(1, len(shares)):

        def crossed(bound: float, *, k: int = k, nodes: Floats = nodes, density: Floats = density) -> float:
            return float(density @ special.ndtr((nodes - bound * math.sqrt(shares[k])) / weights[k]) - spent[k])

        bounds.append(float(brentq(crossed, -8.0, 40.0, xtol=1e-11)))
        if k + 1 < len(shares):
            nodes, density = _continued(bounds[k] * math.sqrt(shares[k]), (nodes, density), weights[k])
    return tuple(bounds)


@lru_cache(maxsize=1)
def _gauss() -> tuple[Floats, Floats]:
    """Nodes and weights of the quadrature on [-1, 1]."""
    unit, gauss = np.polynomial.legendre.leggauss(POINTS)
    return unit, gauss


def _continued(top: float, before: tuple[Floats, Floats] | None, weight: float) -> tuple[Floats, Floats]:
    """Quadrature nodes of the sum ``sqrt(share) Z`` below `top`, and its density there times their weights."""
    bottom = -FARTHEST
    unit, gauss = _gauss()
    half = max(top - bottom, 1e-6) / 2
    nodes, gauss = bottom + half * (unit + 1), half * gauss
    sums, mass = (np.zeros(1), np.ones(1)) if before is None else before
    kernel = np.exp(-(((nodes[:, None] - sums) / weight) ** 2) / 2) / (weight * math.sqrt(2 * math.pi))
    return nodes, gauss * (kernel @ mass)


def combined_z(stage_p: Sequence[float | None], shares: Sequence[float]) -> Floats:
    """Combined statistic ``Z_k = sum_j<=k w_j z(1 - p_j) / sqrt(share_k)`` at every look up to the last test, (looks,).

    Lehmacher & Wassmer (1999), eq. 1. The trials of a comparison end with its last test: stages without one after it
    are no looks. A stage without a test in between (None: its trials were lost, whatever they were) adds nothing, which
    lowers the variance below 1: the level is kept.

    Parameters
    ----------
    stage_p : sequence of float or None
        One-sided p of the stages so far, at most K of them.
    shares : sequence of float
    """
    weights = stage_weights(shares)
    if len(stage_p) > len(weights):
        raise ValueError(f"{len(stage_p)} stages with {len(weights)} looks")
    last = max((n for n, p in enumerate(stage_p, start=1) if p is not None), default=0)
    z = np.array([0.0 if p is None else float(-special.ndtri(p)) for p in stage_p[:last]])
    sums = np.cumsum(weights[: len(z)] * z)  # a stage with p = 1 (z = -inf) rules out every later success
    return np.asarray(sums / np.sqrt(np.asarray(shares[: len(z)])))


def repeated_p(stage_p: Sequence[float | None], shares: Sequence[float], spending: Spending) -> float:
    """The smallest alpha with which this design would have said "success" by the last of these stages.

    A repeated p value (Jennison & Turnbull 1989): under the null it is at most x with probability at most x, at
    whichever look the trials stop and for whatever reason. It is at most alpha exactly where a boundary of that alpha
    was crossed. Larger values than 0.5 are given as 1.
    """
    shares = tuple(float(s) for s in shares)
    return min(
        (_crossing(float(z), k, shares, spending=spending) for k, z in enumerate(combined_z(stage_p, shares))),
        default=1.0,
    )


def _crossing(z: float, look: int, shares: tuple[float, ...], *, spending: Spending) -> float:
    """The alpha whose boundary at `look` is `z`."""

    def above(log_alpha: float) -> float:
        return z - boundaries(math.exp(log_alpha), shares, spending)[look]

    from scipy.optimize import brentq

    low, high = math.log(SMALLEST), math.log(LARGEST)
    if math.isinf(z):
        return SMALLEST if z > 0 else 1.0
    if above(high) < 0:
        return 1.0
    return SMALLEST if above(low) >= 0 else math.exp(brentq(above, low, high, xtol=1e-10))


def conditional_power(
    stage_p: Sequence[float | None], shares: Sequence[float], *, alpha: float, spending: Spending
) -> float:
    """Probability of success at the last look if the effect is as large as it was so far, at the planned trials.

    The drift so far, ``Z_k / sqrt(share_k)``, goes on (Lan & Wittes 1988); looks in between are left out.
    """
    shares = tuple(float(s) for s in shares)
    combined, last = combined_z(stage_p, shares), boundaries(alpha, shares, spending)[-1]
    if not len(combined):
        raise ValueError(f"stages {tuple(stage_p)} without a test")
    z, share = float(combined[-1]), shares[len(combined) - 1]
    if share == 1.0 or math.isinf(z):
        return float(z >= last)
    drift = z / math.sqrt(share)
    rest = 1 - share
    return float(special.ndtr((math.sqrt(share) * z + drift * rest - last) / math.sqrt(rest)))
