"""Site by site: best and worst photographs, best controllers, and the photographs nearest to these."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from encoders.analysis.neighbours import nearest
from encoders.fields.receptive_field import ReceptiveField
from protocols.project.display import Display

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
    up = [k for k in own if material.controllers[k].kind != "suppress"]
    down = [k for k in own if material.controllers[k].kind == "suppress"]
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


def _box(material: Material, v: int, display: Display, *, spaces: dict[str, tuple[np.ndarray, np.ndarray]]) -> Box:
    z, column = material.measured[:, v], int(material.columns[v])
    ids, order = material.opened.source_ids, np.argsort(-z, kind="stable")
    predicted = material.natural.predicted[:, column]

    def photographs(indices: np.ndarray, what: str) -> tuple[Shown, ...]:
        return tuple(
            Shown(
                ids[i],
                f"{what} photograph of {material.sites[v]}",
                (f"predicted {predicted[i]:+.1f}", f"measured {z[i]:+.1f}"),
            )
            for i in indices
        )

    best = best_controllers(material, v)
    controllers = tuple(
        Shown(
            material.controllers[k].name,
            f"controller of {material.sites[v]}, {material.controllers[k].kind}",
            (
                material.controllers[k].kind,
                f"predicted {material.made.predicted[k, column]:+.1f}",
                f"validator {material.checked[k, column]:+.1f}",
            ),
        )
        for k in best
    )
    found: list[Neighbour] = []
    rows = [("highest measured", photographs(order[:SHOWN], "best"))]
    rows += [("lowest measured", photographs(order[::-1][:SHOWN], "worst"))]
    if best:
        rows += [("controllers", controllers)]
        for space, (made, natural) in spaces.items():
            indices, distances = nearest(
                made[best], natural, min(SHOWN, len(natural)), metric="cosine" if space == "features" else "correlation"
            )
            found += [
                Neighbour(material.controllers[k].name, ids[i], space, rank + 1, float(d), float(z[i]))
                for k, own, far in zip(best, indices.tolist(), distances.tolist(), strict=True)
                for rank, (i, d) in enumerate(zip(own, far, strict=True))
            ]
            rows += [
                (
                    f"nearest in {space}",
                    tuple(
                        Shown(ids[i], f"photograph nearest in {space}", (f"distance {d:.2f}", f"measured {z[i]:+.1f}"))
                        for i, d in zip(indices[0].tolist(), distances[0].tolist(), strict=True)
                    ),
                )
            ]
    return Box(
        site=material.sites[v],
        ellipse=outline(material.fields[v], display),
        rows=tuple(rows),
        controllers=tuple(material.controllers[k].name for k in best),
        neighbours=tuple(found),
    )


def _flat(pixels: np.ndarray) -> np.ndarray:
    """Grey pixels (N, H * W), of images uint8 (N, H, W, C)."""
    return np.asarray(pixels.mean(3).reshape(len(pixels), pixels.shape[1] * pixels.shape[2]), np.float64)
