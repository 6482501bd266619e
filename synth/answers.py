"""What an encoder answers to 8-bit images: responses, scores, and how familiar the images are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.objectives import BoundObjective, site_name

from .contract import MICRO_BATCH, Attributes, EncoderLike, attributes_of


@dataclass(frozen=True)
class Answers:
    """An encoder's answers to 8-bit images: mean and SD over members (B, U), score (B,)."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    scores: NDArray[np.float32]


def default_site_ids(attributes: Attributes, columns: int) -> tuple[str, ...]:
    """The encoder's site ids, or column names where it has none."""
    return attributes.site_ids or tuple(site_name(i) for i in range(columns))


def images_of(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Pixels, uint8 (B, H, W, C), as images (B, C, H, W) in [0, 1]."""
    tensor = pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
    return (tensor.movedim(-1, -3).float() / 255).contiguous()


@torch.no_grad()
def responses_to(encoder: EncoderLike, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Responses predicted to 8-bit images, uint8 (N, H, W, C) -> (N, U): mean over members, in the encoder's unit."""
    device, parts = attributes_of(encoder).device, []
    for begin in range(0, len(pixels), MICRO_BATCH):
        responses = encoder(images_of(pixels[begin : begin + MICRO_BATCH]).to(device))
        parts.append((responses if responses.dim() == 2 else responses.mean(0)).double().cpu())
    answers: NDArray[np.float64] = torch.cat(parts).numpy()
    return answers


def z_scores(responses: NDArray[Any], encoder: EncoderLike) -> NDArray[np.float64]:
    """Responses (N, U) of all sites of an encoder in its natural SDs from its natural mean; as they are where it has
    neither.
    """
    known, values = attributes_of(encoder), np.asarray(responses, dtype=np.float64)
    if known.mean is None or known.sd is None:
        return values
    mean, sd = (x.detach().double().cpu().numpy() for x in (known.mean, known.sd))
    z: NDArray[np.float64] = (values - mean) / sd
    return z


def z_scores_to(encoder: EncoderLike, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`responses_to` 8-bit images in natural SDs, uint8 (N, H, W, C) -> (N, U)."""
    return z_scores(responses_to(encoder, pixels), encoder)


@torch.no_grad()
def evaluating(encoder: EncoderLike, objective: BoundObjective, pixels: Tensor) -> Answers:
    """Score 8-bit images (B, H, W, C), uint8, exactly as they are."""
    images = images_of(pixels)
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
