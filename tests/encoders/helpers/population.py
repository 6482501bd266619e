"""A population of sites, some of them new."""

from __future__ import annotations

import torch


def planted(n_new: int = 20, own: float = 0.5, noise: float = 0.7, seed: int = 0):
    """Features (700, 200), known sites' predictions and new sites that mix the known sites' weights and add a part of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weights = draw(700, 200), draw(200, 30) / 200**0.5
    mixed = weights @ draw(30, n_new) / 30**0.5
    truth = x @ (mixed + own * draw(200, n_new) / 200**0.5)
    return x, x @ weights, truth, truth + noise * draw(*truth.shape)
