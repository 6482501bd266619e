"""Parameterisations: the free variables from which an image is made.

A factory (`pixels`, `fourier`, `phase`, `latent`, `masked`) is called with one generator per image and gives an
`nn.Module` whose ``forward()`` is the batch of images, not yet confined to [0, 1]: the constraints do that. Variables
are scaled so that an SD of `NATURAL_SD` stands for the contrast of a natural image at a noise start and for the
spectrum of the start image where there is one; a learning rate then means the same everywhere (with Adam, 0.05 = a
quarter of that SD per step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .core import NATURAL_SD as NATURAL_SD
from .core import Parameterisation as Parameterisation
from .core import pixels
from .latents import latent
from .masks import masked
from .spectra import fourier, phase

__all__ = ["fourier", "latent", "masked", "phase", "pixels"]


def _smooth(shape: Sequence[int]) -> Parameterisation:
    """The latent of half-size images, enlarged and squashed into [0, 1]."""
    channels, height, width = shape

    def decoder(z: Tensor) -> Tensor:
        return torch.sigmoid(torch.nn.functional.interpolate(z, (height, width), mode="bilinear", align_corners=True))

    return latent(shape, decoder, (channels, height // 2 + 1, width // 2 + 1))


def _window(shape: Sequence[int]) -> Parameterisation:
    """Fourier coefficients behind a round window with a soft edge."""
    y, x = (torch.linspace(-1, 1, n, dtype=torch.float32) for n in shape[1:])
    return masked(fourier(shape), (4 * (1 - (y[:, None] ** 2 + x**2).sqrt())).clamp(0, 1))


CATALOGUE: dict[str, Callable[[Sequence[int]], Parameterisation]] = {
    "fourier": fourier,
    "latent": _smooth,
    "masked": _window,
    "phase": phase,
    "pixels": pixels,
}
"""One of each kind for images of a shape (C, H, W); what the property tests run through."""
