"""Figures over rounds: drift of the sites against the baseline, and the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.disk.drawing import draw_bars, new_figure, place_axes, short_label, width_of
from protocols.project.objectives import objective_named
from protocols.recordings.drift import RoundDrift

from .verdicts import MOST_NAMED, NATURAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LISTED, NOT_LISTED, LEFT_OUT = "#d55e00", "#9e9e9e", "#d55e00"
PREQUENTIAL, AFTER = "#0072b2", "#e69f00"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
SHOWN_GAINS = (0.1, 10.0)


def drift_figure(drifts: Sequence[tuple[int, RoundDrift]]) -> Figure:
    """Gain of every site in the rounds so far (number, drift), oldest first; and the last one's drift within the
    recording.
    """
    sites = sorted({s.site for _, drift in drifts for s in drift.sites})
    names = [short_label(site) for site in sites]
    named = len(sites) <= MOST_NAMED
    bottom = 0.25 + (width_of(names, 7) if named else 0.2)
    figure = new_figure(max(5.0, min(14.0, 1.8 + 0.24 * len(sites))), 4.8 + bottom, fitted=False)
    above, below = place_axes(figure, 2, 1, margins=(0.75, 0.15, bottom, 0.3), gaps=(0.5, 0.4))[:, 0]
    above.set_xlim(-0.8, len(sites) - 0.2)
    below.set_xlim(-0.8, len(sites) - 0.2)
    above.set_xticks(range(len(sites)) if named else [], [""] * len(sites) if named else [])
    _gains(above, drifts, sites)
    number, last = drifts[-1]
    _within(below, last, sites)
    title = f"round {number}: drift within the recording; orange *: Benjamini-Hochberg list (q 0.05)"
    below.set_title(title, fontsize=8)
    if named:
        below.set_xticks(range(len(sites)), names, rotation=90, fontsize=7)
    else:
        below.set_xticks([])
        below.set_xlabel(f"{len(sites)} sites by name; too many to name them here")
    return figure


def _gains(axes: Axes, drifts: Sequence[tuple[int, RoundDrift]], sites: Sequence[str]) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.axhline(1.0, color="#aaaaaa", linestyle="--", linewidth=1)
    shades = colormaps["viridis"](np.linspace(0, 0.85, len(drifts)))
    for i, (number, drift) in enumerate(drifts):
        shift = 0.5 * (i - (len(drifts) - 1) / 2) / len(drifts)
        gain = {s.site: s.gain for s in drift.sites if s.gain is not None and s.gain > 0}
        known = [s for s in drift.sites if s.told and s.site in gain]
        unknown = [s for s in drift.sites if not s.told and s.site in gain]
        middle = np.array([gain[s.site] for s in known], dtype=float)
        lower = middle - np.array([s.gain_low or 0.0 for s in known])
        upper = np.array([s.gain_high or 0.0 for s in known]) - middle
        axes.errorbar(
            [sites.index(s.site) + shift for s in known], middle, np.maximum([lower, upper], 0), fmt="o",
            color=shades[i], markersize=4, linewidth=1, label=f"round {number}",
        )  # fmt: skip
        x = [sites.index(s.site) + shift for s in unknown]
        axes.plot(
            x, [gain[s.site] for s in unknown], "o", markersize=4, markerfacecolor="none", markeredgecolor=shades[i]
        )
        out = [s for s in (*known, *unknown) if s.site in drift.excluded]
        x = [sites.index(s.site) + shift for s in out]
        axes.plot(x, [gain[s.site] for s in out], "x", color=LEFT_OUT, markersize=8)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(max(min(low, 0.5), SHOWN_GAINS[0]), min(max(high, 2.0), SHOWN_GAINS[1]))
    axes.yaxis.set_major_locator(FixedLocator([0.1, 0.25, 0.5, 1, 2, 4, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("gain against the baseline")
    axes.set_title("filled: gain with 95 % interval; open: unknown; x: lost, moved or split", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=len(drifts))


def _within(axes: Axes, drift: RoundDrift, sites: Sequence[str]) -> None:
    known = [s for s in drift.sites if s.within_change is not None]
    change = [s.within_change or 0.0 for s in known]
    x = [sites.index(s.site) for s in known]
    colours = [LISTED if s.within_listed else NOT_LISTED for s in known]
    if known:
        draw_bars(axes, np.array(x, dtype=float), np.array(change), colours=colours, width=0.7)
    for site, place, value in zip(known, x, change, strict=True):
        if site.within_listed:
            axes.annotate(
                "*",
                (place, value),
                ha="center",
                va="bottom" if value >= 0 else "top",
                color=LISTED,
            )
    axes.axhline(0.0, color=NATURAL, linewidth=0.8)
    axes.margins(y=0.15)
    axes.set_ylabel("% of the mean response" if drift.percent else "SD of the image means")


def learning_figure(entries: Sequence[dict[str, Any]], history: Sequence[dict[str, Any]]) -> Figure:
    """The entries of `learning.learning_curve`: held-out photographs, consistency on controllers, and success counts of
    `history`.
    """
    figure = new_figure(12.6, 3.6, fitted=False)
    held_out, controllers, success = place_axes(figure, 1, 3, margins=(0.7, 0.15, 0.55, 0.3), gaps=(0.75, 0.5))[0]
    score = next((e["natural_score"] for e in entries if e["natural_score"]), "r")
    _curve(
        held_out,
        entries,
        "natural_r",
        interval="natural_r",
        style="o-",
        colour=NATURAL,
        label="photographs never fitted",
    )
    held_out.set_ylabel(f"{score}, median over sites")
    held_out.set_title("held-out photographs, encoder of the round", fontsize=9)
    _curve(
        controllers,
        entries,
        "prequential_r2",
        interval="prequential",
        style="o-",
        colour=PREQUENTIAL,
        label="prequential",
    )
    _curve(
        controllers,
        entries,
        "after_r2",
        interval="after",
        style="s--",
        colour=AFTER,
        label="after the refit, not prequential",
        shift=0.05,
    )
    controllers.set_ylabel("squared noise-corrected r, median")
    controllers.set_title("consistency on the round's controllers", fontsize=9)
    draw_success(success, history)
    success.set_title("sites controlled (Wilson intervals, descriptive)", fontsize=9)
    for axes in (held_out, controllers, success):
        axes.set_xlabel("round")
        axes.set_xticks([e["round"] for e in entries])
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)
    return figure


def _curve(
    axes: Axes,
    entries: Sequence[dict[str, Any]],
    name: str,
    *,
    interval: str,
    style: str,
    colour: str,
    label: str,
    shift: float = 0.0,
) -> None:
    """One line with intervals through the rounds where `name` is known; a missing interval is not drawn."""
    known = [e for e in entries if e[name] is not None]
    if not known:
        return
    middle = np.array([e[name] for e in known], dtype=float)
    ends = [
        [e[name] if e[f"{interval}_{end}"] is None else e[f"{interval}_{end}"] for e in known]
        for end in ("low", "high")
    ]
    lengths = np.maximum([middle - ends[0], np.array(ends[1]) - middle], 0)
    axes.errorbar([e["round"] + shift for e in known], middle, lengths, fmt=style, color=colour, label=label, capsize=3)


def success_over_rounds(history: Sequence[dict[str, Any]]) -> Figure:
    """Share of controlled sites per round, with descriptive Wilson intervals."""
    figure = new_figure(4.6, 3.2, fitted=False)
    axes = place_axes(figure, margins=(0.7, 0.15, 0.55, 0.15))[0, 0]
    draw_success(axes, history)
    axes.set_xlabel("round")
    axes.legend(fontsize=8, frameon=False)
    return figure


def draw_success(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """One line per objective, with Wilson intervals."""
    for shift, objective in enumerate(dict.fromkeys(h["objective"] for h in history)):
        points = [h for h in history if h["objective"] == objective and h["tested"]]
        x = [h["round"] + 0.06 * shift for h in points]
        share = [h["successes"] / h["tested"] for h in points]
        low, high = ([h[k] for h in points] for k in ("low", "high"))
        errors = [np.maximum(np.subtract(share, low), 0), np.maximum(np.subtract(high, share), 0)]
        colour, label = SERIES[shift % len(SERIES)], objective_named(objective).label
        axes.errorbar(x, share, errors, fmt="o-", color=colour, label=label, capsize=3)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks(sorted({h["round"] for h in history}))
    axes.set_ylabel("share of sites controlled")
