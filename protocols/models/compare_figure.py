"""Figures of a comparison of readouts and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.analysis.layer_gradient import LayerGradient
from encoders.fitting.comparison import Comparison
from protocols.disk.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from encoders.fitting.comparison import layer_search, usual_layers


def comparison_figure(
    found: Comparison, gradient: LayerGradient | None = None, places: NDArray[np.float64] | None = None
) -> Figure:
    """One row per candidate: every site's score, the median and its interval. Beside it the layers that sites prefer:
    how many, their mean by area where areas are named, and on the cortex where places are known (of a topographic
    readout its own map).
    """
    rows = found.to_dict()["candidates"]
    corrected = any(row["median_r_nc"] is not None for row in rows)
    panels = 2 + (gradient is not None) + (places is not None)
    figure = new_figure(6.5 + 2.6 * (panels - 1), max(2.4, 1.4 + 0.34 * len(rows)))
    axes = figure.subplots(1, panels, width_ratios=[3] + [1.3] * (panels - 1))
    draw_scores(axes[0], found, rows, corrected=corrected)
    search = layer_search(found)
    names = ["+".join(group) for group in search.candidate.groups]
    usual = usual_layers(search)
    axes[1].barh(range(len(names)), [usual.count(name) for name in names], color="#6baed6")
    axes[1].set_yticks(range(len(names)), names)
    axes[1].invert_yaxis()
    axes[1].set_xlabel("sites best predicted")
    axes[1].set_title(search.candidate.name, fontsize=9)
    if gradient is not None:
        axes[2].plot(range(len(gradient.areas)), gradient.mean_layer, "o-", color="#08519c")
        axes[2].set_xticks(range(len(gradient.areas)), gradient.areas)
        axes[2].set_ylabel("mean best layer (0 = first)")
        axes[2].set_title(f"layer by area, p {gradient.p:.2g}", fontsize=9)
    if places is not None:
        draw_layer_map(axes[-1], found, places, best=[names.index(name) for name in usual])
    return figure


def draw_scores(axes: Any, found: Comparison, rows: list[dict[str, Any]], *, corrected: bool) -> None:
    """Sites as points, median and interval on top."""
    for y, (row, score) in enumerate(zip(rows, (*found.scores, found.chosen), strict=True)):
        values = score.r_nc if corrected else score.r
        jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
        axes.plot(values, y + jitter, ".", color="#9ecae1", markersize=4, zorder=1)
        axes.plot(row["interval"], [y, y], color="#08519c", linewidth=2.5, zorder=2)
        axes.plot(row["median_r_nc"] if corrected else row["median_r"], y, "o", color="#08519c", zorder=3)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("noise-corrected r, images left out" if corrected else "r with the averages, images left out")
    axes.grid(axis="x", alpha=0.3)


def draw_layer_map(axes: Any, found: Comparison, places: NDArray[np.float64], *, best: Sequence[int]) -> None:
    """Sites on the cortex, coloured by the mean layer of the topographic readout's weights, or else by the best
    layer.
    """
    weighed = next((score for score in found.scores if score.layer_weights is not None), None)
    colour, title = np.array(best, float), "best layer"
    if weighed is not None and weighed.layer_weights is not None:
        colour = weighed.layer_weights @ np.arange(weighed.layer_weights.shape[1])
        title = f"mean layer, {weighed.candidate.name}"
    drawn = axes.scatter(places[:, 0], places[:, 1], c=colour, cmap="viridis", s=24)
    axes.figure.colorbar(drawn, ax=axes)
    axes.set_aspect("equal")
    axes.set_xlabel("x (um)")
    axes.set_ylabel("y (um)")
    axes.set_title(title, fontsize=9)
