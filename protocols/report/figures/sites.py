"""Figures of a round's sites: histograms of the gain, and each site's sorted tuning with the synthesised images in
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from protocols.disk.drawing import draw_bars, new_figure, place_axes, short_label
from protocols.project.arms import arm_named, in_order
from protocols.project.objectives import objective_named
from protocols.verdict.records import ControlRow

from .verdicts import COLOURS, CONTROLLER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
from protocols.arrays import Floats

UNITS = {
    "fraction": "gain of the evoked response (%)",
    "natural SD": "gain (natural SD)",
    "log S": "gain (log S)",
}
OTHER_IMAGES, OWN_REFERENCE = "#c9c9c9", "#4d4d4d"
OWN_MARKS = {"controller": ("D", CONTROLLER), "graded": ("o", "#56b4e9")}
"""Marker and colour of what is shown beside the control arms, whose marks stand in `protocols.project.arms`."""
LARGEST_BINS = 20
MOST_LINES = 100


@dataclass(frozen=True)
class Mark:
    """A synthesised image or control arm in a site's tuning: its `kind` ("controller", "graded" or the name of a
    control arm), mean response and standard error (NaN = unknown).
    """

    kind: str
    mean: float
    error: float


@dataclass(frozen=True)
class SiteTuning:
    """Mean responses of a site to the natural and reference images, highest first, shape (N,), with standard errors
    (NaN = unknown).

    `own`: which of them are the site's re-shown references; `marks`: synthesised images and arms.
    """

    site: str
    means: Floats
    errors: Floats
    own: NDArray[np.bool_]
    marks: tuple[Mark, ...] = ()


def gain_histogram(rows: Sequence[ControlRow]) -> Figure | None:
    """Gains of the confirmatory controllers of one objective, a panel for each unit, stacked by verdict; None without
    any gain.
    """
    counted = [r for r in rows if r.confirmatory]
    units = [u for u in UNITS if any(r.gain is not None and r.gain_unit == u for r in counted)]
    if not units:
        return None
    figure = new_figure(4.3 * len(units), 4.0, fitted=False)
    grid = place_axes(figure, 1, len(units), margins=(0.6, 0.15, 1.15, 0.35), gaps=(0.7, 0.5))
    for axes, unit in zip(grid[0], units, strict=True):
        _histogram(axes, [r for r in counted if r.gain is not None and r.gain_unit == unit], unit)
    known = sum(r.gain is not None for r in counted)
    row = objective_named(counted[0].objective)
    title = f"{row.label}: {row.gain_words} the re-shown natural image, {known} of {len(counted)} sites"
    figure.suptitle(title, fontsize=9)
    return figure


def _histogram(axes: Axes, rows: Sequence[ControlRow], unit: str) -> None:
    from matplotlib.ticker import MaxNLocator

    factor = 100.0 if unit == "fraction" else 1.0
    gains = {v: [factor * r.gain for r in rows if r.gain is not None and r.verdict == v] for v in COLOURS}
    gains = {verdict: values for verdict, values in gains.items() if values}
    everything = np.array([g for values in gains.values() for g in values])
    edges = np.histogram_bin_edges(everything, bins="auto")
    if len(edges) > LARGEST_BINS + 1:
        edges = np.linspace(everything.min(), everything.max(), LARGEST_BINS + 1)
    axes.hist(
        list(gains.values()),
        bins=edges.tolist(),
        stacked=True,
        color=[COLOURS[v] for v in gains],
        label=[f"{verdict} ({len(values)})" for verdict, values in gains.items()],
        edgecolor="white",
    )
    axes.axvline(0.0, color="#aaaaaa", linestyle="--", linewidth=1)
    below = bool(rows) and objective_named(rows[0].objective).below
    axes.set_xlabel(f"response below the reference ({unit})" if below else UNITS[unit])
    axes.set_ylabel("sites")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    below_bars = (0.5, -0.2)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=below_bars, ncols=2)


def tuning_bars(tunings: Sequence[SiteTuning], unit: str) -> Figure:
    """One panel per site: its sorted responses as bars with standard errors, and where its synthesised images fall
    among them.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    columns = min(4, len(tunings))
    lines = math.ceil(len(tunings) / columns)
    figure = new_figure(2.7 * columns + 0.4, 1.9 * lines + 0.9, fitted=False)
    grid = place_axes(figure, lines, columns, margins=(0.65, 0.1, 0.8, 0.3), gaps=(0.5, 0.3))
    for axes in grid.flat[len(tunings) :]:
        axes.axis("off")
    for i, (axes, tuning) in enumerate(zip(grid.flat, tunings, strict=False)):
        _tuning(axes, tuning)
        if i % columns == 0:
            axes.set_ylabel(f"response ({unit})", fontsize=7)
    kinds = {mark.kind for tuning in tunings for mark in tuning.marks}
    kinds_in_order = [k for k in OWN_MARKS if k in kinds] + [arm.name for arm in in_order(kinds - OWN_MARKS.keys())]
    handles: list[Patch | Line2D] = [
        Patch(color=OTHER_IMAGES, label="natural and reference images"),
        Patch(color=OWN_REFERENCE, label="the site's own references"),
    ]
    for kind in kinds_in_order:
        shape, colour = mark_of(kind)
        handles.append(
            Line2D([], [], marker=shape, color=colour, linestyle="", markersize=5, label=kind.replace("_", " "))
        )
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def mark_of(kind: str) -> tuple[str, str]:
    """Marker and colour of a synthesised image or of a control arm."""
    if kind in OWN_MARKS:
        return OWN_MARKS[kind]
    arm = arm_named(kind)
    return arm.marker, arm.colour


def _tuning(axes: Axes, tuning: SiteTuning) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    x = np.arange(len(tuning.means), dtype=np.float64)
    colours = [OWN_REFERENCE if own else OTHER_IMAGES for own in tuning.own]
    draw_bars(axes, x, tuning.means, colours=colours, width=1.0)
    if (lengths := _lengths(tuning.errors)) is not None:
        low, high = tuning.means - lengths, tuning.means + lengths
        if len(x) > MOST_LINES:  # more lines than the panel has pixels: a band says the same
            axes.fill_between(x, low, high, step="mid", color="black", alpha=0.45, linewidth=0)
        else:
            lines = np.stack([np.stack([x, low], 1), np.stack([x, high], 1)], 1)
            axes.add_collection(LineCollection(list(lines), colors="black", linewidths=0.5))
    for mark in tuning.marks:
        shape, colour = mark_of(mark.kind)
        place = place_of(mark.mean, tuning.means)
        axes.errorbar(
            place, mark.mean, _lengths(np.array([mark.error])), fmt=shape, color=colour, linewidth=1,
            markersize=5 if mark.kind == "controller" else 4, markeredgecolor="white", markeredgewidth=0.4,
            label=mark.kind, zorder=4 if mark.kind == "controller" else 3,
        )  # fmt: skip
    axes.set_xlim(-0.5 - 0.05 * len(x), len(x) - 0.5)
    axes.set_title(short_label(tuning.site), fontsize=8)
    axes.xaxis.set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=7)


def place_of(mean: float, means: Floats) -> float:
    """Where `mean` falls among bars at 0, 1, ... of falling height `means`: between the last bar above it and the
    next.
    """
    return float((means > mean).sum()) - 0.5


def _lengths(errors: Floats) -> Floats | None:
    """Standard errors for drawing; None where none is known."""
    return np.nan_to_num(errors) if np.isfinite(errors).any() else None
