"""Feature accentuation to graded levels: photographs changed until a site's predicted response is at a given level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.files import finite_or_none, new_folder, write_atomically, write_json
from protocols.disk.tables import write_table
from protocols.insilico.opened import Opened
from protocols.progress import Reporter
from protocols.synthesis.starts import natural_ranges
from synth import ConstraintError, StimulusBatch, accentuating, ascend, level, stretch
from synth.batches import project as shown

from .checks import check_sites
from .judges import Judges
from .levels_figure import draw
from .made import batch_of, image_names, write_images

__all__ = ["BEYOND", "Accentuated", "accentuated", "seed_photographs", "slope_of", "write_accentuated"]

BEYOND = (-0.25, 1.5)
"""The lowest and the highest level, as shares of the site's natural range (0: 1st, 1: 99th percentile)."""
TOLERANCE = 0.05
LIKENESS = 0.5
"""Weight of staying like the photograph against the squared distance from the level in natural SDs."""
SLOWER = 0.1
"""Times the project's learning rate: large steps leave the photograph and do not come back."""
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


def seed_photographs(measured: Floats, count: int, among: NDArray[np.bool_] | None = None) -> list[int]:
    """`count` photographs of those `among` (N,), spread evenly over measured responses (N,), weakest first."""
    order = np.argsort(measured, kind="stable")
    order = order if among is None else order[among[order]]
    places = ((np.arange(count) + 0.5) / count * len(order)).astype(int)
    return [int(order[place]) for place in places]


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

    The levels are even steps from 25 % below to 50 % above the site's natural range (the 1st to 99th percentile of the
    measured responses to photographs). Score of an image: minus the squared distance from the level in natural SDs,
    minus `LIKENESS` times its distance from the photograph as the display shows it (feature accentuation, Hamblin et
    al. 2024). An image reached its level where the prediction for its 8-bit pixels is within `tolerance` of their span.

    Raises
    ------
    DataError
        V41: a site that cannot be controlled.
    """
    chosen = list(sites) or list(opened.targets)
    check_sites(chosen, opened.targets, where="the project")
    ranges = natural_ranges(opened.encoder.site_ids, opened.measured)
    shares = np.linspace(*BEYOND, levels)
    rows: list[dict[str, Any]] = []
    pixels, objectives = [], []
    for number, site in enumerate(chosen):
        low, high = ranges[site]
        column = list(opened.encoder.site_ids).index(site)
        seeds = _seeds(opened, column, photographs)
        wanted = [low + share * (high - low) for share in shares.tolist()]
        images, far = _made(opened, site, wanted, seeds=seeds, steps=steps)
        pixels.append(images)
        objectives.append(reduce(or_, [level(site, wanted) for _ in seeds]))
        span = (high - low) * (BEYOND[1] - BEYOND[0])
        pairs = [(seed, i) for seed in seeds for i in range(levels)]
        rows += [
            {
                "site": site,
                "photograph": opened.source_ids[seed],
                "share": float(shares[i]),
                "level": wanted[i],
                "span": span,
                "distance": float(distance),
            }
            for (seed, i), distance in zip(pairs, far, strict=True)
        ]
        if progress is not None:
            progress("accentuate", number + 1, len(chosen))
    pair = Judges(opened.encoder, opened.validator)
    batch = batch_of(
        pair,
        np.concatenate(pixels),
        reduce(or_, objectives),
        start_ids=[row["photograph"] for row in rows],
        settings={"generator": "accentuate", "levels": shares.tolist(), "likeness": LIKENESS, "tolerance": tolerance},
    )
    z = pair.z(batch.images)
    for i, (name, row) in enumerate(zip(image_names(len(rows)), rows, strict=True)):
        column = list(pair.site_ids).index(row["site"])
        row |= {"image": name, "z": float(z[0][i, column]), "validator_z": float(z[1][i, column])}
        for prefix in ("", "validator_"):
            row[f"{prefix}reached"] = abs(row[f"{prefix}z"] - row["level"]) <= tolerance * row["span"]
    return Accentuated(rows, [_site(rows, site) for site in chosen], batch, tolerance)


def _seeds(opened: Opened, column: int, count: int) -> list[int]:
    """`seed_photographs` of a site, of those that can have the display's mean and contrast."""
    can = np.ones(len(opened.natural), dtype=np.bool_)
    while True:
        seeds = seed_photographs(opened.measured[:, column], count, can)
        flat = [seed for seed in seeds if not _can_be_shown(opened, seed)]
        can[flat] = False
        if not flat or not can.any():  # with none left, the ascent says why
            return seeds


def _can_be_shown(opened: Opened, photograph: int) -> bool:
    image = torch.from_numpy(opened.natural[photograph]).movedim(-1, 0)[None].float() / 255
    try:
        shown(image, opened.recipe["constraints"])
    except ConstraintError:
        return False
    return True


def _made(
    opened: Opened, site: str, wanted: Sequence[float], *, seeds: Sequence[int], steps: int | None
) -> tuple[np.ndarray[Any, Any], Floats]:
    """Images (S, H, W, C) of every seed photograph at every level, seed by seed, and their distances (S,)."""
    settings, device = opened.project.config.synthesis, opened.encoder.natural_mean.device
    natural = torch.from_numpy(opened.natural[list(seeds)]).movedim(-1, 1).float() / 255
    photographs = shown(natural, opened.recipe["constraints"]).detach()
    names = [f"like_{opened.source_ids[seed]}" for seed in seeds]
    objective = reduce(or_, [level(site, [value]) + LIKENESS * stretch(name) for name in names for value in wanted])
    batch = ascend(
        accentuating(opened.encoder, photographs.to(device), names),
        objective,
        **opened.recipe | {"learning_rate": SLOWER * opened.recipe["learning_rate"]},
        steps=settings.steps if steps is None else steps,
        start=photographs.repeat_interleave(len(wanted), 0)[:, None],
        device=device,
    )
    columns = [batch.site_ids.index(name) for name in names for _ in wanted]
    return batch.images, -batch.predicted[np.arange(len(batch)), columns].astype(np.float64)


def slope_of(wanted: Floats, got: Floats) -> tuple[float, float]:
    """Slope of the straight line of `got` on `wanted`, (K,), and their correlation; NaN where one does not vary."""
    if np.ptp(wanted) == 0 or np.ptp(got) == 0:
        return math.nan, math.nan
    slope = float(np.cov(wanted, got)[0, 1] / np.var(wanted, ddof=1))
    return slope, float(np.corrcoef(wanted, got)[0, 1])


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
