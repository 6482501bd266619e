"""What an encoder says of a picture, in one pass of its network: predicted responses and a short vector of features."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from encoders import Encoder, Ensemble
from encoders.backbones import feature_maps

__all__ = ["FEATURES", "SIDE", "Describer"]

FEATURES = 128
"""Length of the vector of features."""
SIDE = 2
"""Features of a layer are averaged over so many by so many parts of the image: where something is matters to a site."""


class Describer:
    """Images (B, C, H, W) -> responses (M, B, U) and features (B, `FEATURES`), which depend on each image alone.

    The features of every layer that the encoder reads are averaged over 2 x 2 parts of the image, scaled to length 1
    and projected to `FEATURES` numbers by a random matrix of Gaussian entries, which keeps distances up to some ten
    percent (Johnson & Lindenstrauss 1984). The matrix follows from the name of the layer: encoders of
    one network share it.

    Parameters
    ----------
    encoder : Encoder or Ensemble
    """

    def __init__(self, encoder: Encoder | Ensemble) -> None:
        self.encoder = encoder
        self.matrices: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Responses and features of a batch."""
        features = self.encoder.backbone(images)
        answers = torch.stack([readout(features) for readout in self.encoder.readouts])
        total = torch.zeros(len(images), FEATURES, device=images.device)
        for name in sorted(features):
            pooled = feature_maps(features[name], SIDE).float().flatten(1)
            scaled = pooled / pooled.norm(dim=1, keepdim=True).clamp_min(1e-12)
            total = total + scaled @ self._matrix(name, pooled.shape[1]).to(images.device)
        return self.encoder.adjust(answers), total

    def _matrix(self, layer: str, size: int) -> Tensor:
        key = f"{layer}/{size}"
        if key not in self.matrices:
            seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
            drawn = torch.randn(size, FEATURES, generator=torch.Generator().manual_seed(seed))
            self.matrices[key] = drawn / FEATURES**0.5
        return self.matrices[key]
