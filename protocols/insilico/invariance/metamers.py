"""Metamers of photographs: the same predicted population response, other pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.insilico.opened import Opened, both_z
from protocols.progress import Reporter
from synth.answers import images_of
from synth.invariance.likeness import rms_difference, structural_similarity
from synth.invariance.metamers import Matching, find_metamers, largest_deviation, starts_of
from synth.objectives.bound import column_of

from .asked import Asked
from .figures import metamer_figure
from .found import Found, Row, on_display

__all__ = ["find_metamer_sets"]

REFERENCES = 3
PIXEL_PAIRS = 300
POOL = 60
"""Photographs whose pairs tell how far responses and pixels of any two lie apart."""


def find_metamer_sets(opened: Opened, asked: Asked, *, progress: Reporter | None = None) -> Found:
    """For each reference photograph, images from several starts that evoke its pattern and lie far from it."""
    chosen: dict[str, Any] = {"tolerance": asked.tolerance, "steps": asked.steps}
    settings = Matching(**{k: v for k, v in chosen.items() if v is not None})
    count, named = asked.photograph_count(REFERENCES), isinstance(asked.photographs, tuple)
    ids, pictures = on_display(opened, asked.drawn(opened.source_ids, 0), count, named=named)
    pool_size = min(POOL, max(2, (len(opened.source_ids) - count) // 2))
    others = Asked(kind=asked.kind, seed=asked.seed).drawn(opened.source_ids, 1, but=ids)
    pool = _pool(opened, others, pool_size)
    starts, begun = {}, []
    for i, (name, picture) in enumerate(zip(ids, pictures, strict=True)):
        mine = np.roll(pool, -i, axis=0)
        starts[name], kinds = starts_of(picture, mine, asked.images, name=f"metamer of {name}, seed {asked.seed}")
        begun += [(name, kind) for kind in kinds]
    batch = find_metamers(
        opened.encoder,
        asked.sites,
        dict(zip(ids, pictures, strict=True)),
        starts=starts,
        constraints=opened.recipe["constraints"],
        settings=settings,
        progress=progress,
    ).validate(opened.validator)
    columns = [column_of(site, opened.encoder.site_ids) for site in asked.sites]
    reference = dict(zip(ids, range(len(ids)), strict=True))
    of_image = [reference[name] for name, _ in begun]
    own, other = (z[:, columns] for z in both_z(opened.pair, pictures))

    def table(read: Pixels) -> list[Row]:
        found, judged = (z[:, columns] for z in both_z(opened.pair, read))
        apart = found - own[of_image], judged - other[of_image]
        return _rows(read, pictures[of_image], apart, begun=begun, tolerance=settings.tolerance)

    pairs = _pairs(opened, pool, columns)

    def record(rows: list[Row]) -> dict[str, Any]:
        return _record(rows, pairs, asked, settings=settings)

    return Found(
        batch=batch,
        table=table,
        record=record,
        text=_text,
        draw=lambda rows, made, read: metamer_figure(rows, made, read, references=pictures),
        below=[f"{name[:9]} {kind[:5]}" for name, kind in begun],
    )


def _rows(
    read: Pixels, references: Pixels, apart: tuple[Floats, Floats], *, begun: list[tuple[str, str]], tolerance: float
) -> list[Row]:
    """One row per image: `apart` are its responses less its reference's, (S, K), by encoder and validator."""
    far = rms_difference(images_of(read), images_of(references)).numpy()
    like = structural_similarity(images_of(read), images_of(references)).numpy()
    largest = largest_deviation(apart[0], np.zeros_like(apart[0]))
    return [
        {
            "reference": name,
            "start": kind,
            "metamer": bool(largest[i] <= tolerance),
            "largest": float(largest[i]),
            "distance": _rms(apart[0][i]),
            "validator_distance": _rms(apart[1][i]),
            "rms": float(far[i]),
            "ssim": float(like[i]),
        }
        for i, (name, kind) in enumerate(begun)
    ]


def _pool(opened: Opened, wanted: list[str], count: int) -> Pixels:
    """Up to `count` photographs as the display shows them."""
    return on_display(opened, wanted, count, named=False)[1]


def _pairs(opened: Opened, pool: Pixels, columns: list[int]) -> dict[str, Any]:
    """How far the responses and pixels of two photographs lie apart, over all pairs of the pool."""
    own, other = (z[:, columns] for z in both_z(opened.pair, pool))
    first, second = np.triu_indices(len(pool), 1)
    images = images_of(pool)
    some = np.linspace(0, len(first) - 1, min(PIXEL_PAIRS, len(first))).astype(int)
    like = [
        (float(rms_difference(*_two(images, i, j))), float(structural_similarity(*_two(images, i, j))))
        for i, j in zip(first[some].tolist(), second[some].tolist(), strict=True)
    ]
    apart = {
        "distance": np.sqrt(np.square(own[first] - own[second]).mean(1)),
        "validator_distance": np.sqrt(np.square(other[first] - other[second]).mean(1)),
        "rms": np.array([far for far, _ in like]),
        "ssim": np.array([similar for _, similar in like]),
    }
    spread = {
        name: dict(zip(("p5", "median", "p95"), map(float, np.percentile(values, [5, 50, 95])), strict=True))
        for name, values in apart.items()
    }
    return {"pairs": len(first), **spread}


def _two(images: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
    return images[i : i + 1], images[j : j + 1]


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _record(rows: list[Row], pairs: dict[str, Any], asked: Asked, *, settings: Matching) -> dict[str, Any]:
    met = [row for row in rows if row["metamer"]]
    below = sum(row["validator_distance"] < pairs["validator_distance"]["p5"] for row in met)
    return {
        "kind": "metamers",
        "sites": list(asked.sites),
        "tolerance": settings.tolerance,
        "verified": "every image from its 8-bit PNG file, read back",
        "images": len(rows),
        "metamers": len(met),
        "below_5_percent_of_pairs_by_validator": below,
        "median": {
            name: float(np.median([row[name] for row in met])) if met else None
            for name in ("largest", "distance", "validator_distance", "rms", "ssim")
        },
        "photographs": pairs,
        "rows": rows,
    }


def _text(record: dict[str, Any]) -> str:
    met, pairs = record["median"], record["photographs"]
    lines = [
        f"{record['metamers']} of {record['images']} images are metamers: no response of {len(record['sites'])} sites "
        f"lies more than {record['tolerance']:g} natural SDs from the photograph's, from their 8-bit files"
    ]
    if record["metamers"]:
        lines.append(f"  {'median':<42} {'metamers':>9} {'two photographs':>16}")
        words = {
            "distance": "response distance, encoder [natural SDs]",
            "validator_distance": "response distance, validator",
            "rms": "pixel distance, RMS",
            "ssim": "structural similarity",
        }
        lines += [f"  {text:<42} {met[name]:>9.3f} {pairs[name]['median']:>16.3f}" for name, text in words.items()]
    else:
        lines.append("  none: try more --steps, fewer --sites or a larger --tolerance")
    return "\n".join(lines)
