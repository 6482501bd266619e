"""Sites of planted types: filters that the sites of a type share, with gains and filters of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def smooth_filters(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random smooth filters (count, size * size) of norm 1."""
    coarse = torch.randn(count, 1, 5, 5, generator=generator)
    filters = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").flatten(1)
    filters = filters - filters.mean(1, keepdim=True)
    return filters / filters.norm(dim=1, keepdim=True)


class PlantedTypes(nn.Module):
    """Rectified filters on grey images: every site has the filter of its type, mixed with one of its own, and a gain.

    Attributes
    ----------
    types : Tensor of shape (U,)
        The planted type of each site; the sites are shuffled.
    """

    def __init__(self, types: int, per_type: int, *, own: float = 0.5, size: int = 16, seed: int = 0) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        sites = types * per_type
        self.types = torch.arange(types).repeat_interleave(per_type)[torch.randperm(sites, generator=g)]
        shared, alone = smooth_filters(types, size, g), smooth_filters(sites, size, g)
        mixed = (1 - own) * shared[self.types] + own * alone
        gain = torch.empty(sites).uniform_(0.5, 2.0, generator=g)
        self.filters = nn.Parameter(gain[:, None] * mixed / mixed.norm(dim=1, keepdim=True), requires_grad=False)
        self.site_ids = tuple(f"v4_{i:03d}" for i in range(sites))
        self.fingerprint = f"enc_{seed:08d}"
        natural = smooth_filters(400, size, g)
        natural = 0.5 + 0.15 * natural / natural.std(1, keepdim=True)
        with torch.no_grad():
            answers = self(natural.view(-1, 1, size, size).clamp(0, 1))
        self.natural_mean, self.natural_sd = answers.mean(0), answers.std(0)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        drive = (images.flatten(1) - 0.5) @ self.filters.T
        return nn.functional.softplus(4 * drive) / 4


def held(images: Tensor) -> Tensor:
    """Images of mean 0.5 and RMS contrast 0.15, as far as [0, 1] allows."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    contrast = centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    return (0.5 + 0.15 * centred / contrast).clamp(0, 1)
