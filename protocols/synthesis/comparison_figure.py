"""The figure of a comparison of generators: pairs of images above, numbers below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.disk.drawing import new_figure

from .image_statistics import WAVELENGTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .comparison import GeneratorComparison

COLOURS = {"gradient": "#b2182b", "gradient_matched": "#ef8a62", "diffusion": "#2166ac", "unguided": "#999999"}
PAIRS = 8


def generator_figure(comparison: GeneratorComparison) -> Figure:
    """One column per target above (the image that the validator chooses, one row per generator); drive, naturalness and
    time below.
    """
    generators = comparison.generators
    chosen = [images.batch.best_indices()[:PAIRS] for images in generators]
    columns = max(len(c) for c in chosen)
    height = 1.25 * len(generators) + 3.2
    figure = new_figure(11, height)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.25 * len(generators), 3.2])
    above, below = parts
    grid = above.subplots(len(generators), columns, squeeze=False)
    for line, images in enumerate(generators):
        for column in range(columns):
            axes = grid[line][column]
            axes.set_xticks([])
            axes.set_yticks([])
            for side in axes.spines.values():
                side.set_color(COLOURS[images.name])
            if column >= len(chosen[line]):
                axes.axis("off")
                continue
            i = chosen[line][column]
            image = images.batch.images[i]
            axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            axes.set_xlabel(f"{images.batch.scores[i]:.1f}", fontsize=7, labelpad=1)
            if line == 0:
                axes.set_title(f"{images.batch.kinds[i]}\n{images.batch.targets[i]}", fontsize=7)
            if column == 0:
                axes.set_ylabel(images.name.replace("_", "\n"), fontsize=8, color=COLOURS[images.name])
    panels = below.subplots(1, 5)
    _drive(panels[0], comparison)
    _bars(panels[1], comparison, "slope", title="spectrum slope")
    _bars(panels[2], comparison, f"kurtosis_{WAVELENGTHS[0]}", title=f"Gabor kurtosis, {WAVELENGTHS[0]} px")
    _bars(panels[3], comparison, "distance", title="distance from fitted images\n(medians of theirs)")
    _bars(panels[4], comparison, "seconds", title="seconds per image")
    return figure


def _drive(axes: Any, comparison: GeneratorComparison) -> None:
    """Score by the encoder that was climbed against score by the validator, every image in its generator's colour."""
    kinds = comparison.generators[0].batch.kinds
    for kind, shape in zip(
        dict.fromkeys(kinds), "os^vDP*X", strict=False
    ):  # scores of different kinds have different units
        own = np.array([k == kind for k in kinds])
        axes.plot(
            comparison.best_natural[own], comparison.best_natural_by_validator[own], "+", color="#4d4d4d", zorder=3
        )
        for images in comparison.generators:
            judged = images.batch.validator_scores
            if judged is not None:
                axes.plot(
                    images.batch.scores[own], judged[own], shape, color=COLOURS[images.name], alpha=0.6, markersize=3
                )
        axes.plot([], [], shape, color="#4d4d4d", markersize=4, label=kind)
    axes.plot([], [], "+", color="#4d4d4d", label="best photograph")
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], "-", color="#cccccc", zorder=0)
    axes.set_xlabel("predicted drive (score)")
    axes.set_ylabel("validator's prediction")
    axes.legend(fontsize=6, frameon=False)


def _bars(axes: Any, comparison: GeneratorComparison, name: str, *, title: str) -> None:
    """One bar per generator, its interval where it has one, and the photographs' value as a line."""
    for place, (generator, values) in enumerate(comparison.summary.items()):
        value = values.get(name)
        level = value.get("value") if isinstance(value, dict) else value
        if level is None:
            continue
        axes.bar(place, level, color=COLOURS[generator], width=0.7)
        if isinstance(value, dict):
            axes.plot([place, place], [value["low"], value["high"]], "-", color="black", linewidth=1)
    natural = comparison.natural.get(name)
    if isinstance(natural, dict):
        axes.axhline(natural["value"], color="#4d4d4d", linestyle="--", linewidth=1)
        axes.text(-0.5, natural["value"], "photographs", fontsize=6, va="bottom")
    axes.set_xticks(
        range(len(comparison.summary)), [n.replace("_", "\n") for n in comparison.summary], rotation=60, fontsize=7
    )
    axes.set_title(title, fontsize=8)
