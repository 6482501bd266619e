"""How far two images lie apart, pixel by pixel and in structure; each function compares image i with image i."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["largest_difference", "mean_pairwise", "rms_difference", "structural_similarity"]

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03


def rms_difference(images: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root mean squared difference of pixel values in [0, 1]: (B, C, H, W) and the same -> (B,).

    `mask` (H, W): weights of the pixels, ``sqrt(sum m^2 d^2 / sum m^2)``.
    """
    _check(images, others)
    squared = (images.double() - others.double()).square()
    if mask is None:
        return squared.flatten(1).mean(1).sqrt()
    weights = mask.to(squared).square().expand_as(squared)
    return ((weights * squared).flatten(1).sum(1) / weights.flatten(1).sum(1)).sqrt()


def largest_difference(images: Tensor, others: Tensor) -> Tensor:
    """Largest absolute difference of any pixel value in [0, 1], L-infinity: (B, C, H, W) and the same -> (B,)."""
    _check(images, others)
    return (images.double() - others.double()).abs().flatten(1).amax(1)


def structural_similarity(images: Tensor, others: Tensor) -> Tensor:
    """Mean structural similarity, SSIM (Wang, Bovik, Sheikh & Simoncelli 2004, eq. 13), of values in [0, 1] -> (B,).

    Gaussian window of 11 x 11 pixels and SD 1.5, of which only whole windows count; K1 = 0.01, K2 = 0.03; channels are
    averaged.

    Raises
    ------
    ValueError
        Images of less than 11 pixels.
    """
    _check(images, others)
    if min(images.shape[-2:]) < WINDOW:
        raise ValueError(f"images of {tuple(images.shape[-2:])} pixels; expected at least {WINDOW} x {WINDOW}")
    x, y = images.double(), others.double()
    place = torch.arange(WINDOW, dtype=torch.float64, device=x.device) - WINDOW // 2
    line = torch.exp(-0.5 * (place / SIGMA).square())
    line = line / line.sum()
    window = (line[:, None] * line).expand(x.shape[1], 1, -1, -1)

    def local(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=values.shape[1])  # (B, C, H - 10, W - 10)

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x.square(), local(y * y) - mean_y.square()
    shared = local(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    above = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    below = (mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)
    return (above / below).flatten(1).mean(1)


def mean_pairwise(images: Tensor, mask: Tensor | None = None) -> float:
    """Mean over all pairs of images (N, C, H, W) of their `rms_difference`; NaN for fewer than two."""
    count = len(images)
    if count < 2:
        return float("nan")
    first, second = torch.triu_indices(count, count, 1)
    pairs = [rms_difference(images[i : i + 1], images[j : j + 1], mask) for i, j in zip(first, second, strict=True)]
    return float(torch.cat(pairs).mean())


def _check(images: Tensor, others: Tensor) -> None:
    if images.dim() != 4 or images.shape != others.shape:
        raise ValueError(
            f"images of shapes {tuple(images.shape)} and {tuple(others.shape)}; expected (B, C, H, W), both"
        )
