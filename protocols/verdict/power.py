"""Before the day: the power of a verdict at a site, the repeats that a wanted gain takes, the gain within reach.

Nothing is approximated by a formula: experiments are simulated and judged by the procedure of `evaluate` (the best of the re-shown
natural images chosen on one half of its trials, the controller tested against its other half by a studentised permutation within block).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from protocols.arrays import Bools, Floats
from protocols.stats.permutation import Strata, enumerated_labels, observed_labels, random_labels
from protocols.stats.reach import distinct_assignments, half_counts, reachable_p, repeats_a_block, smallest_p

OBJECTIVES = ("stretch", "one_hot")
RECORDINGS = 8  # patterns of lost trials an answer is averaged over
RELABELLINGS = {"stretch": 499, "one_hot": 299}  # of a simulated experiment, at least
CHUNK = 64  # experiments relabelled at a time


@dataclass(frozen=True)
class Trials:
    """How often every image is shown and how the round is tested; `lost` is the share of presentations without a usable trial."""

    repeats: int = 24
    blocks: int = 4
    alpha: float = 0.01
    permutations: int = 9999
    lost: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= self.repeats or not 0 < self.alpha < 1 or not 0 <= self.lost < 1:
            raise ValueError(f"{self}; expected 1 <= blocks <= repeats, 0 < alpha < 1, 0 <= lost < 1")


@dataclass(frozen=True)
class ExpectedSite:
    """What is expected of a site: the responses to its re-shown natural images and the noise of single trials.

    Parameters
    ----------
    references : array of shape (K,) or (K, D)
        Expected responses to the K re-shown images, of the site itself or of the D sites of the softmax (column `target` is the site).
    target : int
    blank : float
        Expected response of the site to the blank; gains are fractions of the evoked response.
    fano : float or array of shape (D,)
        Variance of single trials over their mean. Above 1 trials are negative-binomial, else normal.
    variance : float or array of shape (D,), optional
        Variance of single trials that does not grow with the mean (units without a zero); stands instead of `fano`.
    shared_gain : float
        SD of the log gain that all sites share from trial to trial, where `fano` leaves it out.
    natural_mean, natural_sd : float or array of shape (D,)
        Natural statistics of the D sites; with `variance`, gains are in natural SDs.
    temperature : float
        Of the one_hot softmax.
    """

    references: ArrayLike
    target: int = 0
    blank: float = 0.0
    fano: ArrayLike = 1.0
    variance: ArrayLike | None = None
    shared_gain: float = 0.0
    natural_mean: ArrayLike = 0.0
    natural_sd: ArrayLike = 1.0
    temperature: float = 1.0

    @property
    def means(self) -> Floats:
        """Expected responses to the references, shape (K, D)."""
        means = np.asarray(self.references, dtype=float)
        return means if means.ndim == 2 else means[:, None]

    def standardised(self, values: Floats) -> Floats:
        """Responses (..., D) in natural SDs from the natural mean, over the temperature."""
        scaled = (values - np.asarray(self.natural_mean)) / np.asarray(self.natural_sd) / self.temperature
        return np.asarray(scaled)

    def only(self) -> ExpectedSite:
        """The site alone, without the others of the softmax."""
        if self.means.shape[1] == 1:
            return self
        k, width = self.target, self.means.shape[1]
        fields = ("fano", "natural_mean", "natural_sd", *(("variance",) if self.variance is not None else ()))
        alone = {name: float(np.broadcast_to(getattr(self, name), width)[k]) for name in fields}
        return replace(self, references=self.means[:, k], target=0, **alone)

    def controller(self, gain: float, objective: str) -> Floats:
        """Expected responses (D,) to a controller: the best reference's, the site's own raised by `gain`."""
        level = _level(self.means, self, objective)
        raised: Floats = self.means[int(level.argmax())].copy()
        if self.variance is None:
            raised[self.target] += gain * (raised[self.target] - self.blank)
        else:
            raised[self.target] += gain * float(np.broadcast_to(self.natural_sd, raised.shape)[self.target])
        return raised


def power(
    site: ExpectedSite,
    trials: Trials,
    gain: float,
    *,
    objective: str = "stretch",
    experiments: int = 1000,
    seed: int = 0,
) -> float:
    """Probability that the verdict at `site` is "control".

    Parameters
    ----------
    site : ExpectedSite
    trials : Trials
    gain : float
        Of the controller over the best of the references: of its evoked response (natural SDs where `site` states a `variance`). For
        one_hot the other sites answer as to the reference.
    objective : "stretch" or "one_hot"
    experiments, seed : int
        Simulated experiments (standard error at most 0.5 / sqrt(experiments)) and their randomness.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r}; expected {' or '.join(OBJECTIVES)}")
    if objective == "one_hot" and site.means.shape[1] < 2:
        raise ValueError("one_hot needs the expected responses of at least two sites: references of shape (K, D)")
    site = site.only() if objective == "stretch" else site
    images = np.concatenate([site.means, site.controller(gain, objective)[None]])
    generator = np.random.default_rng([seed, trials.repeats, trials.blocks])
    ragged = trials.lost > 0 or trials.repeats % (2 * trials.blocks) > 0
    patterns = RECORDINGS if ragged else 1
    each = math.ceil(experiments / patterns)
    found = [
        _recording(site, trials, images, objective=objective, experiments=each, generator=generator)
        for _ in range(patterns)
    ]
    return float(np.mean(found))


def detectable_gain(
    site: ExpectedSite,
    trials: Trials,
    *,
    wanted: float = 0.8,
    objective: str = "stretch",
    experiments: int = 400,
    seed: int = 0,
    limit: float = 8.0,
) -> float:
    """The smallest gain found with probability `wanted`, to 4 % of itself; infinite where `limit` is not enough."""
    low, high = 0.0, 0.25

    def reached(gain: float) -> bool:
        return power(site, trials, gain, objective=objective, experiments=experiments, seed=seed) >= wanted

    while not reached(high):
        low, high = high, 2 * high
        if high > limit:
            return math.inf
    while high - low > 0.04 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def repeats_for(
    gain: float,
    site: ExpectedSite,
    trials: Trials,
    *,
    wanted: float = 0.8,
    objective: str = "stretch",
    experiments: int = 400,
    seed: int = 0,
    limit: int = 120,
) -> int | None:
    """The fewest repeats (a multiple of the blocks) with which `gain` is found with probability `wanted`; None above `limit`."""
    blocks = trials.blocks

    def reached(rounds: int) -> bool:
        shown = replace(trials, repeats=rounds * blocks)
        return power(site, shown, gain, objective=objective, experiments=experiments, seed=seed) >= wanted

    low, high, most = 0, max(1, trials.repeats // blocks), max(1, limit // blocks)
    while not reached(min(high, most)):
        if high >= most:
            return None
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high * blocks


@dataclass(frozen=True)
class SitePlan:
    """What one site can show: power for `gain`, the gain found with `wanted` power, the repeats for both (None: out of reach)."""

    objective: str
    gain: float
    wanted: float
    smallest_p: float
    power: float
    detectable_gain: float | None
    repeats_needed: int | None
    site: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The plan for scripts."""
        return asdict(self)

    def text(self) -> str:
        """The plan for people, gains being fractions of the evoked response."""
        found, needed = self.detectable_gain, self.repeats_needed
        return "\n".join(
            [
                f"smallest reachable p: {self.smallest_p:.2g}",
                f"power for +{100 * self.gain:g} %: {self.power:.2f}",
                f"gain found with power {self.wanted:g}: "
                + ("out of reach" if found is None else f"+{100 * found:.0f} %"),
                f"repeats for +{100 * self.gain:g} % with power {self.wanted:g}: {needed or 'out of reach'}",
            ]
        )


def plan_site(
    site: ExpectedSite,
    trials: Trials,
    gain: float,
    *,
    wanted: float = 0.8,
    objective: str = "stretch",
    experiments: int = 400,
    name: str = "",
) -> SitePlan:
    """Power, gain within reach and repeats needed at one site, from `experiments` simulated experiments each."""
    found = detectable_gain(site, trials, wanted=wanted, objective=objective, experiments=experiments)
    return SitePlan(
        objective=objective,
        gain=gain,
        wanted=wanted,
        smallest_p=max(
            reachable_p(trials.repeats, trials.blocks, equal=objective == "one_hot"), 1 / (1 + trials.permutations)
        ),
        power=power(site, trials, gain, objective=objective, experiments=experiments),
        detectable_gain=found if math.isfinite(found) else None,
        repeats_needed=repeats_for(gain, site, trials, wanted=wanted, objective=objective, experiments=experiments),
        site=name,
    )


# --- one recording -----------------------------------------------------------------------------------------------------


def _recording(
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
    picks = ready[_level(means, site, objective).argmax(0)]  # (experiments,)
    hits = 0
    for reference in np.unique(picks):
        strata = tuple(zip(second[reference].tolist(), counts[-1].tolist(), strict=True))
        if objective == "one_hot":
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
    """Single trials of an image, shape (experiments, trials, D); sites beside the target, which matter only in sum, are normal."""
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


def _level(means: Floats, site: ExpectedSite, objective: str) -> Floats:
    """Score of mean responses (..., D): the site's own, or its log softmax."""
    if objective == "stretch":
        return means[..., site.target]
    scaled = site.standardised(means)
    return np.asarray(scaled[..., site.target] - np.logaddexp.reduce(scaled, axis=-1))


def _rejected(site: ExpectedSite, objective: str, sides: Sequence[Floats], *, strata: Strata, trials: Trials) -> Bools:
    """Which experiments end in "control"; `sides` are the reference's and the controller's trials, (experiments, n, D)."""
    least = max(RELABELLINGS[objective], math.ceil(3 / trials.alpha) - 1)
    random = min(trials.permutations, least)
    exact = distinct_assignments(strata) <= random
    labels = enumerated_labels(strata) if exact else random_labels(strata, random, 0)
    every = np.concatenate([observed_labels(strata), labels])
    values = _by_block(sides, strata)
    if objective == "stretch":
        t = _welch(every, values[..., site.target].T)
    else:
        scaled = site.standardised(values)
        parts = [scaled[i : i + CHUNK] for i in range(0, len(scaled), CHUNK)]
        t = np.concatenate([_welch_of_log_softmax(every, part, site.target) for part in parts], axis=1)
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
    """The t of `log_softmax_difference` for every relabelling (B, n) of standardised trials (experiments, n, D), (B, experiments)."""
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
