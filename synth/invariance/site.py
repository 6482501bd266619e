"""One site per image: its response in natural SDs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.batches import batch_of, project, quantise
from synth.contract import MICRO_BATCH, EncoderLike, Images, attributes_of

__all__ = ["batch_of", "column_of", "floats", "shown", "sites_z", "standardised", "z_of"]


def floats(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Pixels, uint8 (B, H, W, C), as images (B, C, H, W) in [0, 1]."""
    tensor = pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
    return (tensor.movedim(-1, -3).float() / 255).contiguous()


def shown(pixels: NDArray[np.uint8], constraints: Sequence[Images]) -> NDArray[np.uint8]:
    """Pixels (N, H, W, C) as the display may show them: projected on its constraints, in 8 bits."""
    parts = [
        quantise(project(floats(pixels[i : i + MICRO_BATCH]), constraints), constraints).cpu().numpy()
        for i in range(0, len(pixels), MICRO_BATCH)
    ]
    return np.concatenate(parts)


def column_of(encoder: EncoderLike, site: str) -> int:
    """The column of a site.

    Raises
    ------
    ValueError
        The encoder has no such site.
    """
    known = attributes_of(encoder).site_ids
    if known is None or site not in known:
        raise ValueError(f"unknown site {site!r}; expected one of {', '.join((known or ())[:5]) or '(no names)'}")
    return known.index(site)


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


@torch.no_grad()
def sites_z(encoder: EncoderLike, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Z of all sites to 8-bit images, uint8 (N, H, W, C) -> (N, U)."""
    z, device = standardised(encoder), attributes_of(encoder).device
    parts = [z(floats(pixels[i : i + MICRO_BATCH]).to(device)).cpu() for i in range(0, len(pixels), MICRO_BATCH)]
    answers: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return answers


def z_of(encoder: EncoderLike, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Images (B, C, H, W) -> z of the site of each image, (B,); `columns` (B,) are theirs, or (1,) that of all."""
    z = standardised(encoder)

    def of_site(images: Tensor) -> Tensor:
        place = columns.to(images.device).expand(len(images))
        return z(images).gather(1, place[:, None])[:, 0]

    return of_site
