"""The figure of simplified controllers: what is left after each stage, and the response on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.disk.drawing import new_figure
from synth.simplification.simplify import STAGES, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Controllers in the figure at most; the tables hold all."""


def draw(rows: Sequence[dict[str, Any]], path: Sequence[dict[str, Any]], steps: Sequence[list[Step]]) -> Figure:
    """One line per controller: the image at the end of each stage, and the share of the response that was held."""
    count = min(len(rows), SHOWN)
    columns = ("controller", *STAGES)
    figure = new_figure(11.0, 2.1 * count + 0.2)
    axes = figure.subplots(count, 1 + len(columns), squeeze=False, gridspec_kw={"width_ratios": [*[1.0] * 4, 1.5]})
    begin = 0
    for i in range(count):
        own = path[begin : begin + len(steps[i])]
        begin += len(steps[i])
        for axis, stage in zip(axes[i], columns, strict=False):
            last = max((k for k, s in enumerate(steps[i]) if columns.index(s.stage) <= columns.index(stage)), default=0)
            pixels = steps[i][last].pixels
            axis.imshow(np.repeat(pixels, 3, 2) if pixels.shape[-1] == 1 else pixels)
            axis.set_axis_off()
            axis.set_title(_words(stage, own[last], rows[i]["controller"]), fontsize=7)
        curve = axes[i, -1]
        size = np.array([step["png_bytes"] for step in own]) / own[0]["png_bytes"]
        for key, style, label in (("held", "o-", "encoder"), ("validator_held", "s--", "validator")):
            curve.plot(size, [step[key] for step in own], style, markersize=2, linewidth=0.8, label=label)
        curve.axhline(1, color="#dddddd", linewidth=0.8, zorder=0)
        curve.invert_xaxis()
        curve.tick_params(labelsize=7)
        curve.set_ylabel("share of the response", fontsize=7)
        if i == count - 1:
            curve.set_xlabel("size of the PNG file, share", fontsize=7)
    axes[0, -1].legend(fontsize=6)
    return figure


def _words(stage: str, step: dict[str, Any], name: str) -> str:
    if stage == "controller":
        return name
    left = {
        "area": f"{step['area']:.0%} of the area",
        "waves": f"{step['waves']} waves",
        "levels": f"{step['grey_levels']} grey levels",
    }
    return f"{left[stage]}: held {step['held']:.2f} ({step['validator_held']:.2f})"
