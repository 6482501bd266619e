"""The picture of a preview: images beside the responses that the import gives them, and the PSTH."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.drawing import new_figure
from protocols.disk.files import write_atomically
from protocols.disk.pictures import open_picture
from protocols.project.photograph_import import source_id
from protocols.project.picture_files import UNREADABLE
from protocols.recordings.responses import Responses

from .contract import Psth
from .recording import Imported

ENDS, SITES = 5, 4
THUMBNAIL_PX = 128


def draw(path: Path, made: Imported) -> None:
    """Ten images, the five with the highest and the five with the lowest response of one site, and their responses.

    Parameters
    ----------
    path : Path
        PNG to write.
    made : Imported
        Without pictures the names of the images stand in place of thumbnails.
    """
    responses, pictures = made.responses, made.pictures
    ids = sorted(set(responses.image_ids.tolist()) - {""})
    means = responses.mean(ids)  # (N, U)
    sites = telling_sites(responses, means)
    chosen = extremes(means[:, sites[0]]) if sites else []
    files = (
        {} if pictures is None else {source_id(name): p for name, p in zip(pictures.names, pictures.paths, strict=True)}
    )
    psth = made.table.psth
    figure = new_figure(13.0, 5.0 if psth is None else 8.0)
    grid = figure.add_gridspec(2 if psth is None else 3, max(len(chosen), 1))
    for column, image in enumerate(chosen):
        axes = figure.add_subplot(grid[0, column])
        _thumbnail(axes, files.get(ids[image]))
        name = responses.site_ids[sites[0]]
        end = {0: f"\n{name}: highest", len(chosen) - 1: f"\n{name}: lowest"}.get(column, "")
        title = f"{means[image, sites[0]]:.3g}{end}"
        axes.set_title(title, fontsize=8)
        axes.set_xlabel(_short(ids[image]), fontsize=6)
    _bars(figure.add_subplot(grid[1, :]), means, chosen, sites=sites, responses=responses, ids=ids)
    if psth is not None:
        _against_time(figure.add_subplot(grid[2, :]), psth, responses=responses, sites=sites)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=90))


def telling_sites(responses: Responses, means: Floats) -> list[int]:
    """The sites whose mean responses differ most between images, over the spread of single presentations."""
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = means - _mean(means)
        between = _mean(centred**2)
        spread = _mean((responses.values - _mean(responses.values)) ** 2)
        score = np.where(spread > 0, between / spread, -1.0)
    score = np.nan_to_num(score, nan=-1.0)
    if responses.averaged_over is not None:  # nothing is known of single presentations
        score = np.nan_to_num(between, nan=-1.0)
    return [int(site) for site in np.argsort(-score, kind="stable")[:SITES]]


def _mean(values: Floats) -> Floats:
    """Mean over the first axis, NaN left out; 0 where nothing is known."""
    known = np.isfinite(values)
    sums: Floats = np.where(known, values, 0.0).sum(axis=0)
    means: Floats = np.divide(sums, known.sum(axis=0), out=np.zeros_like(sums), where=known.any(axis=0))
    return means


def extremes(means: Floats) -> list[int]:
    """Positions of the images with the highest and the lowest mean responses, highest first."""
    order = [int(i) for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])]
    return order if len(order) <= 2 * ENDS else [*order[:ENDS], *order[-ENDS:]]


def _thumbnail(axes: Any, path: Path | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if path is None:
        return
    try:
        with open_picture(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            axes.imshow(np.asarray(small))
    except UNREADABLE:
        axes.text(0.5, 0.5, "cannot be read", ha="center", fontsize=6)


def _bars(
    axes: Any, means: Floats, chosen: Sequence[int], *, sites: Sequence[int], responses: Responses, ids: Sequence[str]
) -> None:
    width = 0.8 / max(len(sites), 1)
    for number, site in enumerate(sites):
        places = np.arange(len(chosen)) + (number - (len(sites) - 1) / 2) * width
        axes.bar(places, means[list(chosen), site], width, label=responses.site_ids[site])
    axes.set_xticks(range(len(chosen)), [_short(ids[i]) for i in chosen], fontsize=6)
    axes.set_ylabel(f"mean response ({responses.unit})", fontsize=8)
    if sites:
        axes.legend(fontsize=6, frameon=False)


def _against_time(axes: Any, psth: Psth, *, responses: Responses, sites: Sequence[int]) -> None:
    for site in sites:
        axes.stairs(psth.values[site], psth.edges_ms, label=responses.site_ids[site])
    axes.stairs(_mean(psth.values), psth.edges_ms, color="black", label="all sites")
    if responses.window_ms is not None:
        axes.axvspan(*responses.window_ms, color="grey", alpha=0.2, label="response window")
    axes.axvline(0.0, color="grey", linewidth=0.8)
    axes.set_xlabel("ms after image onset", fontsize=8)
    axes.set_ylabel("spikes/s" if responses.unit == "spikes" else responses.unit, fontsize=8)
    axes.legend(fontsize=6, frameon=False)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:7]}..{name[-7:]}"
