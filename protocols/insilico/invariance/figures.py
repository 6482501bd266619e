"""The figures of `stimsynth invariance`: rows of images with what is predicted of them."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from protocols.arrays import Pixels
from protocols.disk.drawing import new_figure

__all__ = ["diverse_figure", "level_figure", "metamer_figure"]

PATHS = 6
"""Rows of the figure at most."""


def picture(axes: Axes, image: Pixels, title: str = "", *, colour: str = "black") -> None:
    """One image (H, W, C) with a title of that colour."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
    axes.set_title(title, fontsize=7, color=colour)
    axes.set_xticks([])
    axes.set_yticks([])


def level_figure(rows: list[dict[str, Any]], record: dict[str, Any], pixels: Pixels, *, goal: Pixels) -> Figure:
    """One row per path: its points, the target, and responses by encoder and validator against the distance."""
    paths = record["paths"][:PATHS]
    most = max(1 + path["points"] for path in paths)
    figure = new_figure(1.25 * (most + 1) + 2.6, 1.55 * len(paths) + 0.3)
    grid = figure.subplots(len(paths), most + 2, squeeze=False, width_ratios=[1] * (most + 1) + [2])
    for line, path in zip(grid, paths, strict=True):
        mine = [i for i, row in enumerate(rows) if row["path"] == path["path"]]
        for axes in line[: most + 1]:
            axes.axis("off")
        for axes, i in zip(line, mine, strict=False):
            axes.axis("on")
            colour = "tab:green" if rows[i]["validator_at_level"] else "tab:red"
            picture(axes, pixels[i], f"{rows[i]['z']:.2f} | {rows[i]['validator_z']:.2f}", colour=colour)
        line[0].set_ylabel(path["site"], fontsize=8)
        line[most].axis("on")
        title = f"target {path['target_z']:.2f} | {path['target_validator_z']:.2f}"
        picture(line[most], goal[path["path"] - 1], title)
        far, plot = [rows[i]["rms"] for i in mine], line[-1]
        plot.plot(far, [rows[i]["z"] for i in mine], "o-", ms=3, label="encoder")
        plot.plot(far, [rows[i]["validator_z"] for i in mine], "s--", ms=3, label="validator")
        band = record["settings"]["tolerance"]
        plot.axhspan(path["level"] - band, path["level"] + band, color="0.85", zorder=0)
        plot.invert_xaxis()
        plot.tick_params(labelsize=6)
        plot.set_ylabel("response [natural SDs]", fontsize=6)
    grid[0][-1].legend(fontsize=6)
    grid[-1][-1].set_xlabel("RMS distance to the target [pixel value]", fontsize=6)
    return figure


def metamer_figure(rows: list[dict[str, Any]], record: dict[str, Any], pixels: Pixels, *, references: Pixels) -> Figure:
    """One row per reference: the photograph, and the images found for it; red where the tolerance is not met."""
    names = list(dict.fromkeys(row["reference"] for row in rows))
    most = max(sum(row["reference"] == name for row in rows) for name in names)
    shown = names[:PATHS]
    figure = new_figure(1.5 * (most + 1), 1.8 * len(shown) + 0.3)
    grid = figure.subplots(len(shown), most + 1, squeeze=False)
    for line, name in zip(grid, shown, strict=True):
        for axes in line:
            axes.axis("off")
        line[0].axis("on")
        picture(line[0], references[names.index(name)], f"photograph {name[-12:]}")
        for axes, i in zip(line[1:], [i for i, row in enumerate(rows) if row["reference"] == name], strict=False):
            axes.axis("on")
            row = rows[i]
            text = f"{row['start']}: {row['distance']:.2f} | {row['validator_distance']:.2f}\nSSIM {row['ssim']:.2f}"
            picture(axes, pixels[i], text, colour="black" if row["metamer"] else "tab:red")
    pairs = record["photographs"]
    typical = f"{pairs['distance']['median']:.2f} | {pairs['validator_distance']['median']:.2f}"
    figure.suptitle(f"response distance by encoder | validator [natural SDs]; two photographs: {typical}", fontsize=7)
    return figure


def diverse_figure(record: dict[str, Any], pixels: Pixels, *, best: Pixels, fields: Any) -> Figure:
    """One row per site: the best image with its receptive field, the set, and the diversity index with its null."""
    sites = record["sites"][:PATHS]
    most = min(8, max(site["images"] for site in sites))
    figure = new_figure(1.25 * (most + 1) + 2.2, 1.5 * len(sites) + 0.3)
    grid = figure.subplots(len(sites), most + 2, squeeze=False, width_ratios=[1] * (most + 1) + [1.6])
    at = 0
    for s, (line, site) in enumerate(zip(grid, sites, strict=True)):
        picture(line[0], best[s], f"best {site['best_z']:.1f}")
        line[0].contour(fields[s], levels=[0.5], colors="yellow", linewidths=0.8)
        line[0].set_ylabel(site["site"], fontsize=8)
        for i in range(most):
            axes = line[1 + i]
            if i < site["images"]:
                row = site["rows"][i]
                colour = "black" if row["kept"] else "tab:red"
                picture(axes, pixels[at + i], f"{row['z']:.1f} | {row['validator_z']:.1f}", colour=colour)
            else:
                axes.axis("off")
        at += site["images"]
        plot = line[-1]
        for kind, place in (("simple", 0), ("complex", 1)):
            values = [float("nan") if value is None else value for value in site["null"][kind]]
            plot.plot(values, [place] * len(values), "o", ms=3, color="0.5")
        if site["distance"] is not None:
            plot.axvline(site["distance"], color="tab:blue")
        index = "none" if site["index"] is None else f"{site['index']:.2f}"
        plot.set_title(f"index {index}", fontsize=7)
        plot.set_yticks([0, 1], ["simple", "complex"], fontsize=6)
        plot.set_ylim(-0.6, 1.6)
        plot.tick_params(axis="x", labelsize=6)
    grid[-1][-1].set_xlabel("mean distance in the field [pixel value]", fontsize=6)
    return figure
