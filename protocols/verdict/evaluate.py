"""Control scores of a round: every controller against its natural reference, counts, chance, consistency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.files import finite_or_none
from protocols.progress import counted
from protocols.project.key import Key, KeyRow
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.responses import Responses
from protocols.recordings.simultaneity import simultaneity_notes
from protocols.recordings.trial_table import trial_table
from protocols.shards.engines import Engine, Processes
from protocols.stats.choice import ChoicePool
from protocols.stats.joint import Parts, Statistic
from protocols.stats.permutation import Pool
from protocols.stats.reach import repeats_needed

from .beside import arm_comparisons, contrast_flags, empirical_chance, monotonicity, specificity
from .checks import check_excluded, check_inputs, check_reachable, input_notes, natural_scale, one_row_an_image
from .control_report import ControlReport
from .gain import blank_trials, difference_interval, reason_of_null, reason_of_ties
from .levels.shown import levels_of
from .objectives import JUDGEMENTS, Comparison
from .records import ControlRow
from .reference import Reference, beats_each, candidates_of, match_references, reference_shortfall
from .scores import Exclusion, Score, Setting
from .summary import consistency, summarise

__all__ = ["ControlReport", "Rules", "evaluate", "evaluate_shared"]


def evaluate(
    responses: Responses,
    key: Key,
    *,
    alpha: float = 0.01,
    permutations: int = 9999,
    seed: int = 0,
    temperature: float = 1.0,
    unit: str | None = None,
    excluded: Mapping[str, str] | None = None,
) -> ControlReport:
    """Test every controller of `key` on `responses` against the natural reference of its site and objective.

    Parameters
    ----------
    responses : Responses
        The trials of one round (or averages: then nothing is tested, the rows are descriptive).
    key : Key
        The sealed key; `key.sites` fixes the site set and the scale of one_hot.
    alpha : float
        One-sided level of a site's verdict.
    permutations, seed : int
        Random relabellings within block (all of them where there are fewer), seed of these and of the split of trials
        in halves.
    temperature : float
        Of the one_hot softmax.
    unit : str, optional
        Unit of the key's predictions, where the caller knows it; refused where the responses are in another.
    excluded : mapping of site id to reason, optional
        Sites that are not to be judged (lost or another unit today): verdict "excluded" with the reason, out of the
        one_hot site set, the consistency and every test.

    Raises
    ------
    DataError
        E01 no common image, E02 no controllers, E03 / E04 another unit or scale, E05 not one confirmatory controller
        per site and objective, E06 alpha out of reach of these repeats, E07 no common site, E09 an unknown excluded
        site.
    """
    tests = Rules(
        alpha=alpha,
        permutations=permutations,
        seed=seed,
        temperature=temperature,
        unit=unit,
        excluded=excluded or {},
    )
    return evaluate_shared(responses, key, tests)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the controllers are tested: the options of `evaluate`."""

    alpha: float = 0.01
    permutations: int = 9999
    seed: int = 0
    temperature: float = 1.0
    unit: str | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or self.permutations < 1 or self.temperature <= 0:
            raise ValueError(
                f"alpha {self.alpha}, permutations {self.permutations}, temperature {self.temperature}; "
                "expected 0 < alpha < 1, others above 0"
            )


def evaluate_shared(responses: Responses, key: Key, tests: Rules, *, engine: Engine | None = None) -> ControlReport:
    """`evaluate` with its tests shared among the processes of `engine`; the report is the same whatever their number.

    Raises
    ------
    DataError
        As `evaluate`.
    """
    excluded = dict(sorted(tests.excluded.items()))
    check_inputs(responses, key, tests.unit)
    check_excluded(responses, key, excluded)
    notes = input_notes(responses, key, excluded)
    averaged = responses.averaged_over is not None
    used = one_row_an_image(responses, key) if averaged else responses
    table = trial_table(used, [r.image_id for r in key.rows], seed=tests.seed)
    judges_one_hot = any(row.objective == "one_hot" for row in key.rows)
    scale, scale_notes = natural_scale(table, key, excluded, one_hot=judges_one_hot)
    judged = [s for s in key.site_ids or responses.site_ids if s not in excluded]
    scale_notes += simultaneity_notes(responses, judged, scale.site_ids)
    setting = Setting(
        table=table,
        key=key,
        scale=scale,
        unit=responses.unit,
        alpha=tests.alpha,
        permutations=tests.permutations,
        seed=tests.seed,
        temperature=tests.temperature,
        excluded=excluded,
    )
    controllers = sorted(key.of_role("controller"), key=_order)
    with _shared(engine, setting, len(controllers)) as share:
        evaluated = share.controllers(controllers, averaged=averaged)
        if not averaged:
            check_reachable(tests.alpha, [row for row, _ in evaluated])
        rows, summaries = summarise(setting, evaluated, run=share.relabellings)
    return ControlReport(
        unit=responses.unit,
        alpha=tests.alpha,
        permutations=tests.permutations,
        seed=tests.seed,
        temperature=tests.temperature,
        trials=len(responses.values),
        trials_used=len(table.values),
        one_hot_sites=scale.site_ids,
        rows=tuple(rows),
        objectives=tuple(summaries),
        consistency=tuple(c for c in consistency(table, key) if c.site not in excluded),
        notes=(*notes, *([] if averaged else table.notes), *scale_notes),
        levels=levels_of(key, table, tuple(excluded)),
    )


Evaluated = tuple[ControlRow, Pool | ChoicePool | None]
SECONDS = 0.1
"""Of one controller on one core, its part of the joint test included (`scripts/studies/scale.py --only evaluate`)."""


@dataclass(frozen=True)
class _Share:
    """The tests of an evaluation, on `workers` processes of `executor`, or here.

    Every worker gets all trials once, and every `workers`-th controller: what a test gives depends on the seed and the
    controller, not on who makes it.
    """

    setting: Setting
    executor: Executor | None = None
    workers: int = 1

    def controllers(self, rows: Sequence[KeyRow], *, averaged: bool) -> list[Evaluated]:
        """The row of each controller, and the trials of its test."""
        if self.executor is None:
            return _evaluate_some(self.setting, counted(rows, "test controllers"), averaged)
        futures = [
            self.executor.submit(_evaluate_some, self.setting, rows[i :: self.workers], averaged)
            for i in range(self.workers)
        ]
        parts = [future.result() for future in futures]
        return [parts[i % self.workers][i // self.workers] for i in range(len(rows))]

    def relabellings(self, work: Statistic, parts: Parts) -> list[Floats]:
        """The joint test's relabellings (`protocols.stats.joint.Run`)."""
        if self.executor is None:
            return work(parts)
        futures = [self.executor.submit(work, parts[i :: self.workers]) for i in range(min(self.workers, len(parts)))]
        found = [future.result() for future in futures]
        return [found[i % self.workers][i // self.workers] for i in range(len(parts))]


@contextmanager
def _shared(engine: Engine | None, setting: Setting, controllers: int) -> Iterator[_Share]:
    """Processes of `engine` where the work is worth their start; else this one."""
    seconds = SECONDS * controllers * setting.permutations / 9999
    workers = min(engine.workers, controllers) if isinstance(engine, Processes) and engine.least_s <= seconds else 1
    if workers < 2 or engine is None:
        yield _Share(setting)
        return
    with engine.open(workers) as executor:
        yield _Share(setting, executor, workers)


def _evaluate_some(setting: Setting, rows: Iterable[KeyRow], averaged: bool) -> list[Evaluated]:
    return [_evaluate_one(setting, row, averaged=averaged) for row in rows]


def _order(row: KeyRow) -> tuple[int, str, str, bool, str]:
    known = list(JUDGEMENTS)
    return (
        known.index(row.objective) if row.objective in known else len(known),
        row.objective,
        row.target,
        not row.confirmatory,
        row.image_id,
    )


def _identity(row: KeyRow) -> dict[str, Any]:
    return {
        "objective": row.objective,
        "site": row.target,
        "image_id": row.image_id,
        "confirmatory": row.confirmatory,
        "generator": row.generator,
        "seed": row.seed,
        "predicted": row.predicted.get(row.target, math.nan),
        "predicted_sd": row.predicted_sd.get(row.target, math.nan),
        "validator_predicted": row.validator_predicted.get(row.target, math.nan),
        "distance": row.distance,
        "outside": row.outside,
        **contrast_flags(row),
    }


def _evaluate_one(setting: Setting, row: KeyRow, *, averaged: bool) -> tuple[ControlRow, Pool | ChoicePool | None]:
    """The row of one controller, and the trials of its test where there was one."""
    values = _identity(row)
    pool: Pool | ChoicePool | None = None
    try:
        score = _score(setting, row)
        if averaged:
            values |= _described(setting, score, row)
        else:
            reference = match_references(setting, score, row)
            values |= _tested(setting, score, row, reference=reference)
            pool = reference.pool
    except Exclusion as why:
        values |= {"verdict": "excluded", "reason": str(why)}
    return ControlRow(**finite_or_none(values)), pool


def _score(setting: Setting, row: KeyRow) -> Score:
    if row.target in setting.excluded:
        raise Exclusion(setting.excluded[row.target])
    if row.objective not in JUDGEMENTS:
        raise Exclusion(f"objective {row.objective!r} has no control score; known: {', '.join(JUDGEMENTS)}")
    if row.target not in setting.table.site_ids:
        raise Exclusion("the site was not recorded")
    if row.image_id not in setting.table.image_rows:
        raise Exclusion("the controller has no usable trial")
    if not np.isfinite(setting.table.column(row.target)).any():
        raise Exclusion("the site has no finite response")
    score = JUDGEMENTS[row.objective].score(setting, row.target, row)
    if not len(setting.table.rows(row.image_id, score.usable)):
        raise Exclusion("the controller has no trial with the responses that the score needs")
    return score


def _tested(setting: Setting, score: Score, row: KeyRow, *, reference: Reference) -> dict[str, Any]:
    """All numbers of a tested controller."""
    judgement, table, mine = JUDGEMENTS[row.objective], setting.table, reference.treated
    result, blank = setting.test(reference.pool), blank_trials(setting, row.target)
    displayed, level = OBJECTIVES[row.objective].displayed, reference.level(score)
    values = {
        "measured": float(table.column(row.target)[mine].mean()),
        "n": len(mine),
        "score": displayed(score.of(mine)),
        "blank": float(blank.mean()) if len(blank) else None,
        "n_blank": len(blank),
        "reference_image": reference.image_id,
        "reference_other": reference.other_image,
        "reference_kind": reference.kind,
        "reference": float(reference.mean(table.column(row.target))),
        "n_reference": reference.trials,
        "references": len(reference.candidates),
        "reference_score": displayed(level),
        "reference_shortfall": reference_shortfall(setting, score, reference),
        "difference": result.difference,
        **difference_interval(score, reference),
        "t": result.t,
        "p": result.p,
        "smallest_p": result.smallest_p,
        "tied_p": result.tied_p,
        "exact": result.exact,
        "incomplete_trials": len(table.rows(row.image_id)) - len(table.rows(row.image_id, score.usable)),
    }
    values |= judgement.described(setting, score, row, treated=mine)
    values |= judgement.gain(setting, score, Comparison(row, reference, blank))
    values |= _verdict(setting, row, values=values)
    if row.confirmatory:
        controlled = values["verdict"] == "control"
        values |= _confirmatory_extras(setting, score, row, reference=reference, controlled=controlled)
    return values


def _verdict(setting: Setting, row: KeyRow, *, values: dict[str, Any]) -> dict[str, str]:
    if values["smallest_p"] > setting.alpha:
        blocks = setting.table.n_blocks
        needed = repeats_needed(setting.alpha, blocks)
        reason = f"at least {needed} repeats of every image in {blocks} blocks, none lost, are needed"
        if 1 / (1 + setting.permutations) > setting.alpha:
            reason = f"at least {math.ceil(1 / setting.alpha)} permutations are needed"
        trials = f"{values['n']} against {values['n_reference']} trials"
        return {
            "verdict": "not testable",
            "reason": f"smallest reachable p {values['smallest_p']:.3g} with {trials}: {reason}",
        }
    room = values.get("room")
    if values["tied_p"] > setting.alpha:
        return {"verdict": "not testable", "reason": reason_of_ties(values["tied_p"], room, setting.unit)}
    if not row.confirmatory:
        return {"verdict": "exploratory"}
    if values["p"] <= setting.alpha:
        return {"verdict": "control"}
    reason = reason_of_null(values.get("silent_p"), room, unit=setting.unit, alpha=setting.alpha)
    return {"verdict": "no control", "reason": reason}


def _confirmatory_extras(
    setting: Setting, score: Score, row: KeyRow, *, reference: Reference, controlled: bool
) -> dict[str, Any]:
    """Comparison with every candidate (where there is control), pseudo-controller, arms, suppression."""
    values = arm_comparisons(setting, score, row) | specificity(setting, score, row) | monotonicity(setting, score, row)
    if reference.kind == "re-shown":
        values |= _strict(setting, score, row) if controlled else {"strict": False}
        values |= empirical_chance(setting, score, row)
    return values | JUDGEMENTS[row.objective].confirmatory(setting, score, row)


def _strict(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """Whether the controller beats every natural reference that was listed; unknown where one of them lacks trials."""
    listed, _ = candidates_of(setting, row)
    each = beats_each(setting, score, row.image_id, candidates=listed)
    if len(each) < len(listed):
        lacking = len(listed) - len(each)
        return {
            "p_each": each,
            "strict": None,
            "reason": f"strict not told: {lacking} of {len(listed)} references lack trials",
        }
    return {"p_each": each, "strict": max(each.values()) <= setting.alpha}


def _described(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """Averages without trials: the numbers, no test; the best natural average is not corrected for its choice."""
    candidates, _ = candidates_of(setting, row)
    table = setting.table
    levels = {c: score.of(rows) for c in candidates if len(rows := table.rows(c, score.usable))}
    if not levels:
        raise Exclusion("no usable natural reference image for this site and objective")
    best, mine = max(levels, key=lambda c: levels[c]), table.rows(row.image_id, score.usable)
    beside = JUDGEMENTS[row.objective].described(setting, score, row, treated=mine)
    if row.confirmatory:
        beside |= arm_comparisons(setting, score, row, tested=False) | specificity(setting, score, row)
        beside |= monotonicity(setting, score, row)
    column, blank = table.column(row.target), blank_trials(setting, row.target)
    displayed, other = OBJECTIVES[row.objective].displayed, table.rows(best, score.usable)
    return {
        **beside,
        "measured": float(column[mine].mean()),
        "score": displayed(score.of(mine)),
        "blank": float(blank.mean()) if len(blank) else None,
        "reference": float(column[other].mean()),
        "reference_score": displayed(score.of(other)),
        "verdict": "not testable",
        "reason": "averages only",
        "reference_image": best,
        "reference_kind": "best of the same averages",
        "difference": float(score.tested[mine].mean() - score.tested[other].mean()),
    }
