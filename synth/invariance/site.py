"""One site per image: its response in natural SDs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synth.answers import images_of
from synth.batches import project, quantise
from synth.contract import MICRO_BATCH, EncoderLike, Images, attributes_of

__all__ = ["shown", "standardised", "z_of"]


def shown(pixels: NDArray[np.uint8], constraints: Sequence[Images]) -> NDArray[np.uint8]:
    """Pixels (N, H, W, C) as the display may show them: projected on its constraints, in 8 bits."""
    parts = [
        quantise(project(images_of(pixels[i : i + MICRO_BATCH]), constraints), constraints).cpu().numpy()
        for i in range(0, len(pixels), MICRO_BATCH)
    ]
    return np.concatenate(parts)


def standardised(encoder: EncoderLike) -> Callable[[Tensor], Tensor]:
    """Images (B, C, H, W) -> z (B, U): mean over members, in natural SDs from the natural mean where it has them."""
    known = attributes_of(encoder)

    def z(images: Tensor) -> Tensor:
        responses = encoder(images.to(known.device))
        responses = responses if responses.dim() == 2 else responses.mean(0)
        if known.mean is None or known.sd is None:
            return responses
        return (responses - known.mean.to(responses)) / known.sd.to(responses)

    return z


def z_of(encoder: EncoderLike, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Images (B, C, H, W) -> z of the site of each image, (B,); `columns` (B,) are theirs, or (1,) that of all."""
    z = standardised(encoder)

    def of_site(images: Tensor) -> Tensor:
        place = columns.to(images.device).expand(len(images))
        return z(images).gather(1, place[:, None])[:, 0]

    return of_site
