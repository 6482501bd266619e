"""How many true controls a division is expected to find: the verdict's test as a normal distribution, over draws of
what may be true.

The test of a controller c against the references picked is studentised; with n usable trials of each its power is
about Phi(d / SE - t), SE^2 = (v_c + v_r) / n, t the (1 - alpha) quantile of Student's t with 2 n - 2 degrees of
freedom. With several references one is picked on either half of the trials and tested on the other, so that d is the
controller less the mean of both picks (`protocols.verdict`). The printed power is simulated there; this one serves the
search alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.stats.intervals import normal_power

from .reach import Judging, fewest, reached

Pair = tuple[str, str]
CHOSEN = 0.25
"""What is added to the critical t where references are chosen in the test, since the choice is repeated in every
relabelling: measured on simulated verdicts (2, 3 and 5 references, 24 to 48 trials, evoked 5 to 9 spikes).
"""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What may be true of P pairs of an objective and a site, in D draws, on the scale that the test compares.

    Attributes
    ----------
    names : tuple of P (objective, site)
    images : int array of shape (P, K)
        Places of the candidates for references, best first.
    references : array of shape (D, P, K)
        True scores of the candidates.
    controllers : array of shape (D, P)
        True scores of the controllers.
    floor, slope : arrays of shape (P,)
        Variance of a single trial: floor + slope * score.
    """

    names: tuple[Pair, ...]
    images: Ints
    references: Floats
    controllers: Floats
    floor: Floats
    slope: Floats

    def variance(self, scores: Floats) -> Floats:
        """Variance of a single trial of an image with these scores (D, P)."""
        return np.maximum(self.floor + self.slope * scores, 1e-12)

    def true(self) -> Bools:
        """Whether the controller is truly above all candidates, bool (D, P)."""
        return np.asarray(self.controllers > self.references.max(-1))


def expected_found(pairs: Pairs, count: int, shown: Ints, *, test: Judging, blocks: int = 1) -> Floats:
    """Probability that each pair's controller is truly above its references and the verdict says so, (P,).

    A draw in which a score is not known counts as not found.

    Parameters
    ----------
    pairs : Pairs
    count : int
        References shown, the first of the candidates.
    shown : int array of shape (P,)
        Presentations of the controller, and of each reference.
    test : Judging
    blocks : int
        In which they are spread evenly; with too few usable trials in them the test cannot reach alpha (`reached`).
    """
    trials = np.maximum(shown * (1 - test.lost), 1e-9)
    candidates = pairs.references[..., :count]
    picks = [candidates[..., 0]] * 2 if count == 1 else _picked(pairs, candidates, trials)
    variance = np.mean([pairs.variance(p) for p in picks], axis=0)
    error = np.sqrt((pairs.variance(pairs.controllers) + variance) / trials)
    ratio, freedom = (pairs.controllers - np.mean(picks, axis=0)) / error, np.maximum(2 * trials - 2, 1)
    power = normal_power(ratio, freedom, test.alpha, margin=CHOSEN if count > 1 else 0.0)
    enough = np.array([reached(n, count, blocks=blocks, test=test) for n in shown.tolist()])
    return np.asarray(np.where(pairs.true() & np.isfinite(power), power, 0.0).mean(0) * enough)


def _picked(pairs: Pairs, candidates: Floats, trials: Floats) -> list[Floats]:
    """True scores (D, P) of the references picked on either half of their trials."""
    generator = np.random.default_rng(11)  # the same noise for every division
    variance = np.stack([pairs.variance(candidates[..., k]) for k in range(candidates.shape[-1])], axis=-1)
    spread = np.sqrt(variance / (trials[:, None] / 2))
    picked = []
    for _ in range(2):
        seen = (candidates + spread * generator.normal(size=candidates.shape)).argmax(-1)
        picked.append(np.take_along_axis(candidates, seen[..., None], -1)[..., 0])
    return picked


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A controller against one reference, for power without a simulation.

    Attributes
    ----------
    level : float
        Expected score of the reference.
    step : float
        Score that a gain of 1 adds.
    floor, slope : float
        Variance of a single trial: floor + slope * score.
    most : float
        The largest possible score.
    """

    level: float
    step: float
    floor: float
    slope: float
    most: float = math.inf

    def power(self, gain: float, repeats: int, *, test: Judging, blocks: int = 1) -> float:
        """Probability that a controller with this gain is found with so many presentations of both, in `blocks`."""
        trials, added = max(repeats * (1 - test.lost), 1.5), min(gain * self.step, self.most - self.level)
        both = 2 * self.floor + self.slope * (2 * self.level + added)
        enough = reached(repeats, 1, blocks=blocks, test=test)
        ratio = np.asarray(added / math.sqrt(max(both, 1e-12) / trials))
        return enough * float(normal_power(ratio, np.asarray(2 * trials - 2), test.alpha))

    def detectable(
        self, wanted: float, repeats: int, *, test: Judging, blocks: int = 1, limit: float = 8.0
    ) -> float | None:
        """The smallest gain found with probability `wanted`, to 1 % of itself; None where `limit` is not enough."""
        low, high = 0.0, limit
        if self.power(high, repeats, test=test, blocks=blocks) < wanted:
            return None
        while high - low > 0.01 * high:
            middle = (low + high) / 2
            found = self.power(middle, repeats, test=test, blocks=blocks)
            low, high = (low, middle) if found >= wanted else (middle, high)
        return high

    def repeats(self, gain: float, wanted: float, *, blocks: int, test: Judging, limit: int = 240) -> int | None:
        """The fewest presentations in whole blocks with which `gain` is found with probability `wanted`, up to
        `limit`.
        """
        tried = range(fewest(1, test, blocks=blocks), limit + 1, blocks)
        return next((n for n in tried if self.power(gain, n, test=test, blocks=blocks) >= wanted), None)


def by_objective(pairs: Pairs, values: Floats) -> dict[str, float]:
    """Sums of `values` (P,) over the sites of every objective."""
    sums: dict[str, float] = {}
    for (objective, _), value in zip(pairs.names, values.tolist(), strict=True):
        sums[objective] = sums.get(objective, 0.0) + value
    return {o: v for o, v in sums.items() if math.isfinite(v)}
