"""Networks of one's own as backbones, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoders.backbones import Backbone
from encoders.backbones.frozen import BackboneConfig


def wrapped(network: nn.Module, *layers: str) -> Backbone:
    """A backbone of `network`, for images (x - 0.4) / 0.2."""
    config = BackboneConfig(uri="own:net", layers=layers, input_size=None, weights="random", seed=0, weights_sha256="")
    return Backbone(network, config, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))


def images(size: tuple[int, int], n: int = 2) -> Tensor:
    """Noise (n, 3, H, W) in [0, 1]."""
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(5))
