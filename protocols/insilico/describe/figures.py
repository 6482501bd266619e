"""Figures of a description: a montage, the map of feature space, clusters, layers, percentiles of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.analysis.neighbours import Embedding
from encoders.analysis.percentiles import THRESHOLDS
from protocols.arrays import Floats, Pixels
from protocols.disk.drawing import new_figure, short_label

from .boxes import Box
from .material import Material
from .reading import Clusters, Layers, depths
from .wording import Wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THUMBNAILS, PANELS, ROWS = 70, 24, 8
MARK = "#ffd60a"


def montage(boxes: Sequence[Box], images: Mapping[str, Pixels]) -> Figure:
    """One row per site: its images side by side, each with the receptive field outlined; the number above is measured,
    of controllers predicted by the validator.
    """
    from matplotlib.patches import Ellipse as Outline

    names = [name for name, _ in max(boxes, key=lambda b: len(b.rows)).rows]
    widths = [max((len(dict(b.rows).get(name, ())) for b in boxes), default=0) for name in names]
    starts = [sum(widths[:i]) + 0.4 * i + 0.3 for i in range(len(names))]
    across, down = starts[-1] + widths[-1] + 0.05, 1.22 * len(boxes) + 0.45
    figure = new_figure(0.82 * across, 0.82 * down)
    figure.set_layout_engine("none")

    def place(x: float, y: float) -> tuple[float, float]:
        return x / across, 1 - y / down

    for name, start in zip(names, starts, strict=True):
        figure.text(*place(start, 0.22), name, fontsize=7)
    for r, box in enumerate(boxes):
        figure.text(
            *place(0.15, 1.22 * r + 1.0), short_label(box.site), rotation=90, ha="center", va="center", fontsize=8
        )
        for name, start in zip(names, starts, strict=True):
            for i, shown in enumerate(dict(box.rows).get(name, ())):
                x, y = place(start + i, 1.22 * r + 1.5)
                axes = figure.add_axes((x, y, 0.95 / across, 0.95 / down))
                axes.axis("off")
                _picture(axes, images[shown.image])
                axes.set_title(shown.text[-1].split()[-1], fontsize=6, pad=1)
                if box.ellipse is not None:
                    e = box.ellipse
                    axes.add_patch(
                        Outline((e.x, e.y), 2 * e.major, 2 * e.minor, angle=e.turn, fill=False, color=MARK, lw=0.8)
                    )
    return figure


def space_map(embedding: Embedding, made: Floats, pixels: Pixels) -> Figure:
    """Photographs where their features lie, by the first two components, and controllers as points (K, 2)."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    figure = new_figure(7.2, 5.6)
    axes = figure.subplots()
    points = embedding.coordinates
    axes.scatter(points[:, 0], points[:, 1], s=4, color="#bbbbbb", label=f"{len(points)} photographs")
    for i in apart(points, THUMBNAILS):
        picture = pixels[i][..., 0] if pixels.shape[-1] == 1 else pixels[i]
        image = OffsetImage(picture, zoom=30 / max(picture.shape[:2]), cmap="gray")
        axes.add_artist(AnnotationBbox(image, tuple(points[i]), pad=0.05, bboxprops={"lw": 0.3}))
    if len(made):
        axes.scatter(
            made[:, 0],
            made[:, 1],
            s=26,
            marker="D",
            color="#d95f02",
            edgecolor="white",
            lw=0.4,
            label="controllers",
            zorder=5,
        )
    axes.set_xlabel(f"component 1 ({100 * embedding.share[0]:.0f} % of the variance)")
    axes.set_ylabel(f"component 2 ({100 * embedding.share[1]:.0f} %)")
    axes.legend(fontsize=8, frameon=False, loc="best")
    return figure


def site_maps(embedding: Embedding, material: Material, agreement: Floats) -> Figure:
    """One small map per site: colour = measured response, in natural SDs; at most 24 sites, best agreement first."""
    order = np.argsort(-np.nan_to_num(agreement, nan=-1.0), kind="stable")[:PANELS]
    columns = min(6, len(order))
    lines = -(-len(order) // columns)
    figure = new_figure(1.55 * columns + 0.9, 1.55 * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    drawn = None
    for axes, v in zip(grid.flat, order, strict=False):
        z = material.measured[:, v]
        front = np.argsort(np.abs(z), kind="stable")
        points = embedding.coordinates[front]
        drawn = axes.scatter(points[:, 0], points[:, 1], c=z[front], s=5, cmap="RdBu_r", vmin=-2.5, vmax=2.5, lw=0)
        axes.set_title(f"{short_label(material.sites[v])}, r = {agreement[v]:.2f}", fontsize=7, pad=2)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid, shrink=0.6, aspect=30)
        bar.set_label("measured response (natural SD)", fontsize=8)
    return figure


def cluster_figure(clusters: Clusters) -> Figure:
    """Similarity of the sites by cluster, and how far each number of clusters stands out from one cloud."""
    figure = new_figure(8.4, 3.6)
    left, right = figure.subplots(1, 2)
    order = clusters.order
    drawn = left.imshow(clusters.similarity[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(drawn, ax=left, shrink=0.8).set_label("correlation of predicted responses", fontsize=8)
    both = (("weights", clusters.by_weights, "#1b7837"), ("responses", clusters.by_responses, "#762a83"))
    shown = next((s.labels for _, s, _ in both if s is not None and s.k > 1), None)
    for edge in () if shown is None else np.flatnonzero(np.diff(shown[order])) + 0.5:
        left.axhline(edge, color="black", lw=0.8)
        left.axvline(edge, color="black", lw=0.8)
    left.set_xlabel("sites")
    left.set_ylabel("sites, by cluster" if shown is not None else "sites")
    for name, found, colour in both:
        if found is not None:
            x, y = (np.array(part, dtype=float) for part in zip(*found.excess.items(), strict=True))
            kept = np.isfinite(y)
            right.plot(x[kept], y[kept], "o-", color=colour, label=f"by {name}: p = {found.p:.2g}")
    if clusters.by_weights is None and clusters.by_responses is None:
        right.axis("off")
        return figure
    right.axhline(0, color="#aaaaaa", lw=0.8)
    right.set_xlabel("number of clusters")
    right.set_ylabel("tighter than one cloud (SD over clouds)")
    right.legend(fontsize=8, frameon=False)
    return figure


def layer_figure(layers: Layers) -> Figure:
    """Variance explained of every site by each layer, and how many sites each layer explains best."""
    from matplotlib.ticker import MaxNLocator

    maps = {"now": layers.now} | ({"before": layers.before} if layers.before is not None else {})
    figure = new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2)
    names = depths(layers.now.layers)
    for u in np.argsort(-np.nanmax(np.nan_to_num(layers.now.explained, nan=-1.0), axis=0)):
        left.plot(layers.now.explained[:, u], "-", color="#555555", alpha=0.35, lw=0.8)
    left.plot(np.nanmean(layers.now.explained, 1), "o-", color="#d95f02", lw=2, label="mean over sites")
    left.set_xticks(range(len(names)), names, fontsize=7)
    left.set_ylabel("share of variance explained")
    left.legend(fontsize=8, frameon=False)
    width = 0.8 / len(maps)
    for i, (name, one) in enumerate(maps.items()):
        counts = [sum(best == layer for best in one.best) for layer in one.layers]
        right.bar(np.arange(len(counts)) + i * width, counts, width, label=name, color=("#d95f02", "#999999")[i])
    right.set_xticks(np.arange(len(names)) + width * (len(maps) - 1) / 2, names, fontsize=7)
    right.set_ylabel("sites that the layer explains best")
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(maps) > 1:
        right.legend(fontsize=8, frameon=False)
    return figure


def word_figure(wording: Wording) -> Figure:
    """Percentiles of the photographs that a site's own words retrieve, beside those of the other sites' words."""
    figure = new_figure(8.4, 3.2)
    for axes, test, title in zip(
        figure.subplots(1, 2), (wording.measured, wording.predicted), ("measured", "predicted"), strict=True
    ):
        own = np.eye(len(test.highest), dtype=bool)
        bins = np.linspace(0, 100, 21).tolist()
        share: dict[str, Any] = {"bins": bins, "alpha": 0.6}
        if len(own) > 1:
            others = test.highest[~own]
            axes.hist(
                others, weights=np.full(len(others), 1 / len(others)), color="#999999", label="others' words", **share
            )
        axes.hist(
            np.diagonal(test.highest),
            weights=np.full(len(own), 1 / len(own)),
            color="#d95f02",
            label="own words",
            **share,
        )
        for threshold in THRESHOLDS[:2]:
            axes.axvline(threshold, color="black", lw=0.6, ls=":")
        axes.set_xlabel(f"percentile of the {title} response")
        axes.set_ylabel("share of sites")
        axes.legend(fontsize=8, frameon=False)
    return figure


def apart(points: Floats, count: int) -> list[int]:
    """Up to `count` points (N, 2), each as far as possible from those before it; the first lies nearest the middle."""
    scaled = (points - points.mean(0)) / np.maximum(points.std(0), 1e-12)
    chosen = [int((scaled**2).sum(1).argmin())]
    distance = ((scaled - scaled[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(count, len(points)) and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((scaled - scaled[chosen[-1]]) ** 2).sum(1))
    return chosen


def _picture(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
