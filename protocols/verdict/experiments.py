"""Simulated experiments at one site, each judged by the test of the verdict: many relabelled experiments at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from protocols.arrays import Bools, Floats
from protocols.project.objectives import OBJECTIVES
from protocols.stats.permutation import Strata, enumerated_labels, observed_labels, random_labels
from protocols.stats.reach import distinct_assignments, half_counts, repeats_a_block, smallest_p

from .expected import ExpectedSite, Trials

CHUNK = 64  # experiments relabelled at a time


def control_share(
    site: ExpectedSite,
    trials: Trials,
    images: Floats,
    *,
    objective: str,
    experiments: int,
    generator: np.random.Generator,
) -> float:
    """Share of "control" among experiments that lost the same trials; `images` (K + 1, D), the controller last."""
    shown = np.array(repeats_a_block(trials.repeats, trials.blocks))
    counts = generator.binomial(np.tile(shown, (len(images), 1)), 1 - trials.lost)  # (K + 1, blocks)
    second = np.array([half_counts(row, int(generator.integers(2)))[1] for row in counts[:-1]])
    first = counts[:-1] - second
    ready = np.flatnonzero((first.sum(1) >= 1) & (second.sum(1) >= 2))
    if len(ready) == 0:
        return 0.0
    means = np.stack(
        [_mean(site, images[i], int(first[i].sum()), experiments=experiments, generator=generator) for i in ready]
    )
    picks = ready[site.scores(means, objective).argmax(0)]  # (experiments,)
    hits = 0
    for reference in np.unique(picks):
        strata = tuple(zip(second[reference].tolist(), counts[-1].tolist(), strict=True))
        if OBJECTIVES[objective].equal_counts:
            strata = tuple((min(pair), min(pair)) for pair in strata)
        others, treated = (sum(side) for side in zip(*strata, strict=True))
        if min(others, treated) < 2 or smallest_p(strata, trials.permutations) > trials.alpha:
            continue
        size = int((picks == reference).sum())
        sides = [
            _draw(site, images[i], (size, n), generator=generator) for i, n in ((reference, others), (-1, treated))
        ]
        hits += int(_rejected(site, objective, sides, strata=strata, trials=trials).sum())
    return hits / experiments


def _mean(site: ExpectedSite, mean: Floats, trials: int, *, experiments: int, generator: np.random.Generator) -> Floats:
    """Means over the trials that choose the reference, taken for normal, shape (experiments, D)."""
    variance = np.broadcast_to(
        np.asarray(site.fano) * mean if site.variance is None else np.asarray(site.variance), mean.shape
    )
    shared = site.shared_gain * generator.normal(size=(experiments, 1)) * mean
    noise = shared + np.sqrt(variance) * generator.normal(size=(experiments, len(mean)))
    return np.asarray(mean + noise / math.sqrt(trials))


def _draw(site: ExpectedSite, mean: Floats, shape: tuple[int, int], *, generator: np.random.Generator) -> Floats:
    """Single trials of an image, shape (experiments, trials, D).

    Sites beside the target matter only in sum; their trials are normal.
    """
    expected = np.broadcast_to(np.maximum(mean, 0.0) if site.variance is None else mean, (*shape, len(mean)))
    if site.shared_gain and site.variance is None:
        noise = site.shared_gain * generator.normal(size=(*shape, 1)) - site.shared_gain**2 / 2
        expected = expected * np.exp(noise)
    fano = np.broadcast_to(np.asarray(site.fano, dtype=float), mean.shape)
    variance = fano * expected if site.variance is None else np.asarray(site.variance)
    values = expected + np.sqrt(variance) * generator.normal(size=expected.shape)
    if site.variance is None and (scale := fano[site.target] - 1) > 1e-3:
        values[..., site.target] = generator.poisson(generator.gamma(expected[..., site.target] / scale, scale))
    return np.asarray(values)


def _rejected(site: ExpectedSite, objective: str, sides: Sequence[Floats], *, strata: Strata, trials: Trials) -> Bools:
    """Which experiments end in "control"; `sides`: trials of reference and controller, each (experiments, n, D)."""
    simulated = SIMULATED[objective]
    least = max(simulated.relabellings, math.ceil(3 / trials.alpha) - 1)
    random = min(trials.permutations, least)
    exact = distinct_assignments(strata) <= random
    labels = enumerated_labels(strata) if exact else random_labels(strata, random, 0)
    every = np.concatenate([observed_labels(strata), labels])
    t = simulated.t(every, _by_block(sides, strata), site)
    above = (t[1:] >= t[0] - 1e-9 * np.maximum(1.0, np.abs(t[0]))).sum(0)
    p = above / len(labels) if exact else (1 + above) / (1 + len(labels))
    return np.asarray(p <= trials.alpha)


def _by_block(sides: Sequence[Floats], strata: Strata) -> Floats:
    """The trials of both sides, (experiments, n, D), block by block, the reference's first."""
    edges = np.concatenate([np.zeros((1, 2), dtype=int), np.cumsum(strata, axis=0)])
    return np.concatenate([sides[s][:, a[s] : b[s]] for a, b in pairwise(edges) for s in (0, 1)], axis=1)


def _welch(labels: Floats, values: Floats) -> Floats:
    """Welch's t of every relabelling (B, n) of every experiment's trials (n, experiments), shape (B, experiments)."""
    values = values - values.mean(0)
    treated = labels[0].sum()
    other = len(values) - treated
    sums, squares = labels @ values, labels @ values**2
    rest = (values**2).sum(0) - squares
    variance = (squares - sums**2 / treated) / (treated - 1) / treated + (rest - sums**2 / other) / (other - 1) / other
    return _studentised(sums / treated + sums / other, variance)  # the centred values sum to zero


def _welch_of_log_softmax(labels: Floats, scaled: Floats, target: int) -> Floats:
    """The t of `log_softmax_difference` for every relabelling (B, n) of standardised trials (experiments, n, D).

    Shape (B, experiments).
    """
    sums = np.matmul(labels, scaled)  # (experiments, B, D)
    total, own = scaled.sum(1)[:, None], scaled[..., target][:, None]
    levels, variance = [], np.zeros(sums.shape[:2])
    for side, added in ((labels, sums), (1 - labels, total - sums)):
        count = side[0].sum()
        means = added / count
        shares = np.exp(means - means.max(2, keepdims=True))
        whole = shares.sum(2, keepdims=True)
        levels.append(means[..., target] - means.max(2) - np.log(whole[..., 0]))
        linear = (own - np.matmul(shares / whole, scaled.transpose(0, 2, 1))) * side  # (experiments, B, n)
        variance += ((linear**2).sum(2) - linear.sum(2) ** 2 / count) / (count - 1) / count
    return _studentised(levels[0] - levels[1], variance).T


def _studentised(difference: Floats, variance: Floats) -> Floats:
    error = np.sqrt(np.maximum(variance, 0.0))
    degenerate = np.where(np.abs(difference) < 1e-9, 0.0, np.copysign(np.inf, difference))
    return np.asarray(np.divide(difference, error, out=degenerate, where=error > 1e-12))


def _t_of_responses(labels: Floats, values: Floats, site: ExpectedSite) -> Floats:
    return _welch(labels, values[..., site.target].T)


def _t_of_log_softmax(labels: Floats, values: Floats, site: ExpectedSite) -> Floats:
    scaled = site.standardised(values)
    parts = [scaled[i : i + CHUNK] for i in range(0, len(scaled), CHUNK)]
    return np.concatenate([_welch_of_log_softmax(labels, part, site.target) for part in parts], axis=1)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """How experiments of one objective are simulated.

    Attributes
    ----------
    t : callable
        The studentised difference of every relabelling (B, n) of the trials (experiments, n, D) of a site, (B,
        experiments): that of the verdict's own test, for many experiments at a time.
    relabellings : int
        Relabellings of an experiment, at least.
    planned : int
        Experiments per site and setting in the plan of a round.
    """

    t: Callable[[Floats, Floats, ExpectedSite], Floats]
    relabellings: int
    planned: int


SIMULATED: dict[str, Simulated] = {
    "stretch": Simulated(t=_t_of_responses, relabellings=499, planned=200),  # power to 0.035
    "one_hot": Simulated(t=_t_of_log_softmax, relabellings=299, planned=100),  # power to 0.05
}
"""Every objective by its name, in the order of `protocols.project.objectives.OBJECTIVES`."""
