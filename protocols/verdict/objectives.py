"""How a controller of each objective is judged, one row each: its score, its gain, and what stands beside them.

The words of an objective and the display of its score are in `protocols.project.objectives`; how its experiments are
simulated for the plan of a round is in `protocols.verdict.experiments`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from protocols.arrays import Floats, Ints
from protocols.project.key import KeyRow

from .gain import below_blank, one_hot_gain, selectivity, stretch_gain, suppress_gain, suppression
from .reference import Reference
from .scores import Score, Setting, one_hot_score, stretch_score, suppress_score


class Comparison(NamedTuple):
    """A controller tested against its reference, and the site's responses to blanks."""

    row: KeyRow
    reference: Reference
    blank: Floats


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How controllers of one objective are judged; every function returns fields of `ControlRow`.

    Attributes
    ----------
    score : callable (setting, site, row) -> Score
        Scores trials and means at the site for the controller `row`; raises `Exclusion` where the site has no such
        score.
    gain : callable (setting, score, comparison) -> dict
        Gain over the reference, and what is known only of tested controllers.
    described : callable (setting, score, row, *, treated) -> dict
        What is said of the responses in the rows `treated` of the trial table, also of averages, which have no test.
    confirmatory : callable (setting, score, row) -> dict
        What is tested only for confirmatory controllers.
    """

    score: Callable[..., Score]
    gain: Callable[[Setting, Score, Comparison], dict[str, Any]]
    described: Callable[..., dict[str, Any]]
    confirmatory: Callable[[Setting, Score, KeyRow], dict[str, Any]]


def _stretch_gain(setting: Setting, score: Score, comparison: Comparison) -> dict[str, Any]:
    return stretch_gain(setting, comparison.reference, comparison.row.target, blank=comparison.blank)


def _one_hot_gain(setting: Setting, score: Score, comparison: Comparison) -> dict[str, Any]:
    return one_hot_gain(setting, score, comparison.reference, site=comparison.row.target)


def _suppress_gain(setting: Setting, score: Score, comparison: Comparison) -> dict[str, Any]:
    return suppress_gain(setting, score, comparison.reference, site=comparison.row.target)


def _selectivity(setting: Setting, score: Score, row: KeyRow, *, treated: Ints) -> dict[str, Any]:
    return selectivity(setting, score, row.target, treated=treated)


def _suppression(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    return suppression(setting, score, row.target, image_id=row.image_id)


def _nothing(*_: object, **__: object) -> dict[str, Any]:
    return {}


JUDGEMENTS: dict[str, Judgement] = {
    "stretch": Judgement(score=stretch_score, gain=_stretch_gain, described=_nothing, confirmatory=_nothing),
    "one_hot": Judgement(
        score=one_hot_score,
        gain=_one_hot_gain,
        described=_selectivity,
        confirmatory=_suppression,
    ),
    "suppress": Judgement(score=suppress_score, gain=_suppress_gain, described=_nothing, confirmatory=below_blank),
}
"""Every objective by its name, in the order of `protocols.project.objectives.OBJECTIVES`."""
