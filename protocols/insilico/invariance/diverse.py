"""Diverse exciting sets of single sites, and the diversity index against simulated cells of the same field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from encoders.fields.sites import site_maps
from protocols.arrays import Floats, Pixels
from protocols.insilico.opened import Opened, both_z
from protocols.progress import Reporter
from synth import StimulusBatch
from synth.answers import images_of
from synth.batches import batch_of
from synth.invariance.cells import gaussian_field, place_and_size
from synth.invariance.diversity import DiverseSet, Diversity, diverse_sets, diversity_index, null_diversity
from synth.invariance.likeness import mean_pairwise
from synth.objectives.bound import column_of

from .asked import Asked
from .figures import diverse_figure
from .found import Found, Row, on_display, pick

__all__ = ["find_diverse"]

PHOTOGRAPHS = 100
"""Whose responses scale those of the simulated cells."""


def find_diverse(opened: Opened, asked: Asked, *, progress: Reporter | None = None) -> Found:
    """A diverse set per site, and its index: 0 as of a simulated simple cell, 1 as of a complex one."""
    settings = Diversity(count=asked.images)
    settings = settings if asked.steps is None else replace(settings, steps=asked.steps)
    sets, fields, nulls = _made(opened, asked, settings, progress=progress)
    columns = [column_of(site, opened.encoder.site_ids) for site in asked.sites]
    batch = _joined(opened, sets)
    sites = [s.site for s in sets for _ in range(len(s.batch))]

    def table(read: Pixels) -> list[Row]:
        own, other = (pick(z, opened.encoder, sites) for z in both_z(opened.pair, read))
        rows = []
        for s, found in enumerate(sets):
            for i in range(s * settings.count, (s + 1) * settings.count):
                row = {"site": found.site, "z": float(own[i]), "floor": found.floor, "best_z": found.best_z}
                row |= {"kept": bool(own[i] >= found.floor), "share": float(own[i] / found.best_z)}
                rows.append({**row, "validator_z": float(other[i])})
        return rows

    def record(rows: list[Row]) -> dict[str, Any]:
        judged = both_z(opened.pair, np.stack([s.best for s in sets]))[1]
        made = [
            _site(s, field, null, rows=rows[i * settings.count : (i + 1) * settings.count])
            | _judged(rows[i * settings.count : (i + 1) * settings.count], float(judged[i, columns[i]]), settings)
            for i, (s, field, null) in enumerate(zip(sets, fields, nulls, strict=True))
        ]
        return {
            "kind": "diverse",
            "share": settings.share,
            "count": settings.count,
            "steps": settings.steps,
            "verified": "every image from its 8-bit PNG file, read back",
            "sites": made,
        }

    best = np.stack([s.best for s in sets])
    return Found(
        batch=batch,
        table=table,
        record=record,
        text=_text,
        draw=lambda rows, made, read: diverse_figure(made, read, best=best, fields=fields.numpy()),
        below=sites,
    )


def _made(
    opened: Opened, asked: Asked, settings: Diversity, *, progress: Reporter | None
) -> tuple[list[DiverseSet], torch.Tensor, list[Mapping[float, Floats]]]:
    """The set of each site, its receptive field (H, W), and the distances of its simulated cells."""
    constraints, columns = opened.recipe["constraints"], [column_of(s, opened.encoder.site_ids) for s in asked.sites]
    maps = site_maps(opened.encoder, opened.natural)
    fields = torch.stack([gaussian_field(torch.from_numpy(maps[c])) for c in columns])
    begins = []
    for column in columns:
        order = np.argsort(-opened.measured[:, column], kind="stable")
        begins.append(on_display(opened, [opened.source_ids[int(i)] for i in order], 1, named=False)[1][0])
    how: dict[str, Any] = {"constraints": constraints, "settings": settings, "progress": progress}
    sets = diverse_sets(opened.encoder, asked.sites, fields, start=np.stack(begins), **how)
    pool = asked.drawn(opened.source_ids, 2)
    photographs = on_display(opened, pool, min(PHOTOGRAPHS, max(2, len(pool) // 2)), named=False)[1]
    return sets, fields, [null_diversity(field, photographs, **how) for field in fields]


def _joined(opened: Opened, sets: list[DiverseSet]) -> StimulusBatch:
    """All sets as one batch."""
    rows = sets[0].batch.objective
    for found in sets[1:]:
        rows = rows | found.batch.objective
    count = len(rows)
    first = sets[0].batch
    return batch_of(
        opened.encoder,
        np.concatenate([s.batch.images for s in sets]),
        rows,
        seeds=[0] * count,
        start_ids=[""] * count,
        settings={key: value for key, value in first.settings.items() if key not in ("check_steps", "plan")},
    ).validate(opened.validator)


def _site(found: DiverseSet, field: torch.Tensor, null: Any, *, rows: list[Row]) -> dict[str, Any]:
    """What is said of one site, of the images read back."""
    kept = [row["kept"] for row in rows]
    distance = found.distance(field) if sum(kept) > 1 else None
    simple, complex_ = null[0.0], null[1.0]
    row, column, sd = place_and_size(field)
    return {
        "site": found.site,
        "images": len(rows),
        "kept": int(sum(kept)),
        "best_z": found.best_z,
        "floor": found.floor,
        "share": [float(min(r["share"] for r in rows)), float(np.mean([r["share"] for r in rows]))],
        "field_px": {"row": row, "column": column, "sd": sd},
        "distance": distance,
        "whole_image_distance": mean_pairwise(images_of(found.batch.images[np.array(kept)])) if sum(kept) > 1 else None,
        "null": {"simple": _numbers(simple), "complex": _numbers(complex_)},
        "index": None if distance is None else clear_index(distance, simple, complex_),
        "index_is_clear": _is_clear(simple, complex_),
        "rows": rows,
    }


def clear_index(distance: float, simple: Floats, complex_: Floats) -> float | None:
    """The diversity index, from the distances of the simulated cells' sets, one per orientation.

    None where the two kinds of cells differ less than orientations do: small fields have few pixels to differ in.
    """
    if not _is_clear(simple, complex_):
        return None
    return diversity_index(distance, float(simple.mean()), float(complex_.mean()))


def _is_clear(simple: Floats, complex_: Floats) -> bool:
    return bool(complex_.mean() - simple.mean() > max(np.ptp(simple), np.ptp(complex_)))  # NaN: no


def _numbers(values: Floats) -> list[float | None]:
    """Of each cell its set's distance; None where fewer than two images of it reach the floor."""
    return [float(v) if np.isfinite(v) else None for v in values]


def _judged(rows: list[Row], best: float, settings: Diversity) -> dict[str, Any]:
    """What the validator says of the images that reach the floor, beside its response to the best image."""
    shares = [row["validator_z"] / best for row in rows if row["kept"]] if best > 0 else []
    return {
        "best_validator_z": best,
        "validator_share": float(np.mean(shares)) if shares else None,
        "validator_kept": sum(share >= settings.share for share in shares),
    }


def _text(record: dict[str, Any]) -> str:
    lines = [
        f"images with at least {record['share']:.0%} of the best image's response, from their 8-bit files",
        f"  {'site':<10} {'kept':>8} {'best z':>7} {'distance':>9} {'simple':>7} {'complex':>8} {'index':>6} "
        f"{'validator':>12}",
    ]
    for site in record["sites"]:
        distance = "-" if site["distance"] is None else f"{site['distance']:.3f}"
        index = "-" if site["index"] is None else f"{site['index']:.2f}"
        simple, complex_ = (
            float("nan") if None in site["null"][k] else float(np.mean(site["null"][k])) for k in ("simple", "complex")
        )
        note = "" if site["index_is_clear"] else "  the simulated cells differ too little: no clear index"
        kept = f"{site['kept']} of {site['images']}"
        judged = "-" if site["validator_share"] is None else f"{site['validator_share']:.0%} of best"
        lines.append(
            f"  {site['site']:<10} {kept:>8} {site['best_z']:>7.2f} {distance:>9} {simple:>7.3f} {complex_:>8.3f} "
            f"{index:>6} {judged:>12}{note}"
        )
    return "\n".join(lines)
