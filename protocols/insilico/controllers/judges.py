"""What encoder and validator answer to 8-bit images, in natural SDs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels

__all__ = ["MICRO_BATCH", "Judges", "answers", "z_scores"]

MICRO_BATCH = 32


@torch.no_grad()
def answers(encoder: Encoder | Ensemble, pixels: Pixels) -> Floats:
    """Responses (S, U) predicted to `pixels`, uint8 (S, H, W, C): mean over members, in the encoder's unit."""
    device = encoder.natural_mean.device
    parts = []
    for first in range(0, len(pixels), MICRO_BATCH):
        images = (torch.from_numpy(pixels[first : first + MICRO_BATCH]).movedim(-1, 1).float() / 255).contiguous()
        responses = encoder(images.to(device))
        parts.append(responses if responses.dim() == 2 else responses.mean(0))
    predicted: Floats = torch.cat(parts).double().cpu().numpy()
    return predicted


def z_scores(encoder: Encoder | Ensemble, responses: Floats) -> Floats:
    """Responses (S, U) in natural SDs from the natural mean."""
    mean, sd = (getattr(encoder, f"natural_{name}").double().cpu().numpy() for name in ("mean", "sd"))
    z: Floats = (responses - mean) / sd
    return z


@dataclass(frozen=True)
class Judges:
    """The encoder that made images, and the validator that made none.

    Attributes
    ----------
    encoder, validator : Encoder or Ensemble
    """

    encoder: Encoder | Ensemble
    validator: Encoder | Ensemble

    @property
    def site_ids(self) -> Sequence[str]:
        """The encoder's sites, the columns of `z`."""
        return self.encoder.site_ids

    def z(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """What both predict of `pixels`, uint8 (S, H, W, C), in each one's natural SDs: two arrays (S, U)."""
        order = [list(self.validator.site_ids).index(site) for site in self.site_ids]
        judged = z_scores(self.validator, answers(self.validator, pixels))[:, order]
        return z_scores(self.encoder, answers(self.encoder, pixels)), np.ascontiguousarray(judged)
