"""The figure of accentuated photographs: one line of images per photograph, and predicted against wanted response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: Sequence[dict[str, Any]], pixels: Pixels) -> Figure:
    """The images of the first site, and its predictions by encoder and validator against the level."""
    site = rows[0]["site"]
    own = [i for i, row in enumerate(rows) if row["site"] == site]
    photographs = list(dict.fromkeys(rows[i]["photograph"] for i in own))
    count = len(own) // len(photographs)
    figure = new_figure(1.15 * count + 3.4, max(1.25 * len(photographs) + 0.3, 2.6))
    grid = figure.add_gridspec(len(photographs), count + 1, width_ratios=[*[1.0] * count, 2.6])
    for k, i in enumerate(own):
        axis = figure.add_subplot(grid[k // count, k % count])
        axis.imshow(np.repeat(pixels[i], 3, 2) if pixels.shape[-1] == 1 else pixels[i])
        axis.set_axis_off()
        if k < count:
            axis.set_title(f"{rows[i]['share']:.0%}", fontsize=8)
    axis = figure.add_subplot(grid[:, count])
    wanted = np.array([rows[i]["level"] for i in own])
    for key, mark, label in (("z", "o", "encoder"), ("validator_z", "s", "validator")):
        axis.plot(wanted, [rows[i][key] for i in own], mark, markersize=3, label=label)
    axis.plot([wanted.min(), wanted.max()], [wanted.min(), wanted.max()], color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set_xlabel(f"{site}: level (natural SDs)", fontsize=8)
    axis.set_ylabel("predicted (natural SDs)", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6)
    return figure
