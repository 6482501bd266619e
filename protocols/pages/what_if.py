"""What a round would be expected to find with other minutes, fewer targets and other gains, by the planner's functions.

Every number is one of `protocols.rounds.planning`: all controllers and one reference each are shown equally often, as
`allocate` divides a round in the first place, and `expected_found` says what the verdicts find. What stands beside the
tests takes its share first (`beside_share`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.config.config import Config
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.rounds.evolved import of_pairs
from protocols.rounds.planning.allocate import RoundBudget
from protocols.rounds.planning.beside import beside_share, tested_naturals
from protocols.rounds.planning.contrasts import Contrasts, contrasts_of
from protocols.rounds.planning.division import Share, minutes_of, orderly
from protocols.rounds.planning.expected import likely_pairs
from protocols.rounds.planning.found import Pairs, expected_found
from protocols.rounds.planning.reach import surely
from protocols.rounds.planning.round_plan import RoundDivision, budget_of
from protocols.rounds.planning.wishes import wishes_of

__all__ = ["FACTORS", "Grid", "grid_of", "presentations_of"]

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)
"""Gains that are tried, in those that the planner expects."""
MINUTES, TARGETS = 25, 10
"""Numbers of lengths and of numbers of targets that are tried."""
LONGEST = 2.5
"""The longest round that is tried, in the configured one."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is expected of M lengths of the round, N numbers of targets and G gains.

    Attributes
    ----------
    minutes : tuple of M float
    targets : tuple of N int
        Numbers of sites: those at which the configured round is expected to find most.
    factors : tuple of G float
    sites : tuple of str
        The sites in that order.
    shown : int array of shape (N, M)
        Presentations of every controller and of its reference; 0: too few for any test.
    presentations : int array of shape (M,)
        Of the round, with blanks and what stands beside the tests.
    found : dict of objective to array of shape (N, M, G)
        Expected number of true controls found.
    true : dict of objective to array of shape (N, G)
        Expected number of true controls.
    """

    minutes: tuple[float, ...]
    targets: tuple[int, ...]
    factors: tuple[float, ...]
    sites: tuple[str, ...]
    shown: Ints
    presentations: Ints
    found: dict[str, Floats]
    true: dict[str, Floats]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "minutes": list(self.minutes),
            "targets": list(self.targets),
            "factors": list(self.factors),
            "sites": list(self.sites),
            "shown": self.shown.tolist(),
            "presentations": self.presentations.tolist(),
            "found": {o: np.round(v, 3).tolist() for o, v in self.found.items()},
            "true": {o: np.round(v, 3).tolist() for o, v in self.true.items()},
        }


def presentations_of(config: Config, minutes: float, pairs: int) -> RoundBudget:
    """The budget of a round of so many minutes, as `budget_of` counts it."""
    protocol = config.protocol.model_copy(update={"minutes": minutes, "presentations": 0})
    return budget_of(config.model_copy(update={"protocol": protocol}), pairs)


def grid_of(
    project: Project, number: int, plan: RoundDivision, *, key: Key, factors: Sequence[float] = FACTORS
) -> Grid:
    """Try lengths, numbers of targets and gains of round `number`, which is planned as `plan`; `key`: its site set."""
    config = project.config
    sites = _sites(plan)
    counts = tuple(int(n) for n in np.unique(np.linspace(1, len(sites), TARGETS).round()))
    configured = minutes_of(config.protocol, plan.budget.total, plan.budget.blocks)
    tried = np.unique(np.linspace(configured / 10, LONGEST * configured, MINUTES).round(1 if configured < 40 else 0))
    lengths = tuple(float(m) for m in tried if m > 0)
    shown = np.array([_shown(project, number, plan, key=key, sites=sites[:n], lengths=lengths) for n in counts])
    objectives = list(dict.fromkeys(objective for objective, _ in plan.pairs.names))
    found = {o: np.zeros((len(counts), len(lengths), len(factors))) for o in objectives}
    true = {o: np.zeros((len(counts), len(factors))) for o in objectives}
    contrasts = contrasts_of(
        plan.data, key, plan.posterior, best=dict(plan.references.images), temperature=config.synthesis.temperature
    )
    for g, factor in enumerate(factors):
        pairs = _with_gains(plan, key, factor, contrasts=contrasts)
        for objective, values in _by_targets(pairs, pairs.true().mean(0), sites, counts=counts).items():
            true[objective][:, g] = values
        for level in np.unique(shown[shown > 0]):  # what a pair finds depends on its own presentations alone
            each = np.full(len(pairs.names), level)
            expected = expected_found(pairs, 1, each, test=plan.test, blocks=plan.budget.blocks)
            for objective, values in _by_targets(pairs, expected, sites, counts=counts).items():
                n, m = np.nonzero(shown == level)
                found[objective][n, m, g] = np.asarray(values)[n]
    return Grid(
        minutes=lengths,
        targets=counts,
        factors=tuple(factors),
        sites=sites,
        shown=shown,
        presentations=np.array([presentations_of(config, m, 1).total for m in lengths]),
        found=found,
        true=true,
    )


def _sites(plan: RoundDivision) -> tuple[str, ...]:
    """The targets, those first at which the planned round is expected to find most."""
    sums: dict[str, float] = {}
    for (_, site), value in zip(plan.pairs.names, plan.found.tolist(), strict=True):
        sums[site] = sums.get(site, 0.0) + value
    return tuple(sorted(sums, key=lambda site: -sums[site]))


def _shown(
    project: Project, number: int, plan: RoundDivision, *, key: Key, sites: Sequence[str], lengths: Sequence[float]
) -> list[int]:
    """Presentations of every controller and of its one reference in a round of each of the `lengths` (minutes)."""
    kept = [name for name in plan.pairs.names if name[1] in set(sites)]
    references = of_pairs(plan.references, set(kept))
    answers = np.vstack([plan.predicted, plan.library.predicted])
    wishes = wishes_of(project, plan.data, references, number=number, predicted=answers, sites=key, levels=plan.levels)
    different = len({references.images[name][0] for name in kept})
    return [_equal(project.config, wishes, kept, different=different, plan=plan, minutes=m) for m in lengths]


def _equal(
    config: Config,
    wishes: dict[str, Share],
    kept: Sequence[tuple[str, str]],
    *,
    different: int,
    plan: RoundDivision,
    minutes: float,
) -> int:
    """Presentations of every controller and of its reference, all alike; 0 where they are too few for any test."""
    budget = presentations_of(config, minutes, len(kept))
    naturals = tested_naturals({objective for objective, _ in kept})
    beside = beside_share(wishes, int(budget.total * budget.beside), steps_of=len(kept), naturals=naturals)
    left = budget.total - budget.blanks - sum(share.presentations for share in beside.values())
    images = len(kept) + different
    shown = max(left, 0) // images
    if not shown or not orderly([shown] * images, budget.blocks, budget.blanks):
        return 0
    return shown if surely(shown, 1, blocks=budget.blocks, test=plan.test) else 0


def _with_gains(plan: RoundDivision, key: Key, factor: float, *, contrasts: Contrasts) -> Pairs:
    """What may be true of every pair if its controller gained `factor` times what is expected."""
    gains = {name: (mean * factor, sd) for name, (mean, sd) in plan.gains.items()}
    return likely_pairs(
        plan.data,
        key,
        plan.posterior,
        noise=plan.noise,
        references=plan.references,
        contrasts=contrasts,
        gains=gains,
    )


def _by_targets(pairs: Pairs, values: Floats, sites: Sequence[str], *, counts: Sequence[int]) -> dict[str, list[float]]:
    """Sums of `values` (P,) of each objective over the first n sites, for each n of `counts`."""
    sums = {}
    for objective in dict.fromkeys(o for o, _ in pairs.names):
        own = {site: float(v) for (o, site), v in zip(pairs.names, values, strict=True) if o == objective}
        total = np.cumsum([own.get(site, 0.0) for site in sites])
        sums[objective] = [float(total[n - 1]) for n in counts]
    return sums
