"""Contrast of images on this display, and its usual range among the photographs: the likeliest confound of a
controller.

All contrasts are root mean squares of relative luminance (`Display.to_luminance`, 0 = black, 1 = the brightest white)
over the pixels that show the image (aperture above 0):

- ``luminance``: SD of luminance over the whole image, the RMS contrast that `Display.constraints` holds;
- ``chroma``: root mean square distance of the decoded red, green and blue channel from the pixel's luminance, 0 for
  grey;
- ``local``: SD of luminance weighted by a site's model receptive field, about the weighted mean.

A controller above the 95th percentile of the photographs is reported as exceeding it (methods: contrast confound).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.project.display import LUMINANCE_WEIGHTS, Display
from protocols.project.key import NATURAL_SUFFIX

__all__ = ["Contrast", "field_masks", "measure", "of_site", "site_masks", "usual"]


PERCENTILE = 95.0
BATCH = 64


class Contrast(NamedTuple):
    """Contrasts of S images: `luminance` and `chroma` (S,), `local` (S, U) at U sites, NaN where a site's field is not
    known.
    """

    luminance: Floats
    chroma: Floats
    local: Floats


class Usual(NamedTuple):
    """95th percentiles over photographs: two numbers, and one per site (U,)."""

    luminance: float
    chroma: float
    local: Floats


def field_masks(display: Display, fields: Sequence[tuple[float, float, float]]) -> Tensor:
    """Round Gaussian weights of receptive fields, float64 (U, H, W), each with the sum 1 over the pixels that show the
    image.

    Parameters
    ----------
    fields : sequence of (x, y, SD)
        In degrees from the centre of the image, rightwards and upwards. NaN gives a mask of NaN; so does a field that
        lies so far outside that no pixel has any weight.
    """
    _, height, width = display.shape
    aperture = display.aperture_mask()
    shown = torch.ones(height, width, dtype=torch.float64) if aperture is None else (aperture > 0).double()
    columns = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2) / display.px_per_deg
    rows = ((height - 1) / 2 - torch.arange(height, dtype=torch.float64)) / display.px_per_deg
    masks = torch.empty(len(fields), height, width, dtype=torch.float64)
    for mask, (x, y, sd) in zip(masks, fields, strict=True):
        square = (
            ((columns - x) / sd) ** 2 + ((rows[:, None] - y) / sd) ** 2 if sd > 0 else torch.full_like(mask, torch.nan)
        )
        weight = shown * torch.exp(-0.5 * square)
        mask.copy_(weight / weight.sum())
    return masks


def site_masks(display: Display, record: Mapping[str, Any] | None, site_ids: Sequence[str]) -> Tensor:
    """`field_masks` of the sites, from the receptive fields in the record of a fit (``fitted/for_round_NN.json``)."""
    sites = {s["site_id"]: s for s in ((record or {}).get("report") or {}).get("sites", [])}
    names = ("rf_x_deg", "rf_y_deg", "rf_sd_deg")
    rows = [[sites.get(site, {}).get(name) for name in names] for site in site_ids]
    return field_masks(display, [tuple(np.nan if v is None else float(v) for v in row) for row in rows])  # type: ignore[misc]


def measure(display: Display, pixels: Pixels, masks: Tensor) -> Contrast:
    """Contrasts of 8-bit images (S, H, W, C) on `display`, locally under the `masks` (U, H, W)."""
    aperture = display.aperture_mask()
    shown = torch.ones(display.shape[1:], dtype=torch.bool) if aperture is None else aperture > 0
    weights = masks[:, shown].T  # (P, U)
    channels = torch.tensor(LUMINANCE_WEIGHTS if display.shape[0] == 3 else (1.0,), dtype=torch.float64)
    parts = []
    for first in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(pixels[first : first + BATCH])[:, shown].double() / 255  # (B, P, C)
        decoded = display.to_luminance(batch)
        luminance = decoded @ channels  # (B, P)
        centred = luminance - luminance.mean(
            1, keepdim=True
        )  # a variance is the same about any origin: no cancellation
        variance = centred.square() @ weights - (centred @ weights).square()
        colour = (decoded - luminance[..., None]).square().mean((1, 2))
        parts.append((centred.square().mean(1).sqrt(), colour.sqrt(), variance.clamp_min(0).sqrt()))
    columns = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
    return Contrast(*columns) if columns else Contrast(np.empty(0), np.empty(0), np.empty((0, len(masks))))


def usual(natural: Contrast) -> Usual:
    """95th percentiles of the contrasts of photographs."""
    luminance, chroma = (float(np.percentile(values, PERCENTILE)) for values in (natural.luminance, natural.chroma))
    return Usual(luminance, chroma, np.percentile(natural.local, PERCENTILE, axis=0))


def of_site(contrast: Contrast, limits: Usual, image: int, *, site: int, colour: bool) -> dict[str, float]:
    """What the sealed key keeps of one image: its contrasts at one site and the natural percentiles, by name; no
    NaN.
    """
    values = {
        "luminance": (contrast.luminance[image], limits.luminance),
        "chroma": (contrast.chroma[image] if colour else np.nan, limits.chroma),
        "local": (contrast.local[image, site], limits.local[site]),
    }
    return {
        name + suffix: float(value)
        for name, pair in values.items()
        if np.isfinite(pair).all()
        for suffix, value in zip(("", NATURAL_SUFFIX), pair, strict=True)
    }
