"""The map of the array: sites at the positions of their electrodes, coloured by any number of the table."""

from __future__ import annotations

import math
from typing import Any

from protocols.project.folder import Project

from .site import NO_SITE
from .site_table import Material, table_of
from .view import clean, nothing

__all__ = ["array_map"]


def array_map(project: Project, **_: str) -> dict[str, Any]:
    """Positions of all sites in micrometres, or on a grid where the recordings do not say them, and the table."""
    material = Material.load(project)
    names = material.site_ids
    if not names:
        return nothing(*NO_SITE)
    places = material.places()
    side = math.ceil(math.sqrt(len(names)))
    positions = [places.get(name, (i % side, -(i // side))) for i, name in enumerate(names)]
    note = (
        "Positions of the electrodes, x_um rightwards and y_um upwards, as the responses say them."
        if places
        else "The recordings do not say where every site lies (site/x_um, site/y_um): this is a grid in the order of "
        "the recording, not the array."
    )
    data = {
        "sites": [{"site": n, "x": x, "y": y} for n, (x, y) in zip(names, positions, strict=True)],
        "placed": bool(places),
        "note": note,
        "table": table_of(material),
    }
    return dict(clean(data))
