"""Colours and clipping of images: the photographs' chroma as a limit for controllers, and the share of clipped values.

The chroma of a pixel is the largest distance of a channel's light from the pixel's luminance, in units of relative
luminance, as `synth.constraints.gamut` limits it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from protocols.arrays import Floats, Pixels
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.display import LUMINANCE_WEIGHTS, Display
from synth.constraints import gamut

QUANTILE = 0.99
"""Of the chroma of all pixels of the photographs: no pixel of a controller has more."""
BINS = 4096
MUCH = 0.2
"""Share of values at black or white above which an image is named."""


def natural_chroma(display: Display, natural: Pixels) -> float:
    """The `QUANTILE` of the chroma of the pixels of photographs, uint8 (N, H, W, 3), rounded up to 1/4096; 0 for grey
    ones.
    """
    counts = np.zeros(BINS, dtype=np.int64)
    for image in natural:
        chroma = _chroma(display, image)
        counts += np.bincount(np.ceil(chroma.ravel() * (BINS - 1)).astype(np.int64), minlength=BINS)
    reached = np.cumsum(counts) >= QUANTILE * counts.sum()
    return float(np.argmax(reached) / (BINS - 1))


def image_chroma(display: Display, pixels: Pixels) -> Floats:
    """The `QUANTILE` of the chroma of the pixels of each image, uint8 (S, H, W, C): (S,); 0 for grey ones."""
    if pixels.shape[-1] == 1:
        return np.zeros(len(pixels))
    return np.array([np.quantile(_chroma(display, image), QUANTILE) for image in pixels])


def _chroma(display: Display, pixels: Pixels) -> Floats:
    """Chroma of uint8 pixels (H, W, 3): (H, W), in [0, 1]."""
    light = display.to_luminance(torch.from_numpy(pixels.astype(np.float64) / 255)).numpy()
    luminance = light @ np.array(LUMINANCE_WEIGHTS)
    found: Floats = np.abs(light - luminance[..., None]).max(-1).clip(0, 1)
    found[(pixels == pixels[..., :1]).all(-1)] = 0.0  # grey, whatever the weights round to
    return found


def colour_limits(display: Display, settings: SynthesisConfig, natural: Pixels) -> list[Any]:
    """The constraint that follows `Display.constraints`: chroma of at most ``max_chroma``, by default the photographs';
    none on a grey display.
    """
    if display.colour == "grey":
        return []
    limit = natural_chroma(display, natural) if settings.max_chroma is None else settings.max_chroma
    return [chroma_limit(display, limit)]


def chroma_limit(display: Display, chroma: float) -> Any:
    """A projection onto images of the display whose pixels have at most that chroma; luminance stays."""
    linear = display.encoding == "linear"
    return gamut(
        chroma=chroma,
        to_luminance=None if linear else display.to_luminance,
        to_pixel=None if linear else display.to_pixel,
    )


def clipping_text(shares: ArrayLike) -> str:
    """A sentence on images with many values at black or white; "" where there are none.

    `shares`, (N,): of each image's values, as `synth.StimulusBatch.black_or_white` gives them.
    """
    shares = np.asarray(shares, np.float64)
    many = int((shares > MUCH).sum())
    if not many:
        return ""
    return (
        f"{many} of {len(shares)} images have more than {MUCH:.0%} of their values at black or white (up to "
        f"{shares.max():.0%}): lower rms_contrast in [synthesis], or, with diffusion, strength in [diffusion]"
    )
