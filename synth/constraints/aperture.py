"""Images as they were before an aperture was laid over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from synth.contract import Images

from .exact import ExactStatistics

__all__ = ["without_aperture"]

BLUNT = 0.05  # share of the aperture below which 8 bits no longer tell what was behind it


def without_aperture(images: Tensor, constraints: Sequence[Images]) -> Tensor:
    """Images (B, C, H, W) before the aperture of `constraints` was laid over them, where enough of them is seen.

    The constraints lay it over every image that they get; where it hides the image, the background stays.
    """
    exact = next((c for c in constraints if isinstance(c, ExactStatistics)), None)
    if exact is None or exact.aperture is None:
        return images
    weight = exact.aperture.to(images)
    ground = exact.to_luminance(torch.full((), exact.background).to(images))
    bare = ground + (exact.to_luminance(images) - ground) / weight.clamp_min(BLUNT)
    return exact.to_pixel(torch.where(weight > BLUNT, bare, ground)).clamp(0, 1)
