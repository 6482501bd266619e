"""The figure of tuning series: one line of panels per controller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.drawing import new_figure
from synth.invariance.tuning import SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Controllers in the figure at most; the tables hold all."""


def draw(names: Sequence[str], pixels: Pixels, steps: Sequence[dict[str, Any]]) -> Figure:
    """Predicted response against step, by encoder and validator, beside the controller."""
    count = min(len(names), SHOWN)
    figure = new_figure(12.0, 1.9 * count + 0.4)
    axes = figure.subplots(
        count, 1 + len(SERIES), squeeze=False, gridspec_kw={"width_ratios": [1.0, *[1.2] * len(SERIES)]}
    )
    for i in range(count):
        image = np.repeat(pixels[i], 3, 2) if pixels.shape[-1] == 1 else pixels[i]
        axes[i, 0].imshow(image)
        axes[i, 0].set_title(names[i], fontsize=8)
        axes[i, 0].set_axis_off()
        for axis, series in zip(axes[i, 1:], SERIES, strict=True):
            own = [s for s in steps if s["controller"] == i and s["series"] == series]
            values = np.array([s["value"] for s in own])
            for key, style, label in (("z", "o-", "encoder"), ("validator_z", "s--", "validator")):
                z = np.array([s[key] for s in own])
                axis.plot(values, z, style, markersize=3, linewidth=1, label=label)
            at = next(s for s in own if s["identity"])
            axis.axvline(at["value"], color="#bbbbbb", linewidth=0.8, zorder=0)
            axis.axhline(at["z"] / 2, color="#bbbbbb", linewidth=0.8, linestyle=":", zorder=0)
            axis.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
            if series == "scale":
                axis.set_xscale("log", base=2)
            axis.tick_params(labelsize=7)
            if i == 0:
                axis.set_title(series.replace("_", " "), fontsize=9)
            if i == count - 1:
                axis.set_xlabel(own[0]["unit"], fontsize=7)
        axes[i, 1].set_ylabel("response (natural SDs)", fontsize=7)
    axes[0, 1].legend(fontsize=6)
    return figure
