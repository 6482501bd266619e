"""The population response: images x sites, measured or predicted, in natural SDs of each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.folder import Project
from protocols.project.key import Key, KeyRow
from protocols.recordings.readers.hdf5 import read_kept

from .images import photo, shown
from .measured import Means, means_of
from .rounds import RoundLook, round_looks
from .site import NO_SITE
from .site_table import Material
from .view import clean, nothing

__all__ = ["frozen_population", "population"]

SHOWN = ("controller", "arm", "graded", "reference", "natural")
PHOTOGRAPHS = ("photograph", "natural", "reference")
MOST_CELLS = 400_000
"""Images times sites that a page without a server holds."""
SCALE = (
    "Each site on its own scale: 0 is its mean over the photographs of the baseline, 1 their SD. Responses of a round "
    "are as recorded that day, not aligned with the baseline."
)


def population(project: Project, *, show: str = "measured", unblind: str = "", **_: str) -> dict[str, Any]:
    """The matrix of all images that may be shown; `show`: "measured" or "predicted"."""
    material = Material.load(project)
    if material.means is None:
        return nothing(*NO_SITE)
    looks = round_looks(project, unblind)
    sites = list(material.means.site_ids)
    middle, spread = _scale(material.means)
    parts = [_baseline(material.means, sites)] if show != "predicted" else []
    for look in looks:
        if look.hidden or look.state in ("new", "generated"):
            continue
        if show == "predicted":
            parts.append(_predicted(look, sites))
        elif look.evaluated:
            parts.append(_measured(look, sites))
    images = [image for part in parts for image in part[0]]
    values = np.vstack([part[1] for part in parts]) if parts else np.empty((0, len(sites)))
    z = np.round((values - middle) / spread, 2)
    data = {
        "show": "predicted" if show == "predicted" else "measured",
        "sites": sites,
        "images": images,
        "rounds": [look.to_dict() for look in looks if look.hidden],
        "note": SCALE,
        "few": "" if images else "No prediction is sealed yet: rounds have them once they are exported and evaluated.",
        "pictures": [image["image"] for image in images],
    }
    values = z.astype(object)
    values[~np.isfinite(z)] = None
    return {**clean(data), "values": values.tolist()}


def _scale(means: Means) -> tuple[Floats, Floats]:
    """Mean and SD of every site over the photographs of the baseline; an SD of 0 counts as unknown."""
    with np.errstate(invalid="ignore"):
        middle = np.array([_known(c).mean() if len(_known(c)) else np.nan for c in means.mean.T])
        spread = np.array([_known(c).std(ddof=1) if len(_known(c)) > 1 else np.nan for c in means.mean.T])
    return middle, np.where(spread > 0, spread, np.nan)


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def frozen_population(project: Project) -> dict[str, Any]:
    """As `population`; of very many images an even choice, photographs being left out first."""
    data = population(project)
    images, most = data.get("images", []), MOST_CELLS // max(1, len(data.get("sites", [])))
    if len(images) <= most:
        return data
    own = _even([i for i, image in enumerate(images) if image["kind"] not in PHOTOGRAPHS], most)
    others = [i for i, image in enumerate(images) if image["kind"] in PHOTOGRAPHS]
    kept = sorted([*own, *_even(others, most - len(own))])
    told = f"{SCALE} {len(kept)} of {len(images)} images: an even choice, photographs being left out first."
    rows = {name: [data[name][i] for i in kept] for name in ("images", "values", "pictures")}
    return {**data, **rows, "note": told}


def _even(places: list[int], count: int) -> list[int]:
    """All of `places`, or an even choice of `count`."""
    if len(places) <= count:
        return places
    return [places[int(i)] for i in np.linspace(0, len(places) - 1, max(0, count)).round()]


Part = tuple[list[dict[str, Any]], Floats]


def _baseline(means: Means, sites: Sequence[str]) -> Part:
    images = [{"image": photo(n), "name": n, "round": 0, "kind": "photograph", "site": ""} for n in means.images]
    return images, means.mean


def _rows(key: Key) -> list[KeyRow]:
    """The images of a round by role, then by site."""
    return sorted((r for r in key.rows if r.role in SHOWN), key=lambda r: (SHOWN.index(r.role), r.target, r.image_id))


def _named(look: RoundLook, row: KeyRow) -> dict[str, Any]:
    kind = "arm: " + row.arm.replace("_", " ") if row.role == "arm" else row.role
    site = row.target or ", ".join(dict.fromkeys(s for _, s in row.reference_for))
    named = {"image": shown(look.round_, row.image_id), "name": row.image_id, "round": look.number}
    return named | {"kind": kind, "site": site, "objective": row.objective}


def _measured(look: RoundLook, sites: Sequence[str]) -> Part:
    means = means_of(read_kept(look.round_.responses_path))
    place = {image: i for i, image in enumerate(means.images)}
    rows = [r for r in _rows(look.key) if r.image_id in place]
    values = np.full((len(rows), len(sites)), np.nan)
    for k, name in enumerate(sites):
        if name in means.site_ids:
            column = means.site_ids.index(name)
            values[:, k] = [means.mean[place[r.image_id], column] for r in rows]
    return [_named(look, r) for r in rows], values


def _predicted(look: RoundLook, sites: Sequence[str]) -> Part:
    roles = SHOWN if look.evaluated else ("controller",)
    rows = [r for r in _rows(look.key) if r.role in roles]
    values = np.array([[r.predicted.get(name, np.nan) for name in sites] for r in rows]).reshape(len(rows), len(sites))
    return [_named(look, r) for r in rows], values
