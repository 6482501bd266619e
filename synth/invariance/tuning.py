"""Tuning series: one image at graded contrasts, scales, places and angles, each within what the display may show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from synth.batches import project, quantise
from synth.constraints import ConstraintError
from synth.constraints.aperture import without_aperture
from synth.contract import Images

__all__ = ["SERIES", "Series", "half_width", "moved", "series_images", "series_of", "step"]


@dataclass(frozen=True)
class Series:
    """One way to change an image, step by step.

    Attributes
    ----------
    name : str
    values : tuple of float, in rising order
        One step each; `identity` is one of them.
    identity : float
        The step that leaves the image as it is.
    unit : str
        Of the values, for people.
    """

    name: str
    values: tuple[float, ...]
    identity: float
    unit: str


_ANGLES = (-90.0, -60.0, -45.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0)
SERIES = ("contrast", "scale", "position_x", "position_y", "rotation")
"""Names of the series."""


def series_of(height: int, width: int) -> dict[str, Series]:
    """The series for images of that size: places go to a quarter of the shorter side, in whole pixels."""
    side = min(height, width)
    shifts = tuple(float(v) for v in sorted({round(i * side / 16) for i in range(-4, 5)}))
    return {
        "contrast": Series("contrast", (0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5), 1.0, "times the RMS contrast"),
        "scale": Series("scale", tuple(2.0 ** (i / 4) for i in range(-4, 5)), 1.0, "times the size"),
        "position_x": Series("position_x", shifts, 0.0, "pixels to the right"),
        "position_y": Series("position_y", shifts, 0.0, "pixels upwards"),
        "rotation": Series("rotation", _ANGLES, 0.0, "degrees counter-clockwise"),
    }


def moved(
    images: Tensor,
    *,
    scale: float = 1.0,
    degrees: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    about: tuple[float, float] | None = None,
) -> Tensor:
    """Images drawn larger, turned and shifted; beyond the border lies the mirrored image.

    Shifts are whole pixels and alone copy pixel values. Otherwise values are bilinear, and a smaller image takes the
    mean of n x n points per pixel, n = 1 / scale rounded up: no aliasing.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W)
    scale : float
        Above 1: larger.
    degrees : float
        Counter-clockwise.
    shift : (right, up), in pixels, each less than the image's size
    about : (x, y), in pixels from the upper left corner, or None
        The point that scaling and turning leave in place; None = the centre of the image.

    Returns
    -------
    Tensor of shape (B, C, H, W); `images` itself where nothing moves
    """
    if not (scale > 0 and math.isfinite(scale) and math.isfinite(degrees)):
        raise ValueError(f"scale {scale} and rotation {degrees}; expected a scale above 0, and finite degrees")
    height, width = images.shape[-2:]
    right, up = shift
    if abs(right) >= width or abs(up) >= height:
        raise ValueError(f"a shift of {shift} pixels for images of {height} x {width}; expected less than their size")
    if right or up:
        padding = (abs(right), abs(right), abs(up), abs(up))
        images = functional.pad(images, padding, mode="reflect")
        top, left = abs(up) + up, abs(right) - right
        images = images[..., top : top + height, left : left + width]
    if scale == 1 and degrees == 0:
        return images
    return _resampled(images, scale, degrees, about=about or ((width - 1) / 2, (height - 1) / 2))


def _resampled(images: Tensor, scale: float, degrees: float, *, about: tuple[float, float]) -> Tensor:
    height, width = images.shape[-2:]
    points = max(1, math.ceil(1 / scale - 1e-9))
    inner = (torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5
    y = (torch.arange(height, dtype=torch.float64)[:, None] + inner).flatten() - about[1]
    x = (torch.arange(width, dtype=torch.float64)[:, None] + inner).flatten() - about[0]
    angle = math.radians(degrees)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # rows run downwards: a counter-clockwise turn takes the value from a clockwise one
    source_x = cos * x[None] - sin * y[:, None] + about[0]
    source_y = sin * x[None] + cos * y[:, None] + about[1]
    grid = torch.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], -1)
    grid = grid.to(images.device)[None].expand(len(images), -1, -1, -1)
    sampled = functional.grid_sample(images.double(), grid, padding_mode="reflection", align_corners=False)
    return functional.avg_pool2d(sampled, points).to(images)


def step(series: str, value: float) -> dict[str, object]:
    """The arguments of `moved` for a step of a geometric series."""
    if series == "scale":
        return {"scale": value}
    if series == "rotation":
        return {"degrees": value}
    pixels = round(value)
    return {"shift": (pixels, 0) if series == "position_x" else (0, pixels)}


def series_images(
    pixels: NDArray[np.uint8],
    series: Series,
    *,
    constraints: Sequence[Images],
    at_contrast: Callable[[float], Sequence[Images]],
    about: tuple[float, float] | None = None,
) -> tuple[list[NDArray[np.uint8] | None], list[str]]:
    """One image at every step of a series, as the display shows it.

    Parameters
    ----------
    pixels : array of shape (H, W, C), uint8
    series : Series
    constraints : sequence of callables (B, C, H, W) -> (B, C, H, W)
        What the display may show, of places, sizes and angles: mean and contrast stay the same.
    at_contrast : callable, factor -> such constraints
        At a contrast so many times the usual: the mean stays the same.
    about : as of `moved`

    Returns
    -------
    One image (H, W, C) per step, None where the display cannot show it, and the reasons, "" where there is an image.
    The image of the identity is `pixels`, bit by bit.
    """
    bare = without_aperture(torch.from_numpy(pixels).movedim(-1, 0)[None].double() / 255, constraints)
    made: list[NDArray[np.uint8] | None] = []
    reasons: list[str] = []
    for value in series.values:
        reason = ""
        image: NDArray[np.uint8] | None = None
        try:
            if value == series.identity:
                image = pixels.copy()
            elif series.name == "contrast":
                limits = at_contrast(value)
                image = quantise(project(bare, limits), limits)[0].numpy()
            else:
                changed = moved(bare, about=about, **step(series.name, value))  # type: ignore[arg-type]
                image = quantise(project(changed, constraints), constraints)[0].numpy()
        except ConstraintError as error:
            reason = str(error)
        made.append(image)
        reasons.append(reason)
    return made, reasons


def half_width(values: ArrayLike, responses: ArrayLike, identity: float) -> tuple[float | None, float | None]:
    """How far a series goes to each side of the identity before the response falls to half of that at the identity.

    Parameters
    ----------
    values : array of shape (K,), rising
    responses : array of shape (K,)
        Above the natural mean: 0 = as to the average photograph. NaN where there was no image.
    identity : float

    Returns
    -------
    Distances below and above the identity, in the unit of `values`, between steps by a straight line; None where the
    response stays above half up to the end of the series, or where it is not above 0 at the identity
    """
    x, y = np.asarray(values, np.float64), np.asarray(responses, np.float64)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    here = np.flatnonzero(x == identity)
    if not len(here) or y[here[0]] <= 0:
        return None, None
    middle, half = int(here[0]), y[here[0]] / 2
    return (
        _crossing(x[middle::-1], y[middle::-1], half),
        _crossing(x[middle:], y[middle:], half),
    )


def _crossing(x: NDArray[np.float64], y: NDArray[np.float64], half: float) -> float | None:
    """Distance from x[0] at which y first falls to `half`."""
    below = np.flatnonzero(y <= half)
    if not len(below):
        return None
    i = int(below[0])
    share = (y[i - 1] - half) / (y[i - 1] - y[i])
    return float(abs(x[i - 1] + share * (x[i] - x[i - 1]) - x[0]))
