"""Simulated experiments at one site, each judged by the test of the verdict: many relabelled experiments at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.stats.choice import (
    chosen_contrast,
    directions,
    distinct_arrangements,
    listed_arrangements,
    observed_arrangement,
    random_arrangements,
    smallest_choice_p,
    totals,
)
from protocols.stats.dealing import Slots
from protocols.stats.permutation import Strata, enumerated_labels, observed_labels, random_labels, studentised
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
    counts = np.array([repeats_a_block(n, trials.blocks) for n in (trials.of_reference, trials.repeats)])
    shown = np.concatenate([np.repeat(counts[:1], len(images) - 1, axis=0), counts[1:]])
    kept = generator.binomial(shown, 1 - trials.lost)  # (K + 1, blocks)
    halves = [half_counts(row, int(generator.integers(2))) for row in kept[:-1]]
    slots = np.array([*(half for pair in halves for half in pair), kept[-1]]).T  # (blocks, 2 K + 1)
    by_image = slots.sum(0)[:-1].reshape(-1, 2)
    ready = np.flatnonzero((by_image.min(1) >= 1) & (by_image.max(1) >= 2))
    if kept[-1].sum() < 2 or len(ready) == 0:
        return 0.0
    used = np.array([*(slot for i in ready for slot in (2 * i, 2 * i + 1)), 2 * len(by_image)])
    means = [images[i] for i in ready for _ in (0, 1)] + [images[-1]]
    layout = tuple(tuple(int(n) for n in block) for block in slots[:, used])
    weights = SIMULATED[objective].weights(site, images)
    values = [
        SIMULATED[objective].tested(site, _draw(site, m, (experiments, n), generator=generator), weights)
        for m, n in zip(means, slots.sum(0)[used], strict=True)
    ]
    least = max(SIMULATED[objective].relabellings, math.ceil(3 / trials.alpha) - 1)
    rejected = _rejected_whole if len(ready) == 1 else _rejected_chosen
    return float(rejected(values, layout, trials=trials, least=least).mean())


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


def _rejected_whole(values: Sequence[Floats], slots: Slots, *, trials: Trials, least: int) -> Bools:
    """Which experiments end in "control" against a single reference; `values` (experiments, n) of every slot."""
    strata: Strata = tuple((sum(block[:-1]), block[-1]) for block in slots)
    permutations = min(trials.permutations, least)
    if smallest_p(strata, trials.permutations) > trials.alpha:
        return np.zeros(len(values[0]), dtype=bool)
    exact = distinct_assignments(strata) <= permutations
    labels = enumerated_labels(strata) if exact else random_labels(strata, permutations, 0)
    every = np.concatenate([observed_labels(strata), labels])
    return _significant(_welch(every, _by_block(values, slots).T), exact=exact, alpha=trials.alpha)


def _rejected_chosen(values: Sequence[Floats], slots: Slots, *, trials: Trials, least: int) -> Bools:
    """Which experiments end in "control" against references that are chosen; `values` (experiments, n) per slot."""
    permutations, counts = min(trials.permutations, least), totals(slots)
    if smallest_choice_p(slots, trials.permutations) > trials.alpha or not directions(counts):
        return np.zeros(len(values[0]), dtype=bool)
    exact = distinct_arrangements(slots) <= permutations
    drawn = listed_arrangements(slots) if exact else random_arrangements(slots, permutations, 0)
    members = _members(slots, np.concatenate([observed_arrangement(slots), drawn]))
    trial_values = _by_block(values, slots)
    t = [_chosen_t(members, trial_values[i : i + CHUNK], counts) for i in range(0, len(trial_values), CHUNK)]
    return _significant(np.concatenate(t, axis=1), exact=exact, alpha=trials.alpha)


def _by_block(values: Sequence[Floats], slots: Slots) -> Floats:
    """The trials of every slot, each (experiments, n), block by block and within a block slot by slot."""
    edges = np.concatenate([np.zeros((1, len(values)), dtype=int), np.cumsum(slots, axis=0)])
    return np.concatenate([values[s][:, a[s] : b[s]] for a, b in pairwise(edges) for s in range(len(values))], axis=1)


def _members(slots: Slots, arrangements: Ints) -> Floats:
    """Whether a trial lies in a slot, 0 or 1, shape (S, B, n), for `arrangements` (B, n)."""
    slot = np.concatenate([np.repeat(np.arange(len(block)), block) for block in slots])
    of_trial = np.empty_like(arrangements)
    np.put_along_axis(of_trial, arrangements, np.broadcast_to(slot, arrangements.shape).astype(of_trial.dtype), 1)
    return np.stack([of_trial == s for s in range(len(slots[0]))]).astype(np.float64)


def _chosen_t(members: Floats, values: Floats, counts: Ints) -> Floats:
    """The t of `protocols.stats.choice` for every relabelling (B,) of experiments (E, n), shape (B, E)."""
    about = (values - values.mean(1, keepdims=True)).T  # (n, E)
    shape = (*members.shape[:2], about.shape[1])
    flat = members.reshape(-1, len(about))
    sums, squares = ((flat @ x).reshape(shape).transpose(1, 2, 0) for x in (about, about**2))  # (B, E, S)
    chosen = chosen_contrast(sums, squares, counts)
    return studentised(chosen.difference, chosen.error, float(np.abs(about).max()))


def _significant(t: Floats, *, exact: bool, alpha: float) -> Bools:
    """Which experiments have p <= alpha; `t` (1 + B, experiments), the recorded one first."""
    above = (t[1:] >= t[0] - 1e-9 * np.maximum(1.0, np.abs(t[0]))).sum(0)
    p = above / (len(t) - 1) if exact else (1 + above) / len(t)
    return np.asarray(p <= alpha)


def _welch(labels: Floats, values: Floats) -> Floats:
    """Welch's t of every relabelling (B, n) of every experiment's trials (n, experiments), shape (B, experiments)."""
    values = values - values.mean(0)
    treated = labels[0].sum()
    other = len(values) - treated
    sums, squares = labels @ values, labels @ values**2
    rest = (values**2).sum(0) - squares
    variance = (squares - sums**2 / treated) / (treated - 1) / treated + (rest - sums**2 / other) / (other - 1) / other
    error = np.sqrt(np.where(variance > 1e-12 * np.abs(squares), variance, 0.0))
    return studentised(sums / treated + sums / other, error, float(np.abs(values).max()))  # centred: they sum to zero


# --- objectives -------------------------------------------------------------------------------------------------------


def _response(site: ExpectedSite, values: Floats, weights: Floats) -> Floats:
    return np.asarray(values[..., site.target])


def _response_turned(site: ExpectedSite, values: Floats, weights: Floats) -> Floats:
    return -np.asarray(values[..., site.target])


def _selectivity(site: ExpectedSite, values: Floats, weights: Floats) -> Floats:
    return site.tested(values, weights)


def _no_weights(site: ExpectedSite, images: Floats) -> Floats:
    return np.zeros(images.shape[1])


def _contrast_weights(site: ExpectedSite, images: Floats) -> Floats:
    return site.contrast_weights(images)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """How experiments of one objective are simulated.

    Attributes
    ----------
    weights : callable (site, images) -> (D,)
        Weights of the contrast for the expected responses `images` (K + 1, D).
    tested : callable (site, values, weights) -> (...)
        What the verdict tests, from single trials `values` (..., D).
    relabellings : int
        Relabellings of an experiment, at least.
    planned : int
        Experiments per site and setting in the plan of a round.
    """

    weights: Callable[[ExpectedSite, Floats], Floats]
    tested: Callable[[ExpectedSite, Floats, Floats], Floats]
    relabellings: int
    planned: int


SIMULATED: dict[str, Simulated] = {
    "stretch": Simulated(weights=_no_weights, tested=_response, relabellings=499, planned=200),  # power to 0.035
    "one_hot": Simulated(weights=_contrast_weights, tested=_selectivity, relabellings=299, planned=100),  # to 0.05
    "suppress": Simulated(weights=_no_weights, tested=_response_turned, relabellings=499, planned=200),
}
"""Every objective by its name, in the order of `protocols.project.objectives.OBJECTIVES`."""
