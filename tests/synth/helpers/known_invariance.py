"""Encoders whose invariance is known: linear sites, whose level sets are planes, and a display to show images on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from synth import exact_statistics


class Planes(nn.Module):
    """Site u answers ``w_u . x``; the natural mean is 0 and the natural SD 1."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.float())  # (U, C, H, W)
        self.site_ids = tuple(f"v4_{i:03d}" for i in range(len(weights)))
        self.natural_mean, self.natural_sd = torch.zeros(len(weights)), torch.ones(len(weights))
        self.fingerprint = "planes"
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.flatten(1).T


class Bowl(Planes):
    """Site u answers ``|x - 1/2|^2 / 2 + w_u . x``: level sets bend, and a step across the gradient raises it."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.5 * (images - 0.5).flatten(1).square().sum(1)[:, None]


def weights(sites: int, side: int = 16, seed: int = 0, size: float = 8.0) -> Tensor:
    """Random smooth weight images of mean 0 and norm `size`."""
    noise = torch.randn(
        sites, 1, side + 2, side + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float32
    )
    drawn = nn.functional.avg_pool2d(noise, 3, 1)
    drawn = drawn - drawn.mean((2, 3), keepdim=True)
    return size * drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]


def pictures(count: int, side: int = 16, seed: int = 5, contrast: float = 0.08) -> np.ndarray:
    """Smooth random 8-bit images (count, side, side, 1) about the middle grey."""
    noise = torch.randn(
        count, 1, side + 4, side + 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float32
    )
    smooth = nn.functional.avg_pool2d(noise, 5, 1)
    smooth = smooth / smooth.flatten(1).std(1)[:, None, None, None]
    images = (0.5 + contrast * smooth).clamp(0, 1)
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def display(side: int = 16, rms: float = 0.15):
    return [exact_statistics((1, side, side), mean=0.5, rms=rms)]
