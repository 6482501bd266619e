"""Stochastic transforms applied before the encoder at each step: (images, one generator per image) -> images.

Draws are made on the CPU, image by image, so image *i* sees the same draws alone, in any batch and on any device. A
range of zero is the identity, bit for bit, and draws nothing. Parameters are drawn here and given to kornia, whose own
augmentations draw from the global generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .contract import LUMINANCE_WEIGHTS, Transform, draw, uniform

__all__ = ["affine", "blur", "colour", "elastic", "erase", "jitter", "noise"]


def transformed(
    images: Tensor, transforms: Sequence[Transform], generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Images after all transforms, and the sum of the penalties of those transforms that have one.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W), in [0, 1]
    transforms : sequence of callables (images, generators) -> images
        A transform with a method ``penalty(images)`` also gives a penalty (B,) of the images that it returns.
    generators : sequence of B CPU generators

    Returns
    -------
    Tensor of shape (B, C, H, W), and Tensor of shape (B,), in the unit of the score
    """
    penalties = images.new_zeros(len(images))
    for transform in transforms:
        images = transform(images, generators)
        if hasattr(transform, "penalty"):
            penalties = penalties + transform.penalty(images)
    return images, penalties


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
    """Random scale, rotation, shear and translation, composed into one resampling (see `affine`)."""

    scale: float
    rotation_deg: float
    translation: float
    background: float | None
    shear_deg: float = 0.0

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Resample each of the images (B, C, H, W) with its own draw."""
        _check_generators(images, generators)
        if not (self.scale or self.rotation_deg or self.translation or self.shear_deg):
            return images
        u = 2 * uniform(generators, (5 if self.shear_deg else 4,)) - 1  # in [-1, 1)
        theta = self._matrices(u, images.shape[-2] / images.shape[-1]).to(images)  # (B, 2, 3)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return _resampled(images, grid, self.background)

    def _matrices(self, u: Tensor, aspect: float) -> Tensor:
        """Sampling matrices (B, 2, 3) of draws `u` (B, 4 or 5); `aspect` = H / W keeps rotations rigid."""
        s = torch.exp(-u[:, 0] * math.log1p(self.scale))
        angle = u[:, 1] * math.radians(self.rotation_deg)
        k = torch.tan(u[:, 4] * math.radians(self.shear_deg)) if self.shear_deg else torch.zeros_like(s)
        tx, ty = 2 * self.translation * u[:, 2], 2 * self.translation * u[:, 3] / aspect
        cos, sin = s * angle.cos(), s * angle.sin()
        first = torch.stack([cos, (k * cos - sin) * aspect, tx], 1)
        second = torch.stack([sin / aspect, k * sin + cos, ty], 1)
        return torch.stack([first, second], 1)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "affine", **asdict(self)}


@dataclass(frozen=True)
class Elastic:
    """Random smooth displacements (see `elastic`)."""

    amplitude: float
    smoothness: float
    background: float | None

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Displace the pixels of each of the images (B, C, H, W) by its own field."""
        _check_generators(images, generators)
        if not self.amplitude:
            return images
        from kornia.filters import filter2d_separable, get_gaussian_kernel1d

        height, width = images.shape[-2:]
        sd = self.smoothness * width
        drawn = draw(generators, (2, height, width)).to(images)
        kernel = get_gaussian_kernel1d(2 * math.ceil(3 * sd) + 1, sd, device=images.device, dtype=images.dtype)
        field = filter2d_separable(drawn, kernel, kernel, "constant") / kernel.square().sum()  # of SD 1
        share = images.new_tensor([2 * self.amplitude, 2 * self.amplitude * width / height])
        upright = torch.eye(2, 3, dtype=torch.float32).to(images).expand(len(images), -1, -1)
        grid = functional.affine_grid(upright, list(images.shape), align_corners=False)
        return _resampled(images, grid + field.permute(0, 2, 3, 1) * share, self.background)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "elastic", **asdict(self)}


@dataclass(frozen=True)
class Noise:
    """Gaussian pixel noise (see `noise`)."""

    sd: float

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Add to each of the images (B, C, H, W) its own noise."""
        _check_generators(images, generators)
        if not self.sd:
            return images
        drawn = draw(generators, images.shape[1:])
        return images + self.sd * drawn.to(images)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "noise", **asdict(self)}


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of a random width (see `blur`)."""

    sd_px: float

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Blur each of the images (B, C, H, W) by its own draw."""
        _check_generators(images, generators)
        if not self.sd_px:
            return images
        from kornia.filters import gaussian_blur2d

        half = math.ceil(3 * self.sd_px)
        if half >= min(images.shape[-2:]):
            raise ValueError(
                f"blur of SD {self.sd_px} pixels for images {tuple(images.shape[-2:])}; expected a third of their size "
                "at most"
            )
        u = uniform(generators, (1,))  # (B, 1)
        sd = (self.sd_px * u).clamp_min(1e-3).expand(-1, 2).to(images)
        blurred: Tensor = gaussian_blur2d(images, 2 * half + 1, sd)
        return blurred

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "blur", **asdict(self)}


@dataclass(frozen=True)
class Colour:
    """Random brightness, contrast, saturation and hue (see `colour`)."""

    brightness: float
    contrast: float
    saturation: float
    hue_deg: float

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Change each of the images (B, C, H, W) by its own draw."""
        _check_generators(images, generators)
        if not (self.brightness or self.contrast or self.saturation or self.hue_deg):
            return images
        u = (2 * uniform(generators, (4,)) - 1).to(images)[:, :, None, None, None]
        if images.shape[1] == 3 and (self.saturation or self.hue_deg):
            angle = math.radians(self.hue_deg) * u[:, 3, :, 0, 0]  # (B, 1)
            turned = torch.einsum("bdc,bchw->bdhw", _hue_rotation(angle), images)
            grey = torch.einsum("c,bchw->bhw", images.new_tensor(LUMINANCE_WEIGHTS[3]), turned)[:, None]
            images = grey + (1 + self.saturation * u[:, 2]) * (turned - grey)
        mean = images.mean((1, 2, 3), keepdim=True)
        return mean + self.brightness * u[:, 0] + (1 + self.contrast * u[:, 1]) * (images - mean)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "colour", **asdict(self)}


@dataclass(frozen=True)
class Erase:
    """A random rectangle is hidden (see `erase`)."""

    area: float
    background: float | None

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Hide a part of each of the images (B, C, H, W) by its own draw."""
        _check_generators(images, generators)
        if not self.area:
            return images
        height, width = images.shape[-2:]
        hidden = torch.zeros(len(images), 1, height, width, dtype=torch.bool)
        for one, generator in zip(hidden, generators, strict=True):
            share, elongation, y, x = torch.rand(4, generator=generator, dtype=torch.float32).tolist()
            stretch = 2 ** (elongation - 0.5)  # height / width of the rectangle from 1/2 to 2 times the image's
            rows = min(height, round(height * math.sqrt(share * self.area) * stretch))
            columns = min(width, round(width * math.sqrt(share * self.area) / stretch))
            top, left = int(y * (height - rows + 1)), int(x * (width - columns + 1))
            one[:, top : top + rows, left : left + columns] = True
        ground = images.mean((2, 3), keepdim=True) if self.background is None else images.new_tensor(self.background)
        return torch.where(hidden.to(images.device), ground, images)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "erase", **asdict(self)}


def jitter(fraction: float = 0.07, *, max_px: int | None = None, background: float | None = None) -> Jitter:
    """Shift by whole pixels, uniformly up to `fraction` of the image width (or `max_px` pixels) either way.

    What comes in at the border is the mirrored image, or `background` (a pixel value) where given.
    """
    if not 0 <= fraction < 1 or (max_px is not None and max_px < 0):
        raise ValueError(f"jitter of fraction {fraction} and max_px {max_px}; expected 0 <= fraction < 1, max_px >= 0")
    return Jitter(float(fraction), None if max_px is None else int(max_px), background)


def affine(
    scale: float = 0.0,
    rotation_deg: float = 0.0,
    translation: float = 0.0,
    *,
    shear_deg: float = 0.0,
    background: float | None = None,
) -> Affine:
    """Scale by up to 1 + `scale` either way; rotate, shear (degrees) and shift (image widths) by up to so much.

    All of it is one resampling. What comes in at the border is the mirrored image, or `background` (a pixel value)
    where given.
    """
    if min(scale, rotation_deg, translation) < 0 or not 0 <= shear_deg < 90:
        raise ValueError(
            f"affine ranges {scale}, {rotation_deg}, {translation}, shear {shear_deg}; expected numbers not below 0, "
            "shear below 90"
        )
    return Affine(
        scale=float(scale),
        rotation_deg=float(rotation_deg),
        translation=float(translation),
        background=background,
        shear_deg=float(shear_deg),
    )


def elastic(amplitude: float = 0.01, smoothness: float = 0.1, *, background: float | None = None) -> Elastic:
    """Displace pixels by a smooth random field (Simard et al. 2003).

    Its SD is `amplitude` and it is correlated over `smoothness`, both as fractions of the image width.     What comes
    in at the border is the mirrored image, or `background` (a pixel value) where given.
    """
    if amplitude < 0 or (amplitude and not 0 < smoothness < 1):
        raise ValueError(
            f"elastic amplitude {amplitude} and smoothness {smoothness}; expected an amplitude not below 0, 0 < "
            "smoothness < 1"
        )
    return Elastic(float(amplitude), float(smoothness), background)


def noise(sd: float = 0.02) -> Noise:
    """Add Gaussian noise of SD `sd`, in pixel values; the image may leave [0, 1]."""
    _not_below_zero("noise sd", sd)
    return Noise(float(sd))


def blur(sd_px: float = 1.0) -> Blur:
    """Blur by a Gaussian whose SD is drawn from 0 to `sd_px` pixels; the border is mirrored."""
    _not_below_zero("blur sd_px", sd_px)
    return Blur(float(sd_px))


def colour(brightness: float = 0.05, contrast: float = 0.1, saturation: float = 0.1, *, hue_deg: float = 0.0) -> Colour:
    """Shift brightness by up to `brightness` (pixel values), scale contrast and saturation, turn the hue (degrees).

    Each is drawn by itself, uniformly either way. Contrast is about the image's mean, saturation about each pixel's
    luminance (Rec. 709 weights on pixel values), hue a rotation about the grey axis; a grey image has neither
    saturation nor hue.
    """
    for name, value in (
        ("brightness", brightness),
        ("contrast", contrast),
        ("saturation", saturation),
        ("hue_deg", hue_deg),
    ):
        _not_below_zero(f"colour {name}", value)
    return Colour(float(brightness), float(contrast), float(saturation), float(hue_deg))


def erase(area: float = 0.1, *, background: float | None = None) -> Erase:
    """Hide a rectangle of up to `area` (fraction) of the image behind its mean colour, or `background` (a pixel value).

    The objective then cannot rest on one patch alone (Zhong et al. 2020, "Random erasing data augmentation").
    """
    if not 0 <= area < 1:
        raise ValueError(f"erase area {area}; expected 0 <= area < 1, a share of the image")
    return Erase(float(area), background)


def _resampled(images: Tensor, grid: Tensor, background: float | None) -> Tensor:
    """Images at the places `grid` (B, H, W, 2); beyond the border the mirrored image, or `background`."""
    if background is None:
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return background + functional.grid_sample(images - background, grid, align_corners=False)


def _hue_rotation(angle: Tensor) -> Tensor:
    """Rotations about the grey axis (Rodrigues' formula) by angles (B, 1) in radians: (B, 3, 3)."""
    cross = angle.new_tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    axis = torch.full_like(cross, 1 / 3)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]  # (B, 1, 1)
    return cos * torch.eye(3, dtype=torch.float32).to(angle) + (1 - cos) * axis + sin * cross


def _not_below_zero(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} {value}; expected a number not below 0")


def _check_generators(images: Tensor, generators: Sequence[torch.Generator]) -> None:
    if len(images) != len(generators):
        raise ValueError(f"{len(generators)} generators for {len(images)} images; expected one per image")


CATALOGUE: dict[str, Transform] = {
    "affine": affine(0.1, 10, 0.05, shear_deg=5),
    "blur": blur(),
    "colour": colour(hue_deg=10),
    "elastic": elastic(),
    "erase": erase(),
    "jitter": jitter(0.1),
    "noise": noise(),
}
"""One transform of each kind, for tests of properties that all have."""
DEFAULT_TRANSFORMS: tuple[Transform, ...] = (jitter(0.07),)
