"""Site by site: best and worst photographs, best controllers, and the photographs nearest to these."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from encoders.analysis.neighbours import Metric, nearest
from encoders.fields.receptive_field import ReceptiveField
from protocols.arrays import Floats, Ints, Pixels
from protocols.project.display import Display
from protocols.project.objectives import OBJECTIVES

from .material import Material

SHOWN = 3
"""Images of a kind that are shown per site."""


@dataclass(frozen=True)
class Ellipse:
    """Outline of a receptive field (1 SD) in pixels from the upper left corner; `turn` in degrees, clockwise."""

    x: float
    y: float
    major: float
    minor: float
    turn: float


@dataclass(frozen=True)
class Shown:
    """An image of a site: its id, what it is, and numbers below it."""

    image: str
    what: str
    text: tuple[str, ...]


@dataclass(frozen=True)
class Neighbour:
    """A photograph near a controller.

    Attributes
    ----------
    controller, image : str
    space : str
        "features" or "pixels".
    rank : int
        1 = nearest.
    distance : float
        1 - cosine of standardised features; 1 - correlation of pixels.
    measured : float
        Response of the controller's site to the photograph, in natural SDs.
    """

    controller: str
    image: str
    space: str
    rank: int
    distance: float
    measured: float


@dataclass(frozen=True)
class Box:
    """One site: its receptive field, rows of images under a name, and the neighbours of its best controllers."""

    site: str
    ellipse: Ellipse | None
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]
    controllers: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]


def site_boxes(material: Material) -> tuple[Box, ...]:
    """One box per site."""
    display = material.opened.project.display
    features, made = material.standardised
    flat = _flat(material.opened.natural)
    pixels = np.stack([c.pixels for c in material.controllers]) if material.controllers else material.opened.natural[:0]
    return tuple(
        _box(material, v, display, spaces={"features": (made, features), "pixels": (_flat(pixels), flat)})
        for v in range(len(material.sites))
    )


def best_controllers(material: Material, v: int) -> list[int]:
    """Controllers of a site by what the encoder predicts, highest first; those that suppress it last, lowest first."""
    column = int(material.columns[v])
    own = [k for k, c in enumerate(material.controllers) if c.site == material.sites[v]]
    down = [k for k in own if OBJECTIVES[material.controllers[k].kind].below]
    up = [k for k in own if k not in down]
    predicted = material.made.predicted[:, column] if own else np.zeros(0)
    return sorted(up, key=lambda k: -predicted[k])[:SHOWN] + sorted(down, key=lambda k: predicted[k])[:SHOWN]


def outline(field: ReceptiveField, display: Display) -> Ellipse | None:
    """The ellipse of 1 SD of a receptive field in pixels of the display; None where it is unknown."""
    if field.reason or not math.isfinite(field.x_deg):
        return None
    scale = display.px_per_deg
    return Ellipse(
        x=display.width_px / 2 + field.x_deg * scale,
        y=display.height_px / 2 - field.y_deg * scale,
        major=field.sd_major_deg * scale,
        minor=field.sd_minor_deg * scale,
        turn=-field.orientation_deg,
    )


Spaces = dict[str, tuple[Floats, Floats]]
"""Controllers (K, P) and photographs (N, P) in each space."""


def _box(material: Material, v: int, display: Display, *, spaces: Spaces) -> Box:
    z = material.measured[:, v]
    ids, order = material.opened.source_ids, np.argsort(-z, kind="stable")
    predicted = material.natural.predicted[:, int(material.columns[v])]

    def photographs(indices: Ints, what: str) -> tuple[Shown, ...]:
        return tuple(
            Shown(
                ids[i],
                f"{what} photograph of {material.sites[v]}",
                (f"predicted {predicted[i]:+.1f}", f"measured {z[i]:+.1f}"),
            )
            for i in indices
        )

    best = best_controllers(material, v)
    rows = [("highest measured", photographs(order[:SHOWN], "best"))]
    rows += [("lowest measured", photographs(order[::-1][:SHOWN], "worst"))]
    found = (
        [n for space in spaces for n in _neighbours(material, v, best, space=space, rows=spaces[space])] if best else []
    )
    if best:
        rows += [("controllers", tuple(_controller(material, v, k) for k in best))]
    for space in spaces if best else ():
        near = [n for n in found if n.space == space and n.controller == material.controllers[best[0]].name]
        what = f"photograph nearest in {space}"
        shown = (Shown(n.image, what, (f"distance {n.distance:.2f}", f"measured {n.measured:+.1f}")) for n in near)
        rows += [(f"nearest in {space}", tuple(shown))]
    return Box(
        site=material.sites[v],
        ellipse=outline(material.fields[v], display),
        rows=tuple(rows),
        controllers=tuple(material.controllers[k].name for k in best),
        neighbours=tuple(found),
    )


def _controller(material: Material, v: int, k: int) -> Shown:
    made, column = material.controllers[k], int(material.columns[v])
    numbers = (
        made.kind,
        f"predicted {material.made.predicted[k, column]:+.1f}",
        f"validator {material.checked[k, column]:+.1f}",
    )
    return Shown(made.name, f"controller of {material.sites[v]}, {made.kind}", numbers)


def _neighbours(
    material: Material, v: int, best: list[int], *, space: str, rows: tuple[Floats, Floats]
) -> list[Neighbour]:
    """The photographs nearest to each of the controllers `best` in one space."""
    made, natural = rows
    metric: Metric = "cosine" if space == "features" else "correlation"
    indices, distances = nearest(made[best], natural, min(SHOWN, len(natural)), metric=metric)
    return [
        Neighbour(
            controller=material.controllers[k].name,
            image=material.opened.source_ids[i],
            space=space,
            rank=rank + 1,
            distance=float(d),
            measured=float(material.measured[i, v]),
        )
        for k, own, far in zip(best, indices.tolist(), distances.tolist(), strict=True)
        for rank, (i, d) in enumerate(zip(own, far, strict=True))
    ]


def _flat(pixels: Pixels) -> Floats:
    """Grey pixels (N, H * W), of images uint8 (N, H, W, C)."""
    return np.asarray(pixels.mean(3).reshape(len(pixels), pixels.shape[1] * pixels.shape[2]), np.float64)
