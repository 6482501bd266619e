"""What synthesis needs to know of an encoder: any callable (B, C, H, W) -> (B, U) or (M, B, U)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.objectives import BoundObjective, site_name

EncoderLike = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attributes:
    """The attributes that an encoder may have, read once."""

    site_ids: tuple[str, ...] | None
    mean: Tensor | None
    sd: Tensor | None
    fingerprint: str
    device: torch.device


@dataclass(frozen=True)
class Answers:
    """An encoder's answers to 8-bit images: mean and SD over members (B, U), score (B,)."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    scores: NDArray[np.float32]


def attributes_of(encoder: EncoderLike) -> Attributes:
    """Read `site_ids`, `natural_mean`, `natural_sd`, `fingerprint` and the device, where the encoder has them."""
    site_ids = getattr(encoder, "site_ids", None)
    mean, sd = getattr(encoder, "natural_mean", None), getattr(encoder, "natural_sd", None)
    if (mean is None) != (sd is None):
        raise ValueError("the encoder has only one of natural_mean and natural_sd; expected both or none")
    first = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
    return Attributes(
        site_ids=None if site_ids is None else tuple(str(s) for s in site_ids),
        mean=None if mean is None else torch.as_tensor(mean),
        sd=None if sd is None else torch.as_tensor(sd),
        fingerprint=str(getattr(encoder, "fingerprint", "")),
        device=torch.device("cpu") if first is None else first.device,
    )


def check_frozen(encoder: EncoderLike, what: str = "encoder") -> None:
    """Refuse an encoder (or another network, called `what`) whose answer depends on chance or on the rest of the batch."""
    if not isinstance(encoder, nn.Module):
        return
    unsteady = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    for name, module in encoder.named_modules():
        if module.training and isinstance(module, unsteady):
            raise ValueError(
                f"the {what}'s {type(module).__name__} {name!r} is in training mode, so that an image's response depends "
                f"on chance or on the other images; call {what.split()[0]}.eval() first"
            )


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
    """Distance of 8-bit images (S, H, W, C) from the fitted ones, and whether that is outside; None where it is not known."""
    judge = getattr(encoder, "judge", None)
    if judge is None or getattr(encoder, "uncertainty", None) is None:
        return None, None
    device = attributes_of(encoder).device
    found = [
        judge(torch.from_numpy(pixels[i : i + batch_size]).to(device).permute(0, 3, 1, 2).float() / 255)
        for i in range(0, len(pixels), batch_size)
    ]
    outside: NDArray[np.bool_] = torch.cat([f.outside for f in found]).cpu().numpy()
    return _numpy(torch.cat([f.distance for f in found])), outside


def _numpy(x: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = x.detach().cpu().float().numpy()
    return array


def describe(thing: Any) -> Any:
    """JSON-able record of a transform, constraint or parameterisation: its own description, else its name."""
    if hasattr(thing, "describe"):
        return thing.describe()
    return {"name": getattr(thing, "__name__", type(thing).__name__)}
