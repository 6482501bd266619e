"""Random changes that a robust image should survive: (images, one generator an image) -> images.

Draws are made on the CPU, image by image, so image *i* sees the same draws alone, in any batch and on any device. A range
of zero is the identity, bit for bit, and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["affine", "jitter"]


@dataclass(frozen=True)
class Jitter:
    """Whole-pixel shifts, drawn uniformly from -n .. n in both directions (see `jitter`)."""

    fraction: float
    max_px: int | None
    background: float | None

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Shift each of the images (B, C, H, W) by its own draw."""
        _check_generators(images, generators)
        height, width = images.shape[-2:]
        n = round(self.fraction * width) if self.max_px is None else self.max_px
        if n == 0:
            return images
        if n >= min(height, width):
            raise ValueError(f"jitter of {n} pixels for images of {height} x {width}; expected less than their size")
        shifts = torch.stack([torch.randint(0, 2 * n + 1, (2,), generator=g) for g in generators]).tolist()
        mode, value = ("reflect", None) if self.background is None else ("constant", self.background)
        padded = functional.pad(images, (n, n, n, n), mode=mode, value=value)
        return torch.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, shifts, strict=True)])

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "jitter", **asdict(self)}


@dataclass(frozen=True)
class Affine:
    """Random scale, rotation and translation, composed into one resampling (see `affine`)."""

    scale: float
    rotation_deg: float
    translation: float
    background: float | None

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Resample each of the images (B, C, H, W) with its own draw."""
        _check_generators(images, generators)
        if not (self.scale or self.rotation_deg or self.translation):
            return images
        u = 2 * torch.stack([torch.rand(4, generator=g) for g in generators]) - 1  # (B, 4), in [-1, 1)
        theta = self._matrices(u, images.shape[-2] / images.shape[-1]).to(images)  # (B, 2, 3)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        if self.background is None:
            return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        return self.background + functional.grid_sample(images - self.background, grid, align_corners=False)

    def _matrices(self, u: Tensor, aspect: float) -> Tensor:
        """Sampling matrices (B, 2, 3) of draws `u` (B, 4); `aspect` = H / W keeps rotations rigid."""
        s = torch.exp(-u[:, 0] * math.log1p(self.scale))
        angle = u[:, 1] * math.radians(self.rotation_deg)
        tx, ty = 2 * self.translation * u[:, 2], 2 * self.translation * u[:, 3] / aspect
        first = torch.stack([s * angle.cos(), -s * angle.sin() * aspect, tx], 1)
        second = torch.stack([s * angle.sin() / aspect, s * angle.cos(), ty], 1)
        return torch.stack([first, second], 1)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "affine", **asdict(self)}


def jitter(fraction: float = 0.07, *, max_px: int | None = None, background: float | None = None) -> Jitter:
    """Shift by whole pixels, uniformly up to `fraction` of the image width (or `max_px` pixels) either way.

    What comes in at the border is the mirrored image, or `background` (a pixel value) where given.
    """
    if not 0 <= fraction < 1 or (max_px is not None and max_px < 0):
        raise ValueError(f"jitter of fraction {fraction} and max_px {max_px}; expected 0 <= fraction < 1, max_px >= 0")
    return Jitter(float(fraction), None if max_px is None else int(max_px), background)


def affine(
    scale: float = 0.0, rotation_deg: float = 0.0, translation: float = 0.0, *, background: float | None = None
) -> Affine:
    """Scale by up to 1 + `scale` either way, rotate by up to `rotation_deg`, shift by up to `translation` of the width.

    What comes in at the border is the mirrored image, or `background` (a pixel value) where given.
    """
    if min(scale, rotation_deg, translation) < 0:
        raise ValueError(f"affine ranges {scale}, {rotation_deg}, {translation}; expected numbers not below 0")
    return Affine(float(scale), float(rotation_deg), float(translation), background)


def _check_generators(images: Tensor, generators: Sequence[torch.Generator]) -> None:
    if len(images) != len(generators):
        raise ValueError(f"{len(generators)} generators for {len(images)} images; expected one an image")
