"""Feature accentuation to graded levels: photographs changed until a site's predicted response is at a given level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import finite_or_none, new_folder, write_atomically, write_json
from protocols.disk.tables import write_table
from protocols.insilico.opened import Opened, batch_z
from protocols.insilico.sites import check_sites
from protocols.progress import Reporter
from protocols.stats.line import slope_of
from protocols.synthesis.accentuation import BEYOND, Seeds, at_levels, seed_photographs
from protocols.verdict.levels.shown import TOLERANCE
from synth import StimulusBatch

from .levels_figure import draw
from .made import image_names, write_images

__all__ = ["BEYOND", "Accentuated", "accentuated", "seed_photographs", "slope_of", "write_accentuated"]

COLUMNS = (
    "image", "site", "photograph", "share", "level", "z", "validator_z", "reached", "validator_reached", "distance",
)  # fmt: skip
SITE_COLUMNS = (
    "site", "images", "reached", "validator_reached",
    "slope", "correlation", "validator_slope", "validator_correlation",
)  # fmt: skip


@dataclass(frozen=True)
class Accentuated:
    """Photographs at graded levels.

    Attributes
    ----------
    rows : list of dict
        One per image, keys `COLUMNS`: the level that was asked for, in natural SDs and as a share of the natural range;
        what encoder and validator predict of the 8-bit image; whether that is within the tolerance; the root mean
        squared difference from the photograph as shown, in SDs of the photograph.
    sites : list of dict
        One per site, keys `SITE_COLUMNS`: shares of images that reached their level, and slope and correlation of
        predicted on wanted response.
    batch : StimulusBatch
    tolerance : float
        Share of the span of the levels.
    """

    rows: list[dict[str, Any]]
    sites: list[dict[str, Any]]
    batch: StimulusBatch
    tolerance: float

    def summary(self) -> str:
        """For people: synthesis success per site."""
        lines = [
            f"{len(self.rows)} images; reached: predicted within {self.tolerance:.0%} of the levels' span, after 8 bits"
        ]
        lines += [
            f"  {s['site']}: reached {s['reached']:.0%}, by the validator {s['validator_reached']:.0%}; "
            f"validator against level: slope {s['validator_slope']:.2f}, r {s['validator_correlation']:.2f}"
            for s in self.sites
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "schema": "accentuated/1",
            "tolerance": self.tolerance,
            "levels": list(BEYOND),
            "sites": [finite_or_none(site) for site in self.sites],
        }


def accentuated(
    opened: Opened,
    sites: Sequence[str],
    *,
    levels: int = 8,
    photographs: int = 3,
    steps: int | None = None,
    tolerance: float = TOLERANCE,
    progress: Reporter | None = None,
) -> Accentuated:
    """Several seed photographs of every site, changed until its predicted response is at each of `levels` levels.

    See `protocols.synthesis.accentuation.at_levels`. An image reached its level where the prediction for its 8-bit
    pixels is within `tolerance` of their span.

    Raises
    ------
    DataError
        V41: a site that cannot be controlled.
    """
    chosen = list(sites) or list(opened.targets)
    check_sites(chosen, opened.targets, where="the project")
    default = opened.project.config.synthesis.steps
    found = at_levels(
        opened.encoder,
        opened.validator,
        Seeds(
            natural=opened.natural,
            source_ids=opened.source_ids,
            measured=opened.measured,
            recipe=opened.recipe,
            steps=default if steps is None else steps,
        ),
        sites=chosen,
        levels=levels,
        photographs=photographs,
        tolerance=tolerance,
        progress=progress,
    )
    rows, batch = found.rows, found.batch
    z = batch_z(opened.pair, batch)
    for i, (name, row) in enumerate(zip(image_names(len(rows)), rows, strict=True)):
        column = list(opened.encoder.site_ids).index(row["site"])
        row |= {"image": name, "z": float(z[0][i, column]), "validator_z": float(z[1][i, column])}
        for prefix in ("", "validator_"):
            row[f"{prefix}reached"] = abs(row[f"{prefix}z"] - row["level"]) <= tolerance * row["span"]
    return Accentuated(rows, [_site(rows, site) for site in chosen], batch, tolerance)


def _site(rows: Sequence[dict[str, Any]], site: str) -> dict[str, Any]:
    own = [row for row in rows if row["site"] == site]
    found: dict[str, Any] = {"site": site, "images": len(own)}
    wanted = np.array([row["level"] for row in own])
    for prefix in ("", "validator_"):
        found[f"{prefix}reached"] = float(np.mean([row[f"{prefix}reached"] for row in own]))
        slope, r = slope_of(wanted, np.array([row[f"{prefix}z"] for row in own]))
        found |= {f"{prefix}slope": slope, f"{prefix}correlation": r}
    return found


def write_accentuated(found: Accentuated, out: Path) -> Path:
    """Write images, ``batch.h5``, ``levels.csv``, ``sites.csv``, ``levels.json`` and ``.png`` into a new folder."""
    figure = draw(found.rows, found.batch.images)
    with new_folder(out) as folder:
        write_images(folder, found.batch, [f"{row['site']} {row['share']:.0%}" for row in found.rows])
        for name, columns, rows in (("levels", COLUMNS, found.rows), ("sites", SITE_COLUMNS, found.sites)):
            write_table(folder / f"{name}.csv", columns, [[_cell(row[c]) for c in columns] for row in rows])
        write_json(folder / "levels.json", found.to_dict())
        write_atomically(folder / "levels.png", lambda path: figure.savefig(path, format="png", dpi=100))
    return out


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else "" if value != value else value
