"""What a map says of sites before all else: axes that are sites together, their order, how numbers are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.importing.containers import Item

from .refusals import bad_value, misfit
from .sources import Place, whole
from .tables import Axis, ImportMap


def scaled(told: ImportMap, item: Item, stored: dict[str, Any], *, where: str) -> dict[str, Any]:
    """What says how the numbers are stored, with the map's scale; the file's own and the map's exclude each other.

    Raises
    ------
    DataError
        A26
    """
    scale = told.responses.scale if told.responses is not None else None
    if scale is None:
        return stored
    if "scale_factor" in item.attributes:
        raise bad_value(
            f"{where} scale_factor",
            f"{item.attributes['scale_factor']}, and scale = {scale} in the map",
            "one of both",
            fix="leave responses.scale out of the map: the file says it itself",
        )
    return {**stored, "scale_factor": scale}


def sites_together(values: NDArray[Any], axes: list[Axis]) -> tuple[NDArray[Any], list[Axis]]:
    """Neighbouring axes of sites (voxels along x, y, z) as one axis, the last running fastest."""
    count = axes.count("site")
    if count < 2:
        return values, axes
    first = axes.index("site")
    flat = values.reshape(*values.shape[:first], -1, *values.shape[first + count :])
    return flat, [*axes[:first], "site", *axes[first + count :]]


def site_order(told: ImportMap, place: Place, count: int, *, notes: list[str]) -> Ints | None:
    """Positions (U,) of the sites in the order that the map asks for; None: as they stand.

    Raises
    ------
    DataError
        A21: another number of positions than sites; A26: not every site once.
    """
    if told.site.order is None:
        return None
    base, where = int(told.site.order_counted_from or 0), f"{place.name} site.order"
    places = whole(place.values(told.site.order, lengths=(count,), where="site.order"), where) - base
    if not np.array_equal(np.sort(places), np.arange(count)):
        raise bad_value(
            where,
            f"{len(np.unique(places))} different positions from {places.min() + base} to {places.max() + base}",
            f"each of the {count} sites once, counted from {base}",
            fix="correct order_counted_from, or name the list of positions",
        )
    notes.append(f"{place.name}: the sites were put in the order of {told.site.order.text()}")
    return places


def refuse_exchanged(values: NDArray[Any], where: str) -> None:
    """Refuse images x repeats x sites (x bins) whose missing numbers say that repeats and sites were exchanged.

    Repeats that an image lacks are missing at every site, at the end of the axis. Where instead the last "sites" of an
    image are missing in every "repeat", and another number of them for other images, the axes are named in the wrong
    order.

    Raises
    ------
    DataError
        A20
    """
    if values.dtype.kind != "f" or min(values.shape[1:3]) < 2:
        return
    missing = np.isnan(values).reshape(*values.shape[:3], -1).all(axis=-1)
    if not missing.any() or not (missing == missing[:, :1]).all():
        return
    each = missing[:, 0]
    if (np.diff(each.astype(np.int8), axis=1) >= 0).all() and len(np.unique(each.sum(axis=1))) > 1:
        raise misfit(
            where,
            f"for every image, the last of {values.shape[2]} sites without any number, and another number of them for "
            "other images",
            "missing repeats: numbers that are missing at every site",
            fix='exchange "site" and "repeat" in axes',
        )
