"""The table of verdicts, site by site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protocols.project.objectives import Objective, objective_named
from protocols.verdict.records import ControlRow

from .fit import number
from .section import Cell, Table

HINT = "from the fitted images; 1 = the median natural image; outside = farther than 99 % of them"
KINDS = {"control": "control", "no control": "no"}
"""Colour of a verdict on the page; the others are grey."""
HINTS = {
    "verdict": "control: the controller is beyond its reference at alpha; no control: it was tested and is not",
    "p": "of the one-sided permutation test of this site",
    "predicted": "by the encoder that made the image, before the round, with its standard deviation",
    "validator": "predicted by the second encoder, which made no image",
    "recorded": "mean response to the controller over the n trials that were tested",
    "natural": "mean response to the reference over the n trials that were tested",
    "blank": "mean response to blanks, or before the stimulus",
    "margin\n(SD)": "response less that of the strongest other site, in natural SDs",
    "other sites": "whether the controller suppresses them below their mean over random photographs",
    "room": "what the reference evokes above zero: all that a controller can take away",
}
"""What the columns hold."""
OF_HALVES = (
    "n: trials that are tested: all usable ones of the controller; of several references the half that did not choose, "
    "hence fewer. The sorted tuning further down takes all usable trials."
)
OF_ALL = "n: trials that are tested, which are all usable ones: those that were lost or marked invalid are left out."


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
    tested = [r for r in rows if r.n]
    note = "" if not tested else OF_HALVES if any(r.references > 1 for r in tested) else OF_ALL
    return Table(
        header=header,
        lines=[[*_common(r), *_of_objective(r, row)] for r in rows],
        numbers=numbers,
        hints=HINTS,
        note=note,
        caption=f"{row.label}: verdict of every site",
    )


def _common(row: ControlRow) -> list[str | Cell]:
    """The cells that every objective has."""
    spread = "" if row.predicted_sd is None else f" ± {number(row.predicted_sd)}"
    distance = "" if row.distance is None else f"distance {number(row.distance)}" + (", outside" if row.outside else "")
    other = f"and {row.reference_other}" if row.reference_other else ""
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
        Cell(text=number(row.measured), below=f"n {row.n}"),
        Cell(text=number(row.reference), below=" ".join(filter(None, (f"n {row.n_reference}", other)))),
    ]


def broken(name: str) -> str:
    """The name of a reference on two lines, for headers and axes."""
    return "\n".join(name.rsplit(" ", 1))


def _of_objective(row: ControlRow, objective: Objective) -> list[str | Cell]:
    """The last cells: what belongs to the score of the objective."""
    if objective.below:
        return [number(row.room), number(row.blank), gain(row), _below_blank(row)]
    if not objective.all_sites:
        return [number(row.blank), gain(row)]
    found = gain(row)
    unit = f" {objective.difference_name}"  # stands in the header
    scores = Cell(text=number(row.score), below=f"natural {number(row.reference_score)}")
    return [replace(found, text=found.text.replace(unit, "")), scores, number(row.margin), row.suppression or "-"]


def _below_blank(row: ControlRow) -> str | Cell:
    """How far below the blank, with interval and p; "-" where that was not measured."""
    if row.blank_difference is None or row.blank_low is None or row.blank_high is None:
        return "-"
    interval = f"[{row.blank_low:+.2f}, {row.blank_high:+.2f}]"
    p = "" if row.blank_p is None else f", p {row.blank_p:.3g}"
    return Cell(text=f"{row.blank_difference:+.2f}", below=interval + p, value=row.blank_difference)


def gain(row: ControlRow) -> Cell:
    """A gain with its unit, and its interval below it."""
    if row.gain is None:
        return Cell(text="-")
    fraction = row.gain_unit == "fraction"
    parts = [f"{v:+.0%}" if fraction else f"{v:+.2f}" for v in (row.gain, row.gain_low, row.gain_high) if v is not None]
    interval = f"[{parts[1]}, {parts[2]}]" if len(parts) == 3 else "[unbounded]"
    return Cell(text=parts[0] + ("" if fraction else f" {row.gain_unit}"), below=interval, value=row.gain)
