"""Level sets of single sites: paths from an image towards photographs along which the predicted response stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from protocols.arrays import Floats, Pixels
from protocols.insilico.opened import Opened, both_z
from protocols.progress import Reporter
from synth import ascend, level, stretch
from synth.answers import images_of
from synth.batches import batch_of, generator_for, project
from synth.invariance.levels import PRESETS, Paths, Traversal, describe, traverse
from synth.invariance.likeness import largest_difference, rms_difference, structural_similarity
from synth.invariance.site import z_of
from synth.invariance.widths import line_responses, path_widths, triangle_responses
from synth.objectives.bound import column_of

from .asked import Asked
from .figures import level_figure
from .found import Found, Row, on_display, pick

__all__ = ["find_levels"]

TARGETS = 2
DROPS = (0.0, 0.1, 0.2, 0.3)
"""Of the natural range: how far a response in the triangle may fall below the source's; published: of 1."""


def find_levels(opened: Opened, asked: Asked, *, progress: Reporter | None = None) -> Found:
    """Paths along the level sets of the sites asked for, from one source each towards photographs.

    Every point is projected on the display, rounded to 8 bits and then accepted; the table is made from the PNG files.
    """
    settings = _settings(asked)
    sources = {site: _source(opened, asked, site, progress=progress) for site in asked.sites}
    used = [name for name, _ in sources.values()]
    count = asked.photograph_count(TARGETS)
    ids, pictures = on_display(
        opened, asked.drawn(opened.source_ids, 0, but=used), count, named=isinstance(asked.photographs, tuple)
    )
    pairs = [(site, i) for site in asked.sites for i in range(count)]
    start = np.stack([sources[site][1] for site, _ in pairs])
    goal = pictures[[i for _, i in pairs]]
    names = [f"level:{site}:{sources[site][0]}->{ids[i]}" for site, i in pairs]
    paths = traverse(
        opened.encoder,
        [site for site, _ in pairs],
        start,
        target=goal,
        constraints=opened.recipe["constraints"],
        settings=settings,
        names=names,
        progress=progress,
    ).spaced(asked.images, goal)
    about = [
        {"path": p + 1, "site": site, "source": sources[site][0], "target": ids[i]} for p, (site, i) in enumerate(pairs)
    ]
    geometry = _geometry(opened, paths, about, settings=settings, progress=progress)
    return _found(opened, paths, about, goal=goal, geometry=geometry, settings=settings)


def _settings(asked: Asked) -> Traversal:
    """The preset, with the options in place of its fields."""
    changes: dict[str, Any] = {
        "tolerance": asked.tolerance,
        "one_sided": asked.one_sided,
        "smooth": asked.smooth,
        "steps": asked.steps,
    }
    return replace(PRESETS[asked.preset or "two_sided"], **{k: v for k, v in changes.items() if v is not None})


def _source(opened: Opened, asked: Asked, site: str, *, progress: Reporter | None) -> tuple[str, Pixels]:
    """Name and pixels of the image where the paths of a site start, as the display shows it."""
    chosen = asked.source or "photograph"
    order = np.argsort(-opened.measured[:, column_of(site, opened.encoder.site_ids)], kind="stable")
    if chosen not in ("photograph", "controller"):
        ids, images = on_display(opened, [chosen], 1, named=True)
        return ids[0], images[0]
    ids, images = on_display(opened, [opened.source_ids[int(i)] for i in order], 1, named=False)
    if chosen == "photograph":
        return ids[0], images[0]
    steps = opened.project.config.synthesis.steps
    made = ascend(
        opened.encoder, stretch([site]), **opened.recipe, steps=steps, start=images_of(images), progress=progress
    )
    return f"controller_of_{ids[0]}", made.images[0]


def _geometry(
    opened: Opened, paths: Paths, about: list[dict[str, Any]], *, settings: Traversal, progress: Reporter | None
) -> dict[str, Any]:
    """Along the straight lines to the ends, around the ends, and in the triangle of source and two ends, per site."""
    tell = progress or (lambda label, done, total: None)

    def display(images: torch.Tensor) -> torch.Tensor:
        return project(images, opened.recipe["constraints"])

    lines, triangles = [], []
    for p, path in enumerate(about):
        answers = z_of(opened.encoder, torch.tensor([column_of(path["site"], opened.encoder.site_ids)]))
        ends = images_of(paths.points[p][[0, -1]])
        along = line_responses(answers, ends, display)
        random = generator_for(f"width of {path['site']} {path['source']} {path['target']}", 0)
        wide = path_widths(answers, ends, display, generator=random)
        lines.append({"line_mean": float(along.mean()), "line_min": float(along.min()), "widths": wide})
        tell("widths", p + 1, len(about))
    ranges = np.subtract(*np.percentile(opened.measured, [99, 1], axis=0))
    for site in dict.fromkeys(path["site"] for path in about):
        mine = [p for p, path in enumerate(about) if path["site"] == site][:2]
        if len(mine) < 2:
            continue
        column = column_of(site, opened.encoder.site_ids)
        corners = images_of(np.stack([paths.points[mine[0]][0], *(paths.points[p][-1] for p in mine)]))
        answers = z_of(opened.encoder, torch.tensor([column]))
        for what, shape in (("shown", display), ("mixed", lambda images: images)):
            z = triangle_responses(answers, corners, shape)
            z = z - z[0]  # the source as it is shown here, first of all: rounding in another batch is no fall
            within = {f"fall_{drop:g}": float((z >= -drop * ranges[column]).mean()) for drop in DROPS}
            held = float(settings.allows(torch.from_numpy(z)).double().mean())
            row = {"site": site, "images": what, "mean": float(z.mean()), "within_tolerance": held, **within}
            triangles.append(row)
    return {"lines": lines, "triangles": triangles}


def _found(
    opened: Opened,
    paths: Paths,
    about: list[dict[str, Any]],
    *,
    goal: Pixels,
    geometry: dict[str, Any],
    settings: Traversal,
) -> Found:
    of_image = [p for p, points in enumerate(paths.points) for _ in points]
    sites = [about[p]["site"] for p in of_image]
    pixels = np.concatenate(paths.points)
    rows = level(sites[0], float(paths.level[of_image[0]]))
    for p in of_image[1:]:
        rows = rows | level(about[p]["site"], float(paths.level[p]))
    batch = batch_of(
        opened.encoder,
        pixels,
        rows,
        seeds=[0] * len(pixels),
        start_ids=[about[p]["source"] for p in of_image],
        settings=describe(settings),
    ).validate(opened.validator)

    def table(read: Pixels) -> list[Row]:
        own, other = (pick(z, opened.encoder, sites) for z in both_z(opened.pair, read))
        first = np.array([of_image.index(p) for p in of_image])
        far = _distances(read, goal[of_image])
        made = []
        for i, p in enumerate(of_image):
            change, change_other = own[i] - paths.level[p], other[i] - other[first[i]]
            row = {**about[p], "point": int(i - first[i]), "step": int(paths.steps[p][i - first[i]])}
            row |= {"z": float(own[i]), "level": float(paths.level[p]), "change": float(change)}
            row["at_level"] = bool(settings.allows(torch.tensor(change)))
            row |= {"validator_z": float(other[i]), "validator_change": float(change_other)}
            row["validator_at_level"] = bool(settings.allows(torch.tensor(change_other)))
            made.append(row | {name: float(values[i]) for name, values in far.items()})
        return made

    targets = both_z(opened.pair, goal)

    def record(table_rows: list[Row]) -> dict[str, Any]:
        return _record(table_rows, about, geometry, settings=settings, targets=_of_targets(opened, about, targets))

    below = [f"{about[p]['site']} {i}" for p, points in enumerate(paths.points) for i in range(len(points))]
    return Found(
        batch=batch,
        table=table,
        record=record,
        text=_text,
        draw=lambda table_rows, made, read: level_figure(table_rows, made, read, goal=goal),
        below=below,
    )


def _distances(pixels: Pixels, goal: Pixels) -> dict[str, Floats]:
    """How far images lie from their targets, (S,) each."""
    images, targets = images_of(pixels), images_of(goal)
    return {
        "rms": rms_difference(images, targets).numpy(),
        "largest": largest_difference(images, targets).numpy(),
        "ssim": structural_similarity(images, targets).numpy(),
    }


def _of_targets(opened: Opened, about: list[dict[str, Any]], z: tuple[Floats, Floats]) -> list[tuple[float, float]]:
    """Z of each path's site to its target, by encoder and validator."""
    columns = [column_of(path["site"], opened.encoder.site_ids) for path in about]
    return [(float(z[0][p, c]), float(z[1][p, c])) for p, c in enumerate(columns)]


def _record(
    rows: list[Row],
    about: list[dict[str, Any]],
    geometry: dict[str, Any],
    *,
    settings: Traversal,
    targets: list[tuple[float, float]],
) -> dict[str, Any]:
    paths = []
    for path, line, target in zip(about, geometry["lines"], targets, strict=True):
        mine = [row for row in rows if row["path"] == path["path"]]
        moved = [row for row in mine if row["point"] > 0]
        held = [row for row in moved if row["validator_at_level"]]
        first, last = mine[0], mine[-1]
        agreed = next(
            (r for r in reversed(mine) if all(q["validator_at_level"] for q in mine[: r["point"] + 1])), first
        )
        paths.append(
            {
                **path,
                "level": first["level"],
                "target_z": target[0],
                "target_validator_z": target[1],
                "points": len(moved),
                "at_level": sum(row["at_level"] for row in moved),
                "validator_at_level": len(held),
                "rms": [first["rms"], last["rms"]],
                "largest": [first["largest"], last["largest"]],
                "ssim": [first["ssim"], last["ssim"]],
                "rms_where_validator_agrees": agreed["rms"],
                **line,
            }
        )
    points = [row for row in rows if row["point"] > 0]
    return {
        "kind": "levels",
        "settings": describe(settings),
        "verified": "every point from its 8-bit PNG file, read back",
        "left_out": "LPIPS: its weights do not come with the package",
        "points": len(points),
        "at_level": sum(row["at_level"] for row in points),
        "validator_at_level": sum(row["validator_at_level"] for row in points),
        "paths": paths,
        "triangles": geometry["triangles"],
    }


def _text(record: dict[str, Any]) -> str:
    sides = "below" if record["settings"]["one_sided"] else "from"
    lines = [
        f"{record['at_level']} of {record['points']} points at most {record['settings']['tolerance']:g} natural SDs "
        f"{sides} the source's response, from their 8-bit files; by the validator {record['validator_at_level']}",
        f"  {'site':<10} {'target':<16} {'level':>6} {'target z':>8} {'RMS to target':>15} {'SSIM':>14} "
        f"{'validator':>9}",
    ]
    for path in record["paths"]:
        far, like = (f"{a:.3f} -> {b:.3f}" for a, b in (path["rms"], path["ssim"]))
        lines.append(
            f"  {path['site']:<10} {path['target'][:16]:<16} {path['level']:>6.2f} {path['target_z']:>8.2f} {far:>15} "
            f"{like:>14} {path['validator_at_level']:>4} of {path['points']}"
        )
    return "\n".join(lines)
