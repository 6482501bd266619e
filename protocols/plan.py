"""What a round will take and what it can find: presentations, hours, smallest p, gain within reach of every site."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from protocols.models.pair import load_pair, site_rows
from protocols.project.config.config import Config
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.project.photographs import NaturalImages
from protocols.rounds.planning.allocate import costs
from protocols.rounds.planning.baseline import baseline_counts
from protocols.rounds.planning.division import Pair, minutes_of
from protocols.rounds.planning.expected import expected_sites
from protocols.rounds.planning.found import by_objective
from protocols.rounds.planning.reach import least_p
from protocols.rounds.planning.round_plan import RoundDivision, divide_round
from protocols.verdict.expected import Trials
from protocols.verdict.experiments import SIMULATED
from protocols.verdict.power import SitePlan, power

from .progress import Reporter

COSTS = {
    "arm": "control arms",
    "graded": "graded images",
    "natural": "random photographs",
    "chosen": "chosen photographs",
    "levels": "photographs at graded levels",
}
"""What stands beside the tests and what it costs in controls found."""


@dataclass(frozen=True, kw_only=True)
class ExpectedFound:
    """What is expected of one objective.

    Attributes
    ----------
    sites : int
    true : float
        Expected number of controllers that are truly above the candidates for their references.
    found : float
        Expected number of these that the verdict finds.
    without : dict of role to float
        The same without one role of what is shown beside the tests; empty where repeats are counted by hand.
    shortfall : float or None
        Median over sites of the expected true score of the best natural image less that of the best reference shown;
        as a fraction, of the sites whose reference is expected above the blank. None where there is none.
    shortfall_unit : str
        "fraction" of the reference's evoked response, the recording's "unit", "natural SD", or "log S".
    objective : str
    """

    sites: int
    true: float
    found: float
    without: dict[str, float]
    shortfall: float | None
    shortfall_unit: str
    objective: str = "stretch"

    def sentences(self) -> list[str]:
        """For people."""
        lines = [f"expect to find {self.found:.0f} of {self.true:.0f} true controls at {self.sites} sites"]
        lines += [
            f"  without {COSTS[role]}: {found:.1f} in place of {self.found:.1f}" for role, found in self.without.items()
        ]
        if self.shortfall is None:
            return [*lines, "no reference is expected above the blank: its shortfall is no fraction of a response"]
        size = f"{100 * self.shortfall:.0f} %" if self.shortfall_unit == "fraction" else f"{self.shortfall:.2g}"
        of = {"fraction": " of its evoked response", "log S": " in log S", "unit": " in the unit of the recording"}
        row, unit = OBJECTIVES[self.objective], of.get(self.shortfall_unit, f" {self.shortfall_unit}")
        lines.append(f"the {row.reference_name} is expected to lie {size}{unit} {row.side} the best reference shown")
        return lines


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """What a round takes and what it can find.

    Attributes
    ----------
    round : int
    images, presentations : dict of role to int
    minutes : float
        Length of the round with its pauses.
    repeats, most_repeats : int
        Presentations of a confirmatory controller and of its references: the fewest and the most of all pairs. In a
        baseline round: of every photograph.
    references : int
        Natural images that each controller is compared with.
    smallest_p : dict of objective to float
        The smallest p that a test can reach.
    expected : dict of objective to ExpectedFound
    gain, gain_unit, power
        The gain that is asked for, "fraction" of the evoked response or "natural SD", and the power that is wanted.
        Of objectives that drive a site low it is in natural SDs below the reference in any case.
    sites : tuple of SitePlan
        One per objective and site; empty before the baseline is recorded.
    notes : tuple of str
    """

    round: int
    images: dict[str, int]
    presentations: dict[str, int]
    minutes: float
    repeats: int
    most_repeats: int
    references: int
    smallest_p: dict[str, float]
    expected: dict[str, ExpectedFound]
    gain: float
    gain_unit: str
    power: float
    sites: tuple[SitePlan, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan for scripts; ``presentations`` is the sum, ``by_role`` its parts, ``minutes_by_role`` without
        pauses.
        """
        total = sum(self.presentations.values())
        each = self.minutes / max(total, 1)
        return {
            **asdict(self),
            "presentations": total,
            "by_role": self.presentations,
            "minutes_by_role": {role: round(n * each, 2) for role, n in self.presentations.items()},
            "hours": self.minutes / 60,
            "sites": [asdict(s) for s in self.sites],
            "gain_units": {o: self._unit(o) for o in self.smallest_p},
            "summary": {o: summary for o in self.smallest_p if (summary := self._spread(o))},
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The plan for people."""
        total = sum(self.presentations.values())
        each = self.minutes / max(total, 1)
        lines = [
            f"round {self.round}: {total} presentations, {self.minutes:.1f} minutes ({self.minutes / 60:.2f} hours)"
        ]
        lines += [
            f"  {role:<10} {self.images[role]:>5} images {n:>6} presentations {n * each:>6.1f} minutes"
            for role, n in self.presentations.items()
        ]
        often = f"{self.repeats}" if self.repeats == self.most_repeats else f"{self.repeats} to {self.most_repeats}"
        for objective, p in self.smallest_p.items():
            shown = f"{often} repeats of a controller and of {self.references} reference{'s' * (self.references > 1)}"
            lines.append(f"{objective}: smallest reachable p {p:.2g} with {shown}")
            if objective in self.expected:
                lines += [f"  {line}" for line in self.expected[objective].sentences()]
            if spread := self._spread(objective):
                lines += [f"  {line}" for line in self._sentences(spread, objective)]
        return "\n".join([*lines, *(f"note: {n}" for n in self.notes)])

    def _spread(self, objective: str) -> dict[str, Any]:
        """Median, least and most over the sites; out of reach counts as more than any number (None)."""
        rows = [s for s in self.sites if s.objective == objective]
        if not rows:
            return {}
        columns = {
            "detectable_gain": [math.inf if s.detectable_gain is None else s.detectable_gain for s in rows],
            "repeats_needed": [math.inf if s.repeats_needed is None else s.repeats_needed for s in rows],
            "power": [s.power for s in rows],
        }
        return {
            "sites": len(rows),
            **{
                name: {k: v if math.isfinite(v) else None for k, v in _three(values).items()}
                for name, values in columns.items()
            },
        }

    def _unit(self, objective: str) -> str:
        """Unit of the gains of one objective."""
        return "natural SD" if self.gain_unit and OBJECTIVES[objective].gain_in_sd else self.gain_unit

    def _sentences(self, spread: dict[str, Any], objective: str) -> list[str]:
        below, unit = OBJECTIVES[objective].below, self._unit(objective)

        def gain(value: float | None) -> str:
            if value is None:
                return "out of reach"
            size = f"{100 * value:.0f} %" if unit == "fraction" else f"{value:.2f} natural SD"
            return f"{size} below" if below else f"+{size}"

        def three(name: str, form: Any) -> str:
            values = spread[name]
            least, most = form(values["least"]), form(values["most"])
            return f"{form(values['median'])} (from {least} to {most} over {spread['sites']} sites)"

        known = [s.detectable_gain for s in self.sites if s.objective == objective]
        none = known.count(None) if below else 0
        room = f"no room at {none} of {len(known)} sites: silence itself is found with less than power {self.power:g}"
        return [
            *([room] if none else []),
            f"{'response' if below else 'gain'} of the target found with power {self.power:g}: "
            f"{three('detectable_gain', gain)}",
            f"power for {gain(self.gain)}: {three('power', lambda p: f'{p:.2f}')}",
            f"repeats for {gain(self.gain)} with power {self.power:g}: "
            + three("repeats_needed", lambda n: "out of reach" if n is None else f"{n:.0f}"),
        ]


def _three(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": ordered[len(ordered) // 2], "least": ordered[0], "most": ordered[-1]}


def plan_round(
    project: Project, number: int, *, gain: float = 0.3, wanted: float = 0.8, progress: Reporter | None = None
) -> SessionPlan:
    """Plan round `number` from the configuration and, after round 0, from all that was recorded and the fitted encoder.

    Raises
    ------
    DataError
        C19 too few presentations, D01 nothing recorded, D06 no encoder yet, D07 no site to control.
    """
    config = project.config
    notes = list[str]()
    if config.protocol.overhead == 0 and config.protocol.pause_s == 0:
        notes.append("the time is that of images and gaps alone: fixation, reward and pauses are overhead and pause_s")
    asked = {"gain": gain, "power": wanted}
    if number == 0:
        return _plan_baseline(project, asked, notes)
    plan, key = _divide(project, number)
    division = plan.division
    rows = _site_plans(config, plan, asked, key=key, progress=progress)
    images = division.images() | ({"blank": 1} if division.blanks else {})
    return SessionPlan(
        round=number,
        images=images,
        presentations=division.presentations(),
        minutes=minutes_of(config.protocol, sum(division.presentations().values()), division.blocks),
        repeats=min(division.controller.values()),
        most_repeats=max(division.controller.values()),
        references=max(map(len, division.references.values())),
        smallest_p=_smallest_p(plan),
        expected=_expected(plan),
        gain_unit="" if not plan.noise.known else "natural SD" if plan.noise.fano is None else "fraction",
        sites=tuple(rows),
        notes=(*plan.notes, *notes),
        **asked,
    )


def _plan_baseline(project: Project, asked: dict[str, float], notes: list[str]) -> SessionPlan:
    config = project.config.protocol
    natural, repeats = NaturalImages.load(project.data), config.baseline_repeats
    counts = baseline_counts(config, natural.source_ids, natural.groups)
    blocks = min(config.blocks, max(counts.values()))
    images, shown = {"natural": len(counts)}, {"natural": sum(counts.values())}
    if blanks := config.blanks_per_block * blocks:
        images, shown = images | {"blank": 1}, shown | {"blank": blanks}
    return SessionPlan(
        round=0,
        images=images,
        presentations=shown,
        minutes=minutes_of(config, sum(shown.values()), blocks),
        repeats=repeats,
        most_repeats=max(counts.values()),
        references=0,
        smallest_p={},
        expected={},
        gain_unit="",
        sites=(),
        notes=tuple(notes),
        **asked,
    )


def _divide(project: Project, number: int) -> tuple[RoundDivision, Key]:
    """The division of a round, with its controllers where they are made already, and the sites of its encoder."""
    from protocols.rounds.decisions.honour import made_batch
    from protocols.synthesis.request import chosen_targets

    encoder, batch = load_pair(project, number)[0], made_batch(project, number)
    targets = list(dict.fromkeys(batch.targets)) if batch is not None else chosen_targets(project, encoder, number)
    plan = divide_round(project, number, encoder=encoder, targets=targets, batch=batch)
    return plan, Key((), tuple(site_rows(encoder)))


def _least_p(plan: RoundDivision, pair: Pair) -> float:
    """The smallest p that the test of a pair can reach with what is expected to be lost."""
    division = plan.division
    shown, images = (division.controller[pair], division.reference[pair]), len(division.references[pair])
    test = plan.test
    return least_p(*shown, images, blocks=division.blocks, permutations=test.permutations, lost=test.lost)


def _smallest_p(plan: RoundDivision) -> dict[str, float]:
    """The smallest p that every test of an objective can reach."""
    smallest = dict[str, float]()
    for pair in plan.division.references:
        smallest[pair[0]] = max(smallest.get(pair[0], 0.0), _least_p(plan, pair))
    return smallest


def _expected(plan: RoundDivision) -> dict[str, ExpectedFound]:
    """What is expected of every objective; nothing where the trial noise is not known."""
    if not plan.noise.known:
        return {}
    roles = [role for role in COSTS if plan.division.beside[role].presentations]
    without = {}
    if not plan.division.by_hand:
        without = costs(plan.pairs, plan.wishes, plan.budget, test=plan.test, roles=roles)
    found, true = by_objective(plan.pairs, plan.found), by_objective(plan.pairs, plan.pairs.true().mean(0))
    lost = {role: by_objective(plan.pairs, values) for role, values in without.items()}
    expected = {}
    for objective in found:
        own = [pair for pair in plan.pairs.names if pair[0] == objective]
        short, unit = _shortfall(plan, own)
        expected[objective] = ExpectedFound(
            sites=len(own),
            true=true[objective],
            found=found[objective],
            without={role: values[objective] for role, values in lost.items()},
            shortfall=short,
            shortfall_unit=unit,
            objective=objective,
        )
    return expected


def _shortfall(plan: RoundDivision, pairs: list[Pair]) -> tuple[float | None, str]:
    """Median expected shortfall of the references shown, of the finite values, and its unit; None where none is."""
    values = [plan.references.shortfall[p][len(plan.division.references[p]) - 1] for p in pairs]
    objective = OBJECTIVES[pairs[0][0]]
    if objective.all_sites:
        return _median(values), "log S"
    if objective.gain_in_sd:
        sds = [float(plan.natural_sd[plan.columns[target]]) for _, target in pairs]
        return _median([v / sd for v, sd in zip(values, sds, strict=True)]), "natural SD"
    if plan.noise.fano is None:
        return _median(values), "unit"
    evoked = [plan.evoked(pair) for pair in pairs]
    return _median([v / e for v, e in zip(values, evoked, strict=True) if e > 0]), "fraction"


def _median(values: list[float]) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.median(finite)) if finite else None


def _trials(config: Config, plan: RoundDivision, pair: Pair) -> Trials:
    """How a pair of a divided round is shown and tested."""
    protocol, evaluation, shown = config.protocol, config.evaluation, plan.division
    return Trials(
        repeats=shown.controller[pair],
        reference_repeats=shown.reference[pair],
        blocks=shown.blocks,
        alpha=evaluation.alpha,
        permutations=evaluation.permutations,
        lost=protocol.expected_loss,
    )


def _site_plans(
    config: Config, plan: RoundDivision, asked: dict[str, float], *, key: Key, progress: Reporter | None
) -> list[SitePlan]:
    """What can be found at each (objective, site): the power simulated, gain and repeats by its normal
    approximation.
    """
    division, rows = plan.division, list[SitePlan]()
    sites = expected_sites(config, key, plan.posterior.mean, noise=plan.noise, references=division.references)
    for pair, expected in sites.items():
        if progress is not None:
            progress("planning", len(rows), len(sites))
        shown, comparison = division.controller[pair], plan.comparison(pair)
        experiments = SIMULATED[pair[0]].planned
        found = power(expected, _trials(config, plan, pair), asked["gain"], objective=pair[0], experiments=experiments)
        rows.append(
            SitePlan(
                objective=pair[0],
                site=pair[1],
                gain=asked["gain"],
                wanted=asked["power"],
                smallest_p=_least_p(plan, pair),
                power=found,
                detectable_gain=comparison.detectable(asked["power"], shown, test=plan.test, blocks=division.blocks),
                repeats_needed=comparison.repeats(
                    asked["gain"], asked["power"], blocks=division.blocks, test=plan.test
                ),
            )
        )
    if progress is not None and rows:
        progress("planning", len(rows), len(sites))
    return rows
