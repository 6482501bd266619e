"""What an encoder answers to 8-bit images: responses, scores, and how familiar the images are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.objectives import BoundObjective, site_name

from .contract import Attributes, EncoderLike, attributes_of


@dataclass(frozen=True)
class Answers:
    """An encoder's answers to 8-bit images: mean and SD over members (B, U), score (B,)."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    scores: NDArray[np.float32]


def default_site_ids(attributes: Attributes, columns: int) -> tuple[str, ...]:
    """The encoder's site ids, or column names where it has none."""
    return attributes.site_ids or tuple(site_name(i) for i in range(columns))


@torch.no_grad()
def evaluating(encoder: EncoderLike, objective: BoundObjective, pixels: Tensor) -> Answers:
    """Score 8-bit images (B, H, W, C), uint8, exactly as they are."""
    images = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous()
    responses = encoder(images)
    scores = objective(images, responses)
    members = responses if responses.dim() == 3 else responses[None]  # (M, B, U)
    sd = members.std(0) if len(members) > 1 else torch.full_like(members[0], torch.nan)
    return Answers(*(_numpy(x) for x in (members.mean(0), sd, scores)))


@torch.no_grad()
def familiarity(
    encoder: EncoderLike, pixels: NDArray[np.uint8], batch_size: int = 32
) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Distance (S,) of 8-bit images (S, H, W, C) from the fitted ones, and whether outside (S,); None if unknown."""
    judge = getattr(encoder, "judge", None)
    if judge is None or getattr(encoder, "uncertainty", None) is None:
        return None, None
    device = attributes_of(encoder).device
    judgements = [
        judge(torch.from_numpy(pixels[i : i + batch_size]).to(device).permute(0, 3, 1, 2).float() / 255)
        for i in range(0, len(pixels), batch_size)
    ]
    outside: NDArray[np.bool_] = torch.cat([j.outside for j in judgements]).cpu().numpy()
    return _numpy(torch.cat([j.distance for j in judgements])), outside


def _numpy(x: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = x.detach().cpu().float().numpy()
    return array
