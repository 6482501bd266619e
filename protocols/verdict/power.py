"""Before the day: the power of a verdict at a site, the repeats that a wanted gain takes, the gain within reach.

Nothing is approximated by a formula: experiments are simulated and judged by the procedure of `evaluate` (a single
re-shown natural image tested whole; of several the best chosen on one half of the trials and tested on the other, in
both directions; a studentised permutation within block).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from protocols.project.objectives import OBJECTIVES
from protocols.stats.reach import reachable_p

from .expected import ExpectedSite, Trials
from .experiments import SIMULATED, control_share

RECORDINGS = 8  # patterns of lost trials over which an answer is averaged


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
        Of the controller over the best of the references: of its evoked response (natural SDs where `site` states a
        `variance`). For one_hot the other sites answer as to the reference.
    objective : str
        One of `protocols.project.objectives.OBJECTIVES`.
    experiments, seed : int
        Simulated experiments (standard error at most 0.5 / sqrt(experiments)) and their randomness.
    """
    if objective not in SIMULATED:
        raise ValueError(f"objective {objective!r}; expected {' or '.join(SIMULATED)}")
    all_sites = OBJECTIVES[objective].all_sites
    if all_sites and site.means.shape[1] < 2:
        raise ValueError(f"{objective} needs the expected responses of at least two sites: references of shape (K, D)")
    site = site if all_sites else site.only()
    images = np.concatenate([site.means, site.controller(gain, objective)[None]])
    generator = np.random.default_rng([seed, trials.repeats, trials.blocks])
    ragged = trials.lost > 0 or any(n % (2 * trials.blocks) > 0 for n in (trials.repeats, trials.of_reference))
    patterns = RECORDINGS if ragged else 1
    each = math.ceil(experiments / patterns)
    shares = [
        control_share(site, trials, images, objective=objective, experiments=each, generator=generator)
        for _ in range(patterns)
    ]
    return float(np.mean(shares))


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
    """The fewest repeats of every image with which `gain` is found with probability `wanted`, in whole blocks.

    None above `limit`. References are shown as often as the controller.
    """
    blocks = trials.blocks

    def reached(rounds: int) -> bool:
        longer = replace(trials, repeats=rounds * blocks, reference_repeats=None)
        return power(site, longer, gain, objective=objective, experiments=experiments, seed=seed) >= wanted

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
    """What one site can show; None = out of reach.

    Attributes
    ----------
    objective, site : str
    gain, wanted : float
        The gain and the power that are asked for.
    smallest_p : float
        That the test can reach.
    power : float
        For `gain`.
    detectable_gain : float
        The smallest gain that is found with power `wanted`.
    repeats_needed : int
        To find `gain` with power `wanted`.
    """

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
        detectable, needed = self.detectable_gain, self.repeats_needed
        return "\n".join(
            [
                f"smallest reachable p: {self.smallest_p:.2g}",
                f"power for +{100 * self.gain:g} %: {self.power:.2f}",
                f"gain found with power {self.wanted:g}: "
                + ("out of reach" if detectable is None else f"+{100 * detectable:.0f} %"),
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
    detectable = detectable_gain(site, trials, wanted=wanted, objective=objective, experiments=experiments)
    reachable = reachable_p(trials.repeats, trials.blocks, reference_repeats=trials.reference_repeats)
    return SitePlan(
        objective=objective,
        gain=gain,
        wanted=wanted,
        smallest_p=max(reachable, 1 / (1 + trials.permutations)),
        power=power(site, trials, gain, objective=objective, experiments=experiments),
        detectable_gain=detectable if math.isfinite(detectable) else None,
        repeats_needed=repeats_for(gain, site, trials, wanted=wanted, objective=objective, experiments=experiments),
        site=name,
    )
