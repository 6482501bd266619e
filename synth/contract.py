"""The encoder contract, and what all rooms share: type aliases, the check of a shape, noise, digests.

An encoder is any callable that gives responses (B, U), or (M, B, U) of M members, to images (B, C, H, W) in [0, 1].
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Images = Callable[[Tensor], Tensor]
Transfer = Callable[[Tensor], Tensor]
MICRO_BATCH = 32
LUMINANCE_WEIGHTS = {1: (1.0,), 3: (0.2126, 0.7152, 0.0722)}  # of linear red, green and blue (ITU-R BT.709)
Transform = Callable[[Tensor, Sequence[torch.Generator]], Tensor]
Factory = Callable[[Sequence[torch.Generator], Tensor | None, torch.device], nn.Module]
Progress = Callable[[str, int, int], None]
EncoderLike = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attributes:
    """The attributes that an encoder may have, read once.

    Attributes
    ----------
    site_ids : tuple of U str, or None
    mean, sd : Tensor of shape (U,), or None
        Mean and SD of the responses to natural images, in the unit of the responses.
    fingerprint : str
        Empty where the encoder has none.
    device : torch.device
        That of the first parameter or buffer; the CPU where there is none.
    """

    site_ids: tuple[str, ...] | None
    mean: Tensor | None
    sd: Tensor | None
    fingerprint: str
    device: torch.device


def attributes_of(encoder: EncoderLike) -> Attributes:
    """Read `site_ids`, `natural_mean`, `natural_sd`, `fingerprint` and the device, where the encoder has them."""
    site_ids = _site_ids_of(encoder)
    mean, sd = getattr(encoder, "natural_mean", None), getattr(encoder, "natural_sd", None)
    if (mean is None) != (sd is None):
        raise ValueError("the encoder has only one of natural_mean and natural_sd; expected both or none")
    first: Tensor | None = None
    if isinstance(encoder, nn.Module):
        first = next(encoder.parameters(), None)
        first = next(encoder.buffers(), None) if first is None else first
    return Attributes(
        site_ids=site_ids,
        mean=None if mean is None else torch.as_tensor(mean),
        sd=None if sd is None else torch.as_tensor(sd),
        fingerprint=str(getattr(encoder, "fingerprint", "")),
        device=torch.device("cpu") if first is None else first.device,
    )


def _site_ids_of(encoder: EncoderLike) -> tuple[str, ...] | None:
    """The site ids of an encoder; refused where they are not names, each of one site."""
    given: Any = getattr(encoder, "site_ids", None)
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"the encoder's site_ids are {given!r}; expected a sequence of names, one per column")
    names = tuple(str(s) for s in given)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"the encoder's site_ids name {', '.join(twice[:5])} more than once; expected every site once: a name must "
            "lead to one column"
        )
    return names


def describe(thing: Any) -> Any:
    """JSON-able record of a transform, constraint or parameterisation: its own description, else its name."""
    if hasattr(thing, "describe"):
        return thing.describe()
    return {"name": getattr(thing, "__name__", type(thing).__name__)}


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """`shape` as (C, H, W); refused where it is not that of grey or RGB images."""
    size = tuple(int(n) for n in shape)
    if len(size) != 3 or size[0] not in LUMINANCE_WEIGHTS or min(size) < 1:
        raise ValueError(f"shape {tuple(shape)}; expected (C, H, W) with C = 1 (grey) or 3 (RGB)")
    return size[0], size[1], size[2]


def draw(generators: Sequence[torch.Generator], size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise (B, *size) on `device`, drawn from one CPU generator per image."""
    drawn = [torch.randn(tuple(size), generator=g, dtype=torch.float32) for g in generators]
    return torch.stack(drawn).to(device)


def uniform(generators: Sequence[torch.Generator], size: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1), (B, *size), on the CPU, drawn from one CPU generator per image."""
    return torch.stack([torch.rand(tuple(size), generator=g, dtype=torch.float32) for g in generators])


def digest(values: Tensor) -> str:
    """SHA-256 of the bytes of a tensor, in hexadecimal."""
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
