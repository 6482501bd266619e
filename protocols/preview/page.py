"""The preview as one self-contained page, with what it says first in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.drawing import thumbnails
from protocols.disk.files import write_json, write_text
from protocols.errors import DataError
from protocols.packages import version
from protocols.project.display import Display
from protocols.project.folder import Round
from protocols.project.objectives import objective_named
from protocols.synthesis.colour import clipping_text

from .proposals import Preview, Proposal, Range

__all__ = ["diagnosis", "keep_preview", "write_preview"]

IMAGE_BYTES = 5_000_000
"""Of the page, for thumbnails."""
STRIP_HEIGHT, STRIP_MARGIN = 64, 4
"""Of the drawing of all sites, in px."""
OTHERS = 5
"""Sites beside the target that are named."""


def write_preview(preview: Preview, path: Path, *, display: Display, plan: str = "") -> Path:
    """Write the page; `plan`: what the round takes and what it can be expected to find, as text."""
    from jinja2 import Environment

    template = resources.files("protocols").joinpath("preview/page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    images = {p.name: p.pixels for p in preview.proposals}
    images |= {f"photo_{i}": pixels for i, (_, pixels, _) in enumerate(preview.best.values())}
    photo_of = {site: f"photo_{i}" for i, site in enumerate(preview.best)}
    scale = _scale(preview.proposals)
    page = environment.from_string(template).render(
        preview=preview,
        sentences=diagnosis(preview),
        plan=plan,
        cards=[_card(p, preview, scale, photo=photo_of[p.site]) for p in preview.proposals],
        objectives=list(dict.fromkeys(_label(p) for p in preview.proposals)),
        thumbs=thumbnails(images, IMAGE_BYTES),
        width=display.width_px,
        height=display.height_px,
        version=version(),
    )
    write_text(path, page)
    return path


def keep_preview(preview: Preview, round_: Round) -> None:
    """Keep what was found of the images for the other pages of the project, with the file that it was found of."""
    ranges = {name: [unit.low, unit.median, unit.high] for name, unit in _ranges(preview).items()}
    found = {"schema": "preview/1", "controllers": preview.controllers_sha256, **ranges}
    with suppress(OSError, DataError):  # a project that cannot be written to is looked at all the same
        write_json(round_.preview_path, {**found, "images": preview.records()})


def _ranges(preview: Preview) -> dict[str, Range]:
    return {"contrast": preview.contrast, "chroma": preview.chroma}


def diagnosis(preview: Preview) -> list[str]:
    """What the page says first: what was changed since, how strong, how sure, how familiar, what is hardly meant."""
    proposals = preview.proposals
    best = [p for p in proposals if p.best]
    at_target = np.array([p.z[_column(preview, p.site)] for p in best])
    photographs = np.array([preview.best[p.site][2] for p in best])
    judged = np.array([p.validator_z for p in best])
    names = " and ".join(dict.fromkeys(_label(p) for p in proposals))
    told = [
        *preview.changed,
        *(f"Photographs: {warning}." for warning in preview.warnings),
        f"{len(proposals)} images for {names} at {len(preview.best)} sites. The {len(best)} confirmatory ones are "
        f"predicted at {_three(at_target)} natural SDs of their target (median, least to most); the photograph that "
        f"evoked most there was measured at {_three(photographs)}.",
    ]
    if np.isfinite(judged).all():
        low = int((judged <= photographs).sum())
        told.append(
            f"The validator, which made none of them, predicts {_three(judged)}; "
            f"{low} of {len(best)} not above that photograph, whose measured response is the highest of many."
        )
    outside = [p for p in proposals if p.outside]
    if outside:
        told.append(
            f"{len(outside)} of {len(proposals)} lie outside the fitted images, farther than 99 % of the photographs: "
            "what is predicted for them is extrapolated."
        )
    for name, unit in (("contrast", preview.contrast), ("chroma", preview.chroma)):
        if text := _unlike(name, np.array([getattr(p, name) for p in proposals]), unit):
            told.append(text)
    if text := clipping_text([p.clipped for p in proposals]):
        told.append(f"{text}.")
    if preview.exported:
        told.append("The round is exported already: whoever shows the images should not see this page.")
    return told


def _three(values: Floats) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def _unlike(name: str, values: Floats, photographs: Range) -> str:
    """A sentence where most images have more or less contrast or chroma than nearly all photographs."""
    above, below = int((values > photographs.high).sum()), int((values < photographs.low).sum())
    if max(above, below) * 2 < len(values):
        return ""
    which = f"{above} of {len(values)} images have more" if above >= below else f"{below} of {len(values)} have less"
    return (
        f"{which} {name} than 95 % of the photographs ({np.median(values):.3f} in the median against "
        f"{photographs.median:.3f}): a site may answer to that alone."
    )


def _label(proposal: Proposal) -> str:
    try:
        return objective_named(proposal.objective).label
    except (KeyError, ValueError):
        return proposal.objective


def _column(preview: Preview, site: str) -> int:
    return list(preview.site_ids).index(site)


def _scale(proposals: Sequence[Proposal]) -> tuple[float, float]:
    """Lowest and highest z that the drawings show: of all predictions, and 0."""
    z = np.concatenate([p.z for p in proposals])
    return min(0.0, float(z.min())), max(0.1, float(z.max()))


def _card(proposal: Proposal, preview: Preview, scale: tuple[float, float], *, photo: str) -> dict[str, Any]:
    """One image with all that stands beside it."""
    column = _column(preview, proposal.site)
    source, _, photo_z = preview.best[proposal.site]
    others = [int(u) for u in np.argsort(-proposal.z, kind="stable") if u != column][:OTHERS]
    flags = [proposal.decision] if proposal.decision else []
    if proposal.outside:
        flags.append("outside the fitted images")
    for name, unit in (("contrast", preview.contrast), ("chroma", preview.chroma)):
        value = getattr(proposal, name)
        if value > unit.high or value < unit.low:
            flags.append(f"{name} {'above' if value > unit.high else 'below'} 95 % of the photographs")
    if clipping_text([proposal.clipped]):
        flags.append(f"{proposal.clipped:.0%} black or white")
    return {
        "name": proposal.name,
        "site": proposal.site,
        "objective": _label(proposal),
        "seed": proposal.seed,
        "best": proposal.best,
        "photo": photo,
        "source": source,
        "start": proposal.start or "noise",
        "circle": preview.circles.get(proposal.site),
        "z": proposal.z[column],
        "interval": _interval(proposal, column),
        "validator_z": proposal.validator_z if math.isfinite(proposal.validator_z) else None,
        "photo_z": photo_z,
        "distance": proposal.distance,
        "contrast": proposal.contrast,
        "chroma": proposal.chroma,
        "flags": flags,
        "others": [(preview.site_ids[u], proposal.z[u]) for u in others],
        "strip": _strip(proposal, column, scale),
    }


def _interval(proposal: Proposal, column: int) -> str:
    low, high = proposal.low[column], proposal.high[column]
    return f"{low:.2f} to {high:.2f}" if math.isfinite(low) and math.isfinite(high) else ""


def _strip(proposal: Proposal, column: int, scale: tuple[float, float]) -> dict[str, Any]:
    """The predictions of all sites as paths of a drawing: a line per interval, a dash per mean, a circle at the target.

    Intervals are cut at the edge of the drawing.
    """
    step = max(2.0, min(8.0, 320 / len(proposal.z)))
    lowest, highest = scale

    def y(value: float) -> float:
        inside = min(max(value, lowest), highest)
        return STRIP_MARGIN + (STRIP_HEIGHT - 2 * STRIP_MARGIN) * (highest - inside) / (highest - lowest)

    lines, means = [], []
    for u, (z, low, high) in enumerate(zip(proposal.z, proposal.low, proposal.high, strict=True)):
        x = step * (u + 0.5)
        if math.isfinite(low) and math.isfinite(high):
            lines.append(f"M{x:.1f} {y(low):.1f}V{y(high):.1f}")
        means.append(f"M{x - 0.35 * step:.1f} {y(z):.1f}h{0.7 * step:.1f}")
    return {
        "width": step * len(proposal.z),
        "height": STRIP_HEIGHT,
        "zero": y(0.0),
        "lines": "".join(lines),
        "means": "".join(means),
        "x": step * (column + 0.5),
        "y": y(proposal.z[column]),
    }
