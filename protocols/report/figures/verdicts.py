"""Figures of a round, each a matplotlib figure from a control report; and the sheet of controllers for README and
slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from protocols.project.objectives import OBJECTIVES, objective_named
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from protocols.arrays import Floats, Pixels
from protocols.disk.drawing import new_figure

COLOURS = {
    "control": "#1b7837",
    "no control": "#b2182b",
    "not testable": "#777777",
    "excluded": "#777777",
    "exploratory": "#777777",
}
NATURAL, CONTROLLER = "#4d4d4d", "#2166ac"
POINT, PAIR_POINT = 36, 16
"""Areas of points in square points: those of markers of 6 and 4 points."""


def predicted_against_measured(report: ControlReport, unit: str) -> Figure:
    """Predicted and measured response of the target site, one point per controller, by objective and verdict."""
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    values: list[float] = []
    for objective in dict.fromkeys(r.objective for r in report.rows):
        rows = [r for r in report.rows if r.objective == objective]
        points = [
            (r.predicted, r.measured, COLOURS[r.verdict])
            for r in rows
            if r.predicted is not None and r.measured is not None
        ]
        if points:
            predicted, measured, colours = zip(*points, strict=True)
            marker = objective_named(objective).marker
            axes.scatter(predicted, measured, s=POINT, marker=marker, c=colours, alpha=0.8, linewidths=1)
            values += [*predicted, *measured]
    if values:
        limits = [min(0.0, *values), max(values) * 1.05]
        axes.plot(limits, limits, "--", color="#aaaaaa", linewidth=1)
    axes.set_xlabel(f"predicted response ({unit})")
    axes.set_ylabel(f"recorded response ({unit})")
    shown = [objective_named(o) for o in dict.fromkeys(r.objective for r in report.rows)]
    markers = ", ".join(f"{row.marker_name}: {row.label}" for row in shown)
    axes.set_title(f"{markers};\ngreen: control, red: no control", fontsize=9)
    return figure


def against_reference(report: ControlReport, objective: str, label: str) -> Figure:
    """Controller and re-shown natural reference, one line per site (paired), in the objective's score."""
    from matplotlib.collections import LineCollection

    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    pairs = [
        (r.reference_score, r.score, COLOURS[r.verdict])
        for r in report.confirmatory(objective)
        if r.score is not None and r.reference_score is not None
    ]
    if pairs:
        reference, score, colours = zip(*pairs, strict=True)
        ends = np.stack([np.broadcast_to([0, 1], (len(pairs), 2)), np.stack([reference, score], 1)], -1)
        axes.add_collection(LineCollection(list(ends), colors=colours, alpha=0.8, linewidths=1.2))
        both = [*colours, *colours]
        axes.scatter(ends[..., 0].T, ends[..., 1].T, s=PAIR_POINT, c=both, alpha=0.8, linewidths=1, zorder=2)
    axes.set_xlim(-0.3, 1.3)
    axes.set_xticks([0, 1], [f"{objective_named(objective).reference_name}\n(re-shown)", "controller"])
    axes.set_ylabel(label)
    axes.set_title(f"{objective_named(objective).label}: one line per site", fontsize=9)
    return figure


def response_matrix(matrix: Floats, targets: Sequence[str], sites: Sequence[str], *, label: str) -> Figure:
    """Measured standardised responses (targets, sites) to the controllers of the objective `label`; sites driven alone
    stand on the diagonal.
    """
    figure = new_figure(min(9.0, 2.4 + 0.32 * len(sites)), min(9.0, 1.6 + 0.32 * len(targets)))
    axes = figure.add_subplot()
    bound = float(np.nanmax(np.abs(matrix))) if np.isfinite(matrix).any() else 1.0
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    axes.set_xticks(range(len(sites)), sites, rotation=90, fontsize=7)
    axes.set_yticks(range(len(targets)), targets, fontsize=7)
    axes.set_xlabel("recorded site")
    axes.set_ylabel(f"{label} controller for")
    figure.colorbar(image, label="response (natural SD)", shrink=0.8)
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
    figure = new_figure(1.55 * len(sites) + 0.3, 1.8 * len(lines))
    grid = figure.subplots(len(lines), len(sites), squeeze=False)
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
                axes.set_title(site, fontsize=8)
    if len(sites) < len(all_sites):
        figure.supxlabel(f"{len(sites)} of {len(all_sites)} sites; all of them are in the report", fontsize=8)
    return figure
