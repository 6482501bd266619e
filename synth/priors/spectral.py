"""A prior without weights: Gaussian images with the amplitude spectrum and the colours of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synth.contract import check_shape

from .prior import PixelPrior

__all__ = ["spectral"]

# Orthonormal colour axes (luminance, red-green, blue-yellow) and their variances, that of luminance = 1.
COLOUR_AXES = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))
COLOUR_VARIANCES = (1.0, 0.04, 0.065)
KNOWS = "second-order statistics alone: no edges, no objects; evidence about neither"


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def spectral(
    shape: Sequence[int],
    *,
    exponent: float = 1.3,
    sd: float = 0.45,
    mean_sd: float = 0.35,
    corner: float = 0.5,
    sigmas: tuple[float, float] = (0.02, 40.0),
) -> Spectral:
    """Gaussian images of power 1 / (f^2 + corner^2)^exponent, f in cycles per image; the denoiser is the Wiener filter.

    Natural amplitude falls about as 1/f (Field 1987). Clean values are 2 x pixel value - 1.

    Parameters
    ----------
    shape : (C, H, W), any size
    exponent, corner : float
    sd : float
        SD of clean values within an image (mean over channels).
    mean_sd : float
        SD of an image's mean over images.
    sigmas : (float, float)
        Range of noise levels.
    """
    size = check_shape(shape)
    for name, value in {"sd": sd, "mean_sd": mean_sd, "corner": corner}.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; expected a number above 0")
    if not 0 < sigmas[0] < sigmas[1]:
        raise ValueError(f"sigmas {tuple(sigmas)}; expected the smallest and the largest noise level, both above 0")
    return Spectral(size, float(exponent), float(sd), mean_sd=float(mean_sd), corner=float(corner), sigmas=sigmas)


class Spectral(PixelPrior):
    """See `spectral`."""

    power: Tensor
    axes: Tensor
    weights: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        exponent: float,
        sd: float,
        *,
        mean_sd: float,
        corner: float,
        sigmas: tuple[float, float],
    ) -> None:
        super().__init__(shape, sigmas)
        self.settings = {"exponent": exponent, "sd": sd, "mean_sd": mean_sd, "corner": corner}
        self.register_buffer(
            "power", power_spectrum(shape, exponent, sd, mean_sd=mean_sd, corner=corner)
        )  # (C, H, W // 2 + 1)
        self.register_buffer("axes", torch.tensor(COLOUR_AXES if shape[0] == 3 else ((1.0,),), dtype=torch.float32))
        self.register_buffer("weights", half_plane_weights(shape[1], shape[2]))  # (W // 2 + 1,)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The Wiener estimate: every coefficient of power S shrunk by S / (S + sigma^2)."""
        planes = torch.einsum("kc,bchw->bkhw", self.axes, x)
        spectrum = torch.fft.rfft2(planes, norm="ortho")
        shrunk = spectrum * (self.power / (self.power + sigma.view(-1, 1, 1, 1) ** 2))
        estimate: Tensor = torch.fft.irfft2(shrunk, s=x.shape[-2:], norm="ortho")
        return torch.einsum("kc,bkhw->bchw", self.axes, estimate)

    def error_sd(self, sigma: Tensor) -> Tensor:
        """Root mean squared error (B,) of the estimate at the noise levels `sigma` (B,), in closed form."""
        noise = sigma.view(-1, 1, 1, 1) ** 2
        variance = self.weights * self.power * noise / (self.power + noise)  # (B, C, H, W // 2 + 1)
        total: Tensor = self.weights.sum() * self.power.shape[0] * self.power.shape[1]
        return (variance.sum((1, 2, 3)) / total).sqrt()

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        size = {"shape": list(self.shape), "sigmas": list(self.sigmas)}
        return {"name": "spectral", **size, **self.settings, "knows": KNOWS}


def power_spectrum(shape: tuple[int, int, int], exponent: float, sd: float, *, mean_sd: float, corner: float) -> Tensor:
    """Variance (C, H, W // 2 + 1) of the orthonormal Fourier coefficients of each colour axis."""
    channels, height, width = shape
    fy, fx = torch.fft.fftfreq(height, dtype=torch.float32), torch.fft.rfftfreq(width, dtype=torch.float32)
    fy, fx = fy[:, None] * height, fx[None] * width
    power: Tensor = (fy**2 + fx**2 + corner**2) ** -exponent
    power[0, 0] = 0
    count = height * width
    if count > 1:
        power = power * (sd**2 * count / (power * half_plane_weights(height, width)).sum())
    power[0, 0] = mean_sd**2 * count
    if channels == 1:
        return power[None]
    variances = torch.tensor(COLOUR_VARIANCES, dtype=torch.float32)
    shares: Tensor = variances * 3 / variances.sum()
    return power * shares[:, None, None]


def half_plane_weights(height: int, width: int) -> Tensor:
    """How often each column of a half plane (H, W // 2 + 1) stands in the whole plane: (W // 2 + 1,)."""
    weights = torch.full((width // 2 + 1,), 2.0, dtype=torch.float32)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    return weights
