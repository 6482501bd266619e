"""Verdicts of a round that is looked at before its end: stages tested apart, combined, decided per site and objective.

The trials between two looks are a stage. Each stage is evaluated by the verdict's own test on its own trials alone, and
the stages are combined by `protocols.stats.stages`: whatever a look changed about what was shown later, a verdict keeps
its level. The p of a row is the repeated p value, which holds at whichever look its trials ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from protocols.errors import DataError
from protocols.project.key import Key
from protocols.project.looks import Looks
from protocols.recordings.responses import Responses
from protocols.shards.engines import Engine
from protocols.stats.stages import conditional_power, repeated_p
from protocols.verdict.checks import OUT_OF_REACH
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import Rules, evaluate, evaluate_shared
from protocols.verdict.gain import reason_of_null, reason_of_ties
from protocols.verdict.records import ControlRow, ObjectiveSummary
from protocols.verdict.summary import confirmatory_of, mark_listed, verdict_counts

STAGE_ALPHA = 0.49  # a stage alone has no verdict; its tests are only to be made
NOTES = (
    "interim looks: p combines the stages and holds at whichever look the trials ended; "
    "gains and their intervals come from all trials and are too large where a controller was stopped for success",
    "interim looks: comparisons with every reference (strict) are not made, and what a true effect would have given is "
    "not told",
    "interim looks: the suppression verdict and the p against arms and against the photograph that prediction would "
    "have chosen come from all trials as if nobody had looked; they keep no level where a controller was stopped",
)


@dataclass(frozen=True)
class Decision:
    """What a look decides about the confirmatory controller of one objective and site.

    Attributes
    ----------
    objective, site, image_id : str
    decision : str
        "success", "futile" or "undecided".
    look : int
        The look, from 1, at which it was decided; of an undecided one the last look.
    stage_p : tuple of float or None
        One-sided p of every stage so far; None: no test, since trials were lost or not shown.
    p : float
        The repeated p value so far.
    power : float or None
        Conditional power: the chance of success at the end if the effect goes on; None: no test so far.
    """

    objective: str
    site: str
    image_id: str
    decision: str
    look: int
    stage_p: tuple[float | None, ...]
    p: float
    power: float | None

    @property
    def pair(self) -> tuple[str, str]:
        """Objective and site."""
        return self.objective, self.site

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "stage_p": list(self.stage_p)}

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Decision:
        """From `to_dict`."""
        return cls(**{**known, "stage_p": tuple(known["stage_p"])})


def stage_reports(
    responses: Responses, key: Key, looks: Looks, *, stages: int | None = None, seed: int = 0, **tests: Any
) -> list[ControlReport | None]:
    """The report of each of the first `stages` stages (all: None), from its own trials; None: it has none.

    Parameters
    ----------
    responses : Responses
        Trials with their blocks.
    seed : int
        Of the first stage's permutations and halves; each later stage has the next number.
    tests
        `permutations`, `temperature` and `excluded` of `evaluate`.

    Raises
    ------
    ValueError
        Trials without blocks, or averages.
    """
    if responses.block is None or responses.averaged_over is not None:
        raise ValueError("stages need single trials with their blocks")
    stage = looks.stage_of(responses.block)
    found: list[ControlReport | None] = []
    for number in range(len(looks.shares) if stages is None else stages):
        found.append(stage_report(responses.select(np.flatnonzero(stage == number)), key, seed=seed + number, **tests))
    return found


def stage_report(trials: Responses, key: Key, **tests: Any) -> ControlReport | None:
    """The report of one stage from its own trials; None where they show no controller, or none enough."""
    shown = set(map(str, trials.image_ids)) & {r.image_id for r in key.of_role("controller")}
    if not shown:
        return None
    try:
        return evaluate(trials, key, alpha=STAGE_ALPHA, **tests)
    except DataError as error:
        if error.code != OUT_OF_REACH:  # no p of this stage could be small: the other stages tell
            raise
    return None


def decide(reports: Sequence[ControlReport | None], looks: Looks, earlier: Sequence[Decision] = ()) -> list[Decision]:
    """What the look after the last of `reports` decides; looks that were planned but not made decide nothing.

    Success where the repeated p is at most alpha; futile where the conditional power is below ``looks.futility``. A
    stop for futility does not bind: no boundary counts on it.

    Parameters
    ----------
    reports : sequence of ControlReport or None
        Of every stage so far, as `stage_reports` gives them.
    looks : Looks
    earlier : sequence of Decision
        Of the looks that were made before: what they stopped stays stopped.
    """
    decided = {d.pair: d for d in earlier if d.decision != "undecided"}
    for row, stage_p in _stage_p(reports):
        pair = (row.objective, row.site)
        if pair not in decided:
            decided[pair] = _decision(row, stage_p, len(reports), looks=looks)
    return list(decided.values())


def _stage_p(reports: Sequence[ControlReport | None]) -> list[tuple[ControlRow, tuple[float | None, ...]]]:
    """Every confirmatory controller of these stages with its p in each."""
    by_stage = [{(r.objective, r.site): r for r in report.confirmatory()} if report else {} for report in reports]
    rows = {pair: row for stage in reversed(by_stage) for pair, row in stage.items()}
    return [(row, tuple(_p_of(stage.get(pair)) for stage in by_stage)) for pair, row in rows.items()]


def _p_of(row: ControlRow | None) -> float | None:
    """The p of one stage; None: it has no test, or one that could say nothing whatever was measured."""
    return None if row is None or row.verdict == "not testable" else row.p


def _decision(row: ControlRow, stage_p: tuple[float | None, ...], look: int, *, looks: Looks) -> Decision:
    p = repeated_p(stage_p, looks.shares, looks.spending)
    tested = any(value is not None for value in stage_p)
    rule: dict[str, Any] = {"alpha": looks.alpha, "spending": looks.spending}
    power = conditional_power(stage_p, looks.shares, **rule) if tested else None
    last = look == len(looks.shares)
    hopeless = power is not None and not last and power < looks.futility
    decision = "success" if p <= looks.alpha else "futile" if hopeless else "undecided"
    return Decision(row.objective, row.site, row.image_id, decision, look=look, stage_p=stage_p, p=p, power=power)


def evaluate_stages(
    responses: Responses,
    key: Key,
    looks: Looks | None,
    *,
    alpha: float,
    seed: int = 0,
    excluded: Mapping[str, str] | None = None,
    decisions: Sequence[Decision] = (),
    engine: Engine | None = None,
    **tests: Any,
) -> ControlReport:
    """The report of a whole round with looks: all numbers from all trials, p and verdicts from the combined stages.

    Parameters
    ----------
    responses : Responses
        The trials of the round, with their blocks.
    key : Key
    looks : Looks or None
        As planned at export; None: the round is evaluated as a whole, as averages always are.
    alpha : float
        One-sided level of a site's verdict.
    seed : int
        Of the permutations and halves.
    excluded : mapping of site id to reason, optional
    decisions : sequence of Decision
        Of the looks that were made: rows whose showing they ended tell so.
    engine : Engine, optional
        Processes that share the tests of the whole round.
    tests
        `permutations` and `temperature` of `evaluate`.

    Raises
    ------
    DataError
        As `evaluate`.
    ValueError
        Trials without blocks.
    """
    whole = Rules(alpha=alpha, seed=seed, excluded=excluded or {}, **tests)
    report = evaluate_shared(responses, key, whole, engine=engine)
    if looks is None or responses.averaged_over is not None:
        return report
    reports = stage_reports(responses, key, looks, seed=seed, excluded=excluded, **tests)
    return combine(report, reports, replace(looks, alpha=alpha), decisions=decisions)


def combine(
    report: ControlReport,
    reports: Sequence[ControlReport | None],
    looks: Looks,
    *,
    decisions: Sequence[Decision] = (),
) -> ControlReport:
    """`report` with p, verdicts and counts from the combined stages `reports`, at the level ``looks.alpha``.

    `decisions` are those of the looks that were made; they say which rows were stopped, and nothing else.
    """
    stopped = {d.image_id: f"look {d.look}: {d.decision}" for d in decisions if d.decision != "undecided"}
    stages = [{r.image_id: r for r in stage.rows} if stage else {} for stage in reports]
    rows = [
        _combined(row, stages, looks, stopped=stopped.get(row.image_id, ""), unit=report.unit) for row in report.rows
    ]
    summaries = []
    for summary in report.objectives:
        rows = mark_listed(rows, summary.objective)
        groups = [_group_p(stage, summary.objective) for stage in reports]
        group = repeated_p(groups, looks.shares, looks.spending) if any(g is not None for g in groups) else None
        summaries.append(_recounted(summary, rows, group_p=group))
    return replace(report, rows=tuple(rows), objectives=tuple(summaries), notes=(*report.notes, *NOTES))


def _combined(
    row: ControlRow, stages: Sequence[Mapping[str, ControlRow]], looks: Looks, *, stopped: str, unit: str
) -> ControlRow:
    """A row of the whole round with the p, the verdict and the stop of its stages."""
    if row.p is None:
        return row
    mine = [stage.get(row.image_id) for stage in stages]
    stage_p = [_p_of(r) for r in mine]
    p = repeated_p(stage_p, looks.shares, looks.spending)
    values: dict[str, Any] = {
        "p": p,
        "smallest_p": repeated_p([_smallest_of(r) for r in mine], looks.shares, looks.spending),
        "tied_p": repeated_p([_tied_of(r) for r in mine], looks.shares, looks.spending),
        "exact": False,
        "strict": None,
        "p_each": {},
        "stage_p": {str(n): value for n, value in enumerate(stage_p, start=1) if value is not None},
    }
    if row.confirmatory:
        values |= _verdict(row, values, looks.alpha, unit=unit) | {"stopped": stopped}
    return replace(row, **values)


def _smallest_of(row: ControlRow | None) -> float | None:
    """The smallest p that the trials of one stage could have given, whatever was measured; None: no test."""
    known = row is not None and row.smallest_p is not None and row.smallest_p <= STAGE_ALPHA
    return row.smallest_p if row is not None and known else None


def _tied_of(row: ControlRow | None) -> float | None:
    """The smallest p that the recorded values of one stage could have given; None: no test."""
    return None if row is None or _p_of(row) is None else max(row.smallest_p or 0.0, row.tied_p or 0.0)


def _verdict(row: ControlRow, values: Mapping[str, Any], alpha: float, *, unit: str) -> dict[str, str]:
    """The verdict by the combined `values` of the stages of a row, and the reason of this verdict alone."""
    if values["smallest_p"] > alpha:
        least = f"smallest reachable p {values['smallest_p']:.3g} of the combined stages"
        return {"verdict": "not testable", "reason": f"{least}: more repeats or permutations needed"}
    if values["tied_p"] > alpha:
        return {"verdict": "not testable", "reason": reason_of_ties(values["tied_p"], row.room, unit)}
    if values["p"] <= alpha:
        return {"verdict": "control", "reason": ""}
    return {"verdict": "no control", "reason": reason_of_null(row.silent_p, row.room, unit=unit, alpha=alpha)}


def _group_p(report: ControlReport | None, objective: str) -> float | None:
    """The stage's joint p of "no site is controlled", over the sites that it still showed."""
    return next((s.group_p for s in report.objectives if s.objective == objective), None) if report else None


def _recounted(summary: ObjectiveSummary, rows: Sequence[ControlRow], *, group_p: float | None) -> ObjectiveSummary:
    """The counts of one objective from its combined verdicts."""
    return replace(
        summary,
        **verdict_counts([rows[i] for i in confirmatory_of(rows, summary.objective)]),
        group_p=group_p,
        strict=0,
        strict_tested=0,
        median_size=None,  # the trials of a site depend on what it answered: no fixed design to compare with
        expected_successes=None,
        expected_listed=None,
        size_at_half=None,
    )
