"""What a map says of sites before all else: axes that are sites together, their order, how numbers are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.importing.containers import Item

from .refusals import bad_value
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
