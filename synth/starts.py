"""Images to start an ascent from: photographs or noise inside receptive fields, on a background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from synth.parameterisations import NATURAL_SD, fourier
from synth.parameterisations.masks import check_background, check_masks

from .contract import check_shape

__all__ = ["blend", "noise_within"]


def blend(images: Tensor, mask: Tensor, background: float | Tensor = 0.5) -> Tensor:
    """Images behind a mask on a background, ``mask * images + (1 - mask) * background``, to start from.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W), in [0, 1]
        Such as the best measured photographs.
    mask : Tensor of shape (H, W), or (B, H, W) for one per image, in [0, 1]
        Such as receptive fields divided by their maximum.
    background : float, or Tensor of shape (C, H, W) or (B, C, H, W), in [0, 1]

    Returns
    -------
    Tensor of shape (B, C, H, W), in [0, 1]
    """
    if images.dim() != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}; expected (B, C, H, W)")
    shape = check_shape(images.shape[1:])
    check_masks(mask, shape)
    ground = check_background(background, shape).to(images)
    wrong = [len(x) for x, dims in ((mask, 3), (ground, 4)) if x.dim() == dims and len(x) != len(images)]
    if wrong:
        raise ValueError(
            f"{wrong[0]} masks or backgrounds for {len(images)} images; expected one per image, or one for all"
        )
    alpha = mask.to(images).unsqueeze(-3)  # ([B,] 1, H, W)
    return alpha * images + (1 - alpha) * ground


def noise_within(
    mask: Tensor,
    channels: int,
    generators: Sequence[torch.Generator],
    *,
    contrast: float = NATURAL_SD,
    decay: float = 1.75,
    background: float | Tensor = 0.5,
) -> Tensor:
    """Noise of a natural spectrum inside receptive fields, on a background that is all that shows outside.

    Parameters
    ----------
    mask : Tensor of shape (H, W), or (B, H, W) for one per image, in [0, 1]
    channels : 1 (grey) or 3 (RGB)
    generators : one CPU generator per image (B of them)
    contrast : float
        SD of the noise before the mask, in pixel values; what leaves [0, 1] is clipped.
    decay : float
        Amplitude 1 / frequency^decay, as in `fourier`.
    background : as of `blend`

    Returns
    -------
    Tensor of shape (B, C, H, W), in [0, 1]
    """
    if not contrast > 0:
        raise ValueError(f"contrast {contrast}; expected an SD of pixel values above 0")
    build = fourier((channels, *mask.shape[-2:]), decay, noise=contrast)
    return blend(build(generators)().detach().clamp(0, 1), mask, background)
