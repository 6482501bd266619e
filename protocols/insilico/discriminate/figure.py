"""The figure of a set of types: the images, what they evoke in each cluster, and in each site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arrays import Floats, Ints, Pixels
from protocols.disk.drawing import new_figure

from .found import Found, type_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure_of(found: Found) -> Figure:
    """Images on top; below the mean response of every cluster to every image, by the encoder and by the validator, and
    that of every site by the validator; in natural SDs.
    """
    best = found.clustering.best
    z = best.z if best.validator_z is None else best.validator_z
    count = len(best.batch)
    figure = new_figure(max(7.5, 1.25 * count + 2.5), 6.2)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 2.2])
    top, bottom = parts
    axes = np.atleast_1d(top.subplots(1, count))
    for c in range(count):
        _image(axes[c], best.batch.images[c], f"{type_name(c)}\n{int((best.labels == c).sum())} sites")
    left, middle, right = bottom.subplots(1, 3)
    largest = float(max(np.abs(cluster_means(x, best.labels)).max() for x in (best.z, z)))
    _matrix(left, cluster_means(best.z, best.labels), "the encoder that made them", largest=largest)
    _matrix(middle, cluster_means(z, best.labels), "the validator", largest=largest)
    left.set_ylabel("cluster (mean of its sites)")
    order = np.argsort(best.labels, kind="stable")
    shown = right.imshow(z[:, order].T, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    for edge in np.flatnonzero(np.diff(best.labels[order])) + 0.5:
        right.axhline(edge, color="black", linewidth=0.8)
    right.set(title="every site, the validator", xlabel="image", yticks=[])
    right.set_xticks(range(count), [str(c + 1) for c in range(count)])
    right.set_ylabel(f"{z.shape[1]} sites, by cluster")
    figure.colorbar(shown, ax=[left, middle, right], label="response (natural SDs)", shrink=0.8)
    return figure


def cluster_means(z: Floats, labels: Ints) -> Floats:
    """Mean response of every cluster to every image, (clusters, images), of z (images, sites)."""
    return np.stack([z[:, labels == c].mean(1) for c in range(len(z))])


def _image(axes: Axes, image: Pixels, title: str) -> None:
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _matrix(axes: Axes, means: Floats, title: str, *, largest: float) -> None:
    axes.imshow(means, cmap="RdBu_r", vmin=-largest, vmax=largest)
    size = 8 if len(means) <= 6 else 6
    for row, values in enumerate(means):
        for column, value in enumerate(values):
            ink = "white" if abs(value) > 0.6 * largest else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=size, color=ink)
    numbers = [str(c + 1) for c in range(len(means))]
    axes.set_xticks(range(len(means)), numbers)
    axes.set_yticks(range(len(means)), numbers)
    axes.set(title=title, xlabel="image")
