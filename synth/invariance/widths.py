"""Responses between images: along a line, in a triangle, and around a point of a path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.contract import MICRO_BATCH, EncoderLike, Images

__all__ = ["DISTANCES", "GRID", "line_responses", "path_widths", "triangle_responses"]

GRID = 11  # steps along a side
DIRECTIONS = 256
DISTANCES = (0.026, 0.077)
"""Root mean square of the change, in pixel values: the distances 10 and 30 of the published code over the root of the
number of pixel values of its images (3 x 224 x 224)."""


@torch.no_grad()
def responses_of(z: EncoderLike, images: Tensor, display: Images) -> NDArray[np.float64]:
    """Responses (N,) of one site to images (N, C, H, W), each first as `display` shows it."""
    parts = [z(display(images[i : i + MICRO_BATCH])).double().cpu() for i in range(0, len(images), MICRO_BATCH)]
    answers: NDArray[np.float64] = torch.cat(parts).numpy()
    if answers.shape != (len(images),):
        raise ValueError(f"responses of shape {answers.shape} to {len(images)} images; expected one per image")
    return answers


def line_responses(z: EncoderLike, ends: Tensor, display: Images, *, grid: int = GRID) -> NDArray[np.float64]:
    """Responses (grid,) on the straight line between two images (2, C, H, W)."""
    share = torch.linspace(0, 1, grid).to(ends)[:, None, None, None]
    return responses_of(z, (1 - share) * ends[:1] + share * ends[1:], display)


def triangle_responses(z: EncoderLike, corners: Tensor, display: Images, *, grid: int = GRID) -> NDArray[np.float64]:
    """Responses in the triangle of three images (3, C, H, W), source first (Balasubramanian et al. 2023).

    All mixtures with shares that are multiples of ``1 / (grid - 1)``, corners among them: grid (grid + 1) / 2 points.
    """
    if len(corners) != 3:
        raise ValueError(f"{len(corners)} corners; expected 3")
    shares = [(grid - 1 - i - j, i, j) for i in range(grid) for j in range(grid - i)]
    weights = torch.tensor(shares, dtype=corners.dtype, device=corners.device) / (grid - 1)
    return responses_of(z, torch.einsum("nk,kchw->nchw", weights, corners), display)


def path_widths(
    z: EncoderLike,
    ends: Tensor,
    display: Images,
    *,
    generator: torch.Generator,
    distances: Sequence[float] = DISTANCES,
    directions: int = DIRECTIONS,
) -> list[dict[str, float]]:
    """5th and 95th percentile of the response around the end of a path, across it (Balasubramanian et al. 2023).

    Parameters
    ----------
    z : callable
        Responses of one site.
    ends : Tensor of shape (2, C, H, W)
        Source and end of the path: the directions are orthogonal to the line between them.
    display : callable
        What the display makes of an image.
    generator : torch.Generator
    distances : sequence of numbers
        Root mean square of the change.
    directions : int
        Random ones, the same at every distance.

    Returns
    -------
    list of dict, one per distance: distance, low, high
    """
    line = (ends[1] - ends[0]).flatten()
    drawn = torch.randn(directions, line.numel(), generator=generator, dtype=torch.float32).to(ends)
    unit = line / line.norm().clamp_min(1e-30)
    drawn = drawn - (drawn @ unit)[:, None] * unit
    drawn = drawn / drawn.square().mean(1, keepdim=True).sqrt()
    found = []
    for distance in distances:
        z_around = responses_of(z, ends[1:] + distance * drawn.unflatten(1, tuple(ends.shape[1:])), display)
        low, high = np.percentile(z_around, [5, 95])
        found.append({"distance": float(distance), "low": float(low), "high": float(high)})
    return found
