"""The table of verdicts, site by site."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.project.objectives import Objective, objective_named
from protocols.verdict.records import ControlRow

from .fit import number
from .section import Cell, Table

HINT = "from the fitted images; 1 = the median natural image; outside = farther than 99 % of them"
KINDS = {"control": "control", "no control": "no"}
"""Colour of a verdict on the page; the others are grey."""


def verdict_table(rows: Sequence[ControlRow], objective: str) -> Table:
    """One line per site: reference and controller as images, verdict, predictions, responses, gain."""
    row = objective_named(objective)
    header = [
        "site",
        f"{broken(row.reference_name)} (re-shown)",
        "controller",
        "verdict",
        "p",
        "predicted",
        "validator",
        "recorded",
        "natural",
    ]
    numbers = [False, False, False, False, True, True, True, True, True]
    if row.all_sites:
        s = row.score_name
        header += [f"{row.difference_name} gain\n[95 %]", f"{s}, natural\nimage's {s}", "margin\n(SD)", "other sites"]
        numbers += [True, True, True, False]
    elif row.below:
        header += ["room", "blank", "response below\nthe reference [95 %]", "response below\nthe blank [95 %]"]
        numbers += [True, True, True, True]
    else:
        header += ["blank", "gain [95 %]"]
        numbers += [True, True]
    return Table(header=header, lines=[[*_common(r), *_of_objective(r, row)] for r in rows], numbers=numbers)


def _common(row: ControlRow) -> list[str | Cell]:
    """The cells that every objective has."""
    spread = "" if row.predicted_sd is None else f" ± {number(row.predicted_sd)}"
    distance = "" if row.distance is None else f"distance {number(row.distance)}" + (", outside" if row.outside else "")
    return [
        row.site,
        Cell(image=row.reference_image, label=f"reference of {row.site}"),
        Cell(image=row.image_id, label=f"controller of {row.site}"),
        Cell(
            text=row.verdict,
            kind=KINDS.get(row.verdict, "grey"),
            below="; ".join(filter(None, (row.reason, row.stopped))),
        ),
        number(row.p, 4),
        Cell(text=number(row.predicted) + spread, below=distance, hint=HINT),
        number(row.validator_predicted),
        Cell(text=number(row.measured), beside=f"(n {row.n})"),
        Cell(
            text=number(row.reference),
            beside=f"(n {row.n_reference})",
            below=f"and {row.reference_other}" if row.reference_other else "",
        ),
    ]


def broken(name: str) -> str:
    """The name of a reference on two lines, for headers and axes."""
    return "\n".join(name.rsplit(" ", 1))


def _of_objective(row: ControlRow, objective: Objective) -> list[str]:
    """The last cells: what belongs to the score of the objective."""
    if objective.below:
        return [number(row.room), number(row.blank), gain(row), _below_blank(row)]
    if not objective.all_sites:
        return [number(row.blank), gain(row)]
    unit = f" {objective.difference_name}"  # stands in the header
    scores = f"{number(row.score)}, {number(row.reference_score)}"
    return [gain(row).replace(unit, ""), scores, number(row.margin), row.suppression or "-"]


def _below_blank(row: ControlRow) -> str:
    """How far below the blank, with interval and p; "-" where that was not measured."""
    if row.blank_difference is None or row.blank_low is None or row.blank_high is None:
        return "-"
    told = f"{row.blank_difference:+.2f} [{row.blank_low:+.2f}, {row.blank_high:+.2f}]"
    return told if row.blank_p is None else f"{told}, p {row.blank_p:.3g}"


def gain(row: ControlRow) -> str:
    """A gain with its interval and unit."""
    if row.gain is None:
        return "-"
    fraction = row.gain_unit == "fraction"
    parts = [f"{v:+.0%}" if fraction else f"{v:+.2f}" for v in (row.gain, row.gain_low, row.gain_high) if v is not None]
    interval = f" [{parts[1]}, {parts[2]}]" if len(parts) == 3 else " [unbounded]"
    return parts[0] + interval + ("" if fraction else f" {row.gain_unit}")
