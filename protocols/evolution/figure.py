"""The course of an evolution as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.drawing import new_figure
from protocols.disk.files import write_atomically
from protocols.disk.tables import write_table

MOST = 8  # targets in the figure; the table has all
COLUMNS = ("target", "generation", "mean", "best", "reference")


def write_course(folder: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]], images: Mapping[str, Pixels]) -> None:
    """Write ``learning.csv`` and ``learning.png`` into `folder`.

    Parameters
    ----------
    curves : dict of target to list
        As `scores.curve_of` gives them: mean and best score of each generation, in natural SDs above the references.
    images : dict of target to uint8 (H, W, C)
        The image that enters the round.
    """
    rows = [
        [target, *("" if point[name] is None else point[name] for name in COLUMNS[1:])]
        for target, points in curves.items()
        for point in points
    ]
    write_table(folder / "learning.csv", COLUMNS, rows)
    shown = list(curves)[:MOST]
    figure = new_figure(6.4, 0.4 + 1.8 * len(shown))
    axes = figure.subplots(len(shown), 2, width_ratios=[3, 1], squeeze=False)
    for (curve, picture), target in zip(axes, shown, strict=True):
        points = [p for p in curves[target] if p["mean"] is not None]
        numbers = [p["generation"] for p in points]
        curve.axhline(0, color="#999999", linewidth=0.8)
        curve.plot(numbers, [p["best"] for p in points], ".", color="#a6d96a", label="highest score")
        curve.plot(numbers, [p["mean"] for p in points], "-", color="#1b7837", label="mean score")
        curve.set_ylabel(f"{target}\nSDs above references", fontsize=8)
        curve.tick_params(labelsize=8)
        picture.axis("off")
        if target in images:
            image = images[target]
            picture.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            picture.set_title("enters the round", fontsize=8)
    axes[0][0].legend(fontsize=8, frameon=False)
    axes[-1][0].set_xlabel("generation", fontsize=8)
    write_atomically(folder / "learning.png", lambda path: figure.savefig(path, format="png", dpi=110))
