"""Decoupled triplets of photographs, found in two layers of a network and written as a folder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.backbones import backbone, extract_features, list_layers
from protocols.arrays import Pixels
from protocols.disk.drawing import new_figure
from protocols.disk.files import new_folder, write_json
from protocols.disk.png import write_png
from protocols.disk.tables import write_table
from protocols.disk.toml import nearest
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from synth.comparison.triplets import Matrix, Triplets, coupling, find_triplets, random_coupling, similarity, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TripletOptions", "TripletSet", "find_in_photographs", "triplet_memory", "write_triplets"]

COLUMNS = ("triplet", "root", "first", "second", "high_bin", "low_bin", "sign", "high", "low")
RANDOM_DRAWS = 10
"""Draws of 10,000 random triplets each, for what the two layers share in these photographs."""


@dataclass(frozen=True, kw_only=True)
class TripletOptions:
    """What is asked of a set of triplets.

    Attributes
    ----------
    network : str
        As for `encoders.backbone`.
    high, low : str
        Layers of the network.
    per_cell, bins, seed : as for `synth.comparison.triplets.find_triplets`
    """

    network: str = "offline:efficientnet_lite0"
    high: str = "blocks.6.0"
    low: str = "blocks.1.0"
    per_cell: int = 20
    bins: int = 10
    seed: int = 0


@dataclass(frozen=True)
class TripletSet:
    """Triplets with the photographs that they are made of.

    Attributes
    ----------
    triplets : Triplets
    source_ids : tuple of N str
    pixels : uint8 array of shape (N, H, W, C)
    options : TripletOptions
    spreads : (float, float)
        SD of the similarities in the high and in the low layer, without the diagonal.
    chosen : float
        `coupling` of the triplets.
    random : (float, float)
        Smallest and largest `coupling` of several draws of random triplets.
    """

    triplets: Triplets
    source_ids: tuple[str, ...]
    pixels: Pixels
    options: TripletOptions
    spreads: tuple[float, float]
    chosen: float
    random: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """The set for scripts."""
        found, options = self.triplets, self.options
        return {
            "triplets": len(found),
            "photographs": len(self.source_ids),
            "asked_per_cell": found.asked,
            "network": options.network,
            "high_layer": options.high,
            "low_layer": options.low,
            "seed": options.seed,
            "sd_of_similarity": {"high": self.spreads[0], "low": self.spreads[1]},
            "coupling": self.chosen if len(found) else None,
            "coupling_of_random_triplets": list(self.random),
            "fill": found.fill.tolist(),
        }

    def summary(self) -> str:
        """The set in words, with the table of cells."""
        found, options = self.triplets, self.options
        size = found.asked * found.fill.size
        lines = [
            f"{len(found)} triplets of {size} asked for; {len(self.source_ids)} photographs, each used once at most",
            f"high: {options.high}, low: {options.low} of {options.network}",
            f"the two layers agree in random triplets by {self.random[0]:.2f} to {self.random[1]:.2f}, in these by "
            f"{self.chosen:+.2f} (0: decoupled)"
            if len(found)
            else "no pair of photographs fits any cell",
            f"triplets per cell, of {found.asked}; difference in halves of an SD, down: high layer, across: low layer",
        ]
        lines.append("      " + "".join(f"{c + 1:>4}" for c in range(found.fill.shape[1])))
        lines += [f"  {b + 1:>3} " + "".join(f"{n:>4}" for n in row) for b, row in enumerate(found.fill.tolist())]
        return "\n".join(lines)


def triplet_memory(photographs: int) -> int:
    """Bytes that the two tables of similarities of so many photographs take, beside their features: 2 x 4 N^2."""
    return 2 * 4 * photographs**2


def find_in_photographs(
    project: Project,
    options: TripletOptions,
    *,
    images: Path | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> TripletSet:
    """Triplets among the photographs of `project`, or of the folder `images`, brought to the project's display.

    Raises
    ------
    DataError
        V50: a network or a layer that is not there; P05 to P09: a folder of photographs that cannot be used.
    """
    net = _network(options)
    source_ids, pixels = _photographs(project, images, progress)
    found = extract_features(net, pixels, device=device, progress=progress)
    high, low = (similarity(found[name].flatten(1).numpy()) for name in (options.high, options.low))
    del found
    triplets = find_triplets(high, low, per_cell=options.per_cell, bins=options.bins, seed=options.seed)
    return TripletSet(
        triplets=triplets,
        source_ids=source_ids,
        pixels=pixels,
        options=options,
        spreads=(spread(high), spread(low)),
        chosen=coupling(triplets.high, triplets.low),
        random=_random(high, low, options.seed),
    )


def _random(high: Matrix, low: Matrix, seed: int) -> tuple[float, float]:
    values = [random_coupling(high, low, seed=seed + i) for i in range(RANDOM_DRAWS)]
    return min(values), max(values)


def _photographs(project: Project, images: Path | None, progress: Reporter | None) -> tuple[tuple[str, ...], Pixels]:
    if images is None:
        own = NaturalImages.load(project.data)
        return own.source_ids, own.pixels()
    with tempfile.TemporaryDirectory() as folder:
        given = import_photographs(images, project.display, Path(folder), progress=progress)
        return given.source_ids, given.pixels()


def _network(options: TripletOptions) -> Any:
    """The network with both layers."""
    if options.high == options.low:
        raise _refused(
            options, f"the layer {options.high!r} twice", "two layers", cause="the same name was given twice"
        )
    try:
        known = list_layers(options.network)
    except (ValueError, OSError, RuntimeError) as error:
        cause = "a slip of the pen, or a library or weights that are not here"
        raise _refused(options, str(error), "a network that is installed", cause=cause) from error
    for name in (options.high, options.low):
        if name not in known:
            near = nearest(name, known)
            expected = "one of its layers" + (f" (nearest: {near})" if near else f", such as {', '.join(known[1:6])}")
            raise _refused(options, f"the layer {name!r}", expected, cause="a slip of the pen, or another network")
    return backbone(options.network, (options.high, options.low))


def _refused(options: TripletOptions, found: str, expected: str, *, cause: str) -> DataError:
    return DataError(
        options.network,
        found=found,
        expected=expected,
        cause=cause,
        fix="name layers of this network with --high and --low, or another network with --network",
        code="V50",
    )


def write_triplets(found: TripletSet, out: Path) -> Path:
    """Write ``triplets.csv``, ``triplets.json``, ``images/*.png`` (only those that are used) and two figures into a new
    folder.
    """
    triplets, names = found.triplets, found.source_ids
    rows = [
        [f"triplet_{t + 1:04d}", *(names[i] for i in images), *bins, sign, f"{high:.4f}", f"{low:.4f}"]
        for t, (images, bins, sign, high, low) in enumerate(
            zip(
                triplets.images.tolist(),
                triplets.bins.tolist(),
                triplets.sign.tolist(),
                triplets.high.tolist(),
                triplets.low.tolist(),
                strict=True,
            )
        )
    ]
    with new_folder(out) as folder:
        write_table(folder / "triplets.csv", COLUMNS, rows)
        write_json(folder / "triplets.json", found.to_dict())
        for i in sorted(set(triplets.images.ravel().tolist())):
            write_png(folder / "images" / f"{names[i]}.png", found.pixels[i])
        fill_figure(found).savefig(folder / "triplets.png", dpi=110)
    return out


def fill_figure(found: TripletSet) -> Figure:
    """Some triplets on the left, the table of cells on the right."""
    triplets = found.triplets
    figure = new_figure(10, 4.4)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 1.15])
    left, right = parts
    shown: Any = np.linspace(0, len(triplets) - 1, min(5, len(triplets))).astype(int) if len(triplets) else []
    grid = left.subplots(max(1, len(shown)), 3, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for line, t in enumerate(shown):
        for column, i in enumerate(triplets.images[t]):
            image = found.pixels[i]
            grid[line][column].imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        sign = ("second\n" if line == 0 else "", "+" if triplets.sign[t] > 0 else "-")
        grid[line][2].set_title(
            f"{sign[0]}high {triplets.bins[t, 0]}, low {sign[1]}{triplets.bins[t, 1]}", fontsize=6, pad=1
        )
    for axes, title in zip(grid[0], ("root", "first", ""), strict=True):
        if title:
            axes.set_title(title, fontsize=7, pad=2)
    axes = right.subplots()
    shown_table = axes.imshow(triplets.fill, vmin=0, vmax=triplets.asked, cmap="Greys", origin="lower")
    axes.set_xticks(range(triplets.fill.shape[1]), [str(c + 1) for c in range(triplets.fill.shape[1])])
    axes.set_yticks(range(triplets.fill.shape[0]), [str(b + 1) for b in range(triplets.fill.shape[0])])
    axes.set_xlabel("difference in the low layer, halves of an SD")
    axes.set_ylabel("difference in the high layer, halves of an SD")
    right.colorbar(shown_table, ax=axes, label=f"triplets found, of {triplets.asked}")
    return figure
