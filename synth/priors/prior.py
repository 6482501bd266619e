"""The contract of a prior: a denoiser that knows what images look like."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Denoiser", "PixelPrior", "Prior"]


class Denoiser(Protocol):
    """What a step of sampling needs: D(x, sigma) = E[clean | x], where x = clean + sigma * standard normal noise.

    Attributes
    ----------
    sd : float
        SD of clean values; with it a strength in posterior standard deviations means the same for every prior.
    limits : (float, float), or None
        Range that clean values are confined to.
    """

    @property
    def sd(self) -> float:
        """SD of clean values."""
        ...

    @property
    def limits(self) -> tuple[float, float] | None:
        """Range of clean values, or None."""
        ...

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean estimate (B, *shape) of `x` (B, *shape) at noise levels `sigma` (B,), row by row."""
        ...


class Prior(Denoiser, Protocol):
    """A denoiser whose clean values can be decoded to images.

    A prior that does not use `sigma` has an attribute ``blind = True``.

    Attributes
    ----------
    shape : (C, H, W) of x: pixels, or a latent code
    sigmas : (float, float)
        The smallest and the largest noise level at which to use it; at the largest, x cannot be told from noise.
    sd, limits : as of `Denoiser`
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of x."""
        ...

    @property
    def sigmas(self) -> tuple[float, float]:
        """Smallest and largest noise level."""
        ...

    def decode(self, clean: Tensor) -> Tensor:
        """Images (B, C, H, W) of clean values; pixel values, nominally in [0, 1] but not confined to it."""
        ...

    def to(self, device: torch.device) -> Any:
        """The prior on another device."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings, with a sentence on what the prior does not know."""
        ...


class PixelPrior(nn.Module):
    """A prior of pixels: clean values are 2 x pixel value - 1."""

    limits: tuple[float, float] | None = None

    def __init__(self, shape: tuple[int, int, int], sigmas: tuple[float, float], sd: float = 0.5) -> None:
        super().__init__()
        self.shape, self.sigmas, self.sd = shape, sigmas, sd

    def decode(self, clean: Tensor) -> Tensor:
        """Images (B, C, H, W) of clean values."""
        return (clean + 1) / 2
