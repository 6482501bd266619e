"""Figures of a round, each a matplotlib figure from a control report; and the sheet of controllers for README and
slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from protocols.project.objectives import OBJECTIVES, objective_named
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from protocols.arrays import Floats, Pixels
from protocols.disk.drawing import new_figure, place_axes, short_label, width_of

OTHER = "#777777"
COLOURS = {
    "control": "#009e73",
    "no control": "#d55e00",
    "not testable": OTHER,
    "excluded": OTHER,
    "exploratory": OTHER,
}
"""Colours of the verdicts, which colour-blind readers tell apart (Okabe & Ito 2008)."""
NATURAL, CONTROLLER = "#4d4d4d", "#0072b2"
POINT, PAIR_POINT = 36, 16
"""Areas of points in square points: those of markers of 6 and 4 points."""
Style = Literal["solid", "dashed"]
MOST_NAMED = 60  # sites of a matrix whose names can be read


def predicted_against_measured(report: ControlReport, unit: str) -> Figure:
    """Predicted and measured response of the target site, one point per controller, by objective and verdict.

    Filled points have the verdict "control".
    """
    from matplotlib.lines import Line2D

    figure = new_figure(4.3, 4.7, fitted=False)
    axes = place_axes(figure, margins=(0.65, 0.12, 1.1, 0.3))[0, 0]
    values: list[float] = []
    for objective in dict.fromkeys(r.objective for r in report.rows):
        rows = [r for r in report.rows if r.objective == objective]
        points = [
            (r.predicted, r.measured, COLOURS[r.verdict], COLOURS[r.verdict] if r.verdict == "control" else "white")
            for r in rows
            if r.predicted is not None and r.measured is not None
        ]
        if points:
            predicted, measured, edges, faces = (list(column) for column in zip(*points, strict=True))
            marker = objective_named(objective).marker
            axes.scatter(
                predicted, measured, s=POINT, marker=marker, facecolors=faces, edgecolors=edges, alpha=0.8, linewidths=1
            )
            values += [*predicted, *measured]
    if values:
        limits = [min(0.0, *values), max(values) * 1.05]
        axes.plot(limits, limits, "--", color="#aaaaaa", linewidth=1)
    axes.set_xlabel(f"predicted response ({unit})")
    axes.set_ylabel(f"recorded response ({unit})")
    shown = [objective_named(o) for o in dict.fromkeys(r.objective for r in report.rows)]
    handles = [Line2D([], [], marker=o.marker, color=NATURAL, linestyle="", markersize=5, label=o.label) for o in shown]
    for label, verdict, face in (
        ("control", "control", COLOURS["control"]),
        ("no control", "no control", "none"),
        ("not tested", "excluded", "none"),
    ):
        colour = COLOURS[verdict]
        handles.append(
            Line2D([], [], marker="o", color=colour, markerfacecolor=face, linestyle="", markersize=5, label=label)
        )
    handles.append(Line2D([], [], linestyle="--", color="#aaaaaa", label="as predicted"))
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=7.5, frameon=False)
    return figure


def against_reference(report: ControlReport, objective: str, label: str) -> Figure:
    """Controller and re-shown natural reference, one line per site (paired), in the objective's score.

    Lines without control are dashed: many of them go as wanted, and are not beyond the noise of their trials.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    figure = new_figure(4.3, 4.7, fitted=False)
    axes = place_axes(figure, margins=(0.75, 0.12, 1.1, 0.3))[0, 0]
    row = objective_named(objective)
    listed = [r for r in report.confirmatory(objective) if r.score is not None and r.reference_score is not None]
    if listed:
        reference, score = np.array([[r.reference_score, r.score] for r in listed], dtype=float).T
        colours = [COLOURS[r.verdict] for r in listed]
        styles = ["solid" if r.verdict == "control" else "dashed" for r in listed]
        ends = np.stack([np.broadcast_to([0, 1], (len(listed), 2)), np.stack([reference, score], 1)], -1)
        axes.add_collection(LineCollection(list(ends), colors=colours, linestyles=styles, alpha=0.8, linewidths=1.2))
        both = [*colours, *colours]
        axes.scatter(ends[..., 0].T, ends[..., 1].T, s=PAIR_POINT, c=both, alpha=0.8, linewidths=1, zorder=2)
    axes.set_xlim(-0.3, 1.3)
    axes.set_xticks([0, 1], [f"{row.reference_name}\n(re-shown)", "controller"])
    axes.set_ylabel(label)
    axes.set_title(f"{row.label}: one line per site", fontsize=9)
    handles = [
        Line2D([], [], color=COLOURS[v], linestyle=style, label=words)
        for v, style, words in verdict_words(listed, objective)
    ]
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=1, fontsize=7, frameon=False)
    return figure


def as_wanted(row: ControlRow, below: bool) -> bool:
    """Whether the controller's score lies on the wanted side of its reference's."""
    difference = (row.score or 0.0) - (row.reference_score or 0.0)
    return difference < 0 if below else difference > 0


def verdict_words(rows: Sequence[ControlRow], objective: str) -> list[tuple[str, Style, str]]:
    """Verdict, style of line and words with counts, for each verdict that the drawn `rows` have."""
    below = objective_named(objective).below
    falls = "falls" if below else "rises"
    found = list[tuple[str, Style, str]]()
    if count := sum(r.verdict == "control" for r in rows):
        found.append(("control", "solid", f"control ({count})"))
    missed = [r for r in rows if r.verdict == "no control"]
    if missed:
        going = sum(as_wanted(r, below) for r in missed)
        words = f"no control ({len(missed)}): the line {falls} at {going}, within the noise of the trials"
        found.append(("no control", "dashed", words))
    if others := len(rows) - count - len(missed):
        found.append(("excluded", "dashed", f"not tested ({others})"))
    return found


def response_matrix(matrix: Floats, targets: Sequence[str], sites: Sequence[str], *, label: str) -> Figure:
    """Measured standardised responses (targets, sites) to the controllers of the objective `label`; sites driven alone
    stand on the diagonal. Names are left out where there are too many to be read.
    """
    named = len(sites) <= MOST_NAMED
    columns, lines = [short_label(s) for s in sites], [short_label(s) for s in targets]
    edge = width_of([*columns, *lines], 7) + 0.35 if named else 0.35
    wide, deep = min(8.2, max(2.0, 0.15 * len(sites))), min(8.2, max(1.4, 0.15 * len(targets)))
    figure = new_figure(edge + wide + 1.0, edge + deep + 0.2, fitted=False)
    width, height = edge + wide + 1.0, edge + deep + 0.2
    axes = figure.add_axes((edge / width, edge / height, wide / width, deep / height))
    bound = float(np.nanmax(np.abs(matrix))) if np.isfinite(matrix).any() else 1.0
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    if named:
        axes.set_xticks(range(len(sites)), columns, rotation=90, fontsize=7)
        axes.set_yticks(range(len(targets)), lines, fontsize=7)
    axes.set_xlabel("recorded site, the targets first, in the order of the rows")
    axes.set_ylabel(f"{label} controller for")
    beside = figure.add_axes(((edge + wide + 0.15) / width, edge / height, 0.15 / width, deep / height))
    figure.colorbar(image, cax=beside, label="response (natural SD)")
    return figure


def _sheet_lines(rows: Sequence[ControlRow]) -> list[tuple[str, str, bool]]:
    """Title, objective and whether it is the reference, of every line of the sheet; objectives in catalogue order."""
    shown = {row.objective for row in rows}
    lines, named = list[tuple[str, str, bool]](), set[str]()
    for name, row in OBJECTIVES.items():
        if name not in shown:
            continue
        if row.reference_name not in named:
            lines.append((row.reference_name, name, True))
            named.add(row.reference_name)
        lines.append((row.label, name, False))
    return lines or [("natural image", "", True)]


def controller_sheet(rows: Sequence[ControlRow], images: dict[str, Pixels], columns: int = 6) -> Figure:
    """For up to `columns` sites: the natural reference and the controller of each objective, with recorded means.

    Objectives that drive a site low have a line for their own reference.
    """
    all_sites = list(dict.fromkeys(r.site for r in rows if r.reference_image))
    sites = all_sites[:columns]
    by = {(r.objective, r.site): r for r in rows}
    lines = _sheet_lines(rows)
    if not sites:
        figure = new_figure(4.0, 0.6)
        figure.supxlabel("no controller has a reference that could be tested", fontsize=8)
        return figure
    left_out = len(all_sites) - len(sites)
    width, height = 1.55 * len(sites) + 0.4, 1.85 * len(lines) + 0.55
    figure = new_figure(width, height, fitted=False)
    grid = place_axes(figure, len(lines), len(sites), margins=(0.3, 0.1, 0.65, 0.25), gaps=(0.12, 0.42))
    for column, site in enumerate(sites):
        for line, (title, objective, is_reference) in enumerate(lines):
            axes = grid[line, column]
            axes.set_xticks([])
            axes.set_yticks([])
            shared = [o for o, r in OBJECTIVES.items() if is_reference and r.reference_name == title]
            row = next((found for o in shared or [objective] if (found := by.get((o, site))) is not None), None)
            if row is None or not row.reference_image:
                axes.axis("off")
                continue
            picture = images[row.reference_image if is_reference else row.image_id]
            axes.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=255)
            value = row.reference if is_reference else row.measured
            text = f"recorded {value:.1f}" if value is not None else ""
            if not is_reference and row.predicted is not None:
                text += f"\npredicted {row.predicted:.1f}"
            axes.set_xlabel(text, fontsize=7)
            colour = NATURAL if is_reference else COLOURS[row.verdict]
            for spine in axes.spines.values():
                spine.set(color=colour, linewidth=2)
            if column == 0:
                axes.set_ylabel(title, fontsize=8)
            if line == 0:
                axes.set_title(short_label(site), fontsize=8)
    if left_out:
        figure.supxlabel(f"{len(sites)} of {len(all_sites)} sites; all of them are in the report", fontsize=8, y=0.01)
    words = "frame: green control, orange no control, grey not tested"
    figure.text(0.5, 0.22 / height, words, fontsize=6.5, ha="center", va="bottom", color=NATURAL)
    return figure
