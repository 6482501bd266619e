"""Statistics that distinguish natural images from noise: the slope of the amplitude spectrum, and the kurtosis of Gabor
responses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from protocols.arrays import Floats
from synth.contract import LUMINANCE_WEIGHTS

__all__ = ["WAVELENGTHS", "ImageStatistics", "image_statistics"]


WAVELENGTHS = (4, 8)  # pixels
ORIENTATIONS = 4
FLATTEST = 3  # cycles per image: below it, the window decides
FINEST = 0.8  # of the Nyquist frequency
MICRO_BATCH = 256


@dataclass(frozen=True)
class ImageStatistics:
    """What is measured of S images, so that any subset can be summarised.

    Parameters
    ----------
    frequencies : array of shape (K,)
        Cycles per image (its shorter side).
    power : array of shape (S, K)
        Mean power of the windowed image at those frequencies.
    second, fourth : arrays of shape (S, len(WAVELENGTHS), ORIENTATIONS)
        Mean square and mean fourth power of the responses to Gabor filters.
    """

    frequencies: Floats
    power: Floats
    second: Floats
    fourth: Floats

    def __len__(self) -> int:
        return len(self.power)

    def slope(self, rows: Sequence[int] | NDArray[np.integer] | None = None) -> float:
        """Minus the slope of log amplitude over log frequency of the mean power spectrum: about 1.2 for photographs, 0
        for white noise.
        """
        power = (self.power if rows is None else self.power[rows]).mean(0)
        if not (power > 0).all():
            return math.nan
        return -float(np.polyfit(np.log(self.frequencies), 0.5 * np.log(power), 1)[0])

    def kurtosis(self, wavelength: int, rows: Sequence[int] | NDArray[np.integer] | None = None) -> float:
        """Fourth moment over squared second moment of all responses, mean over orientations: 3 for Gaussian images,
        more with edges.
        """
        which = WAVELENGTHS.index(wavelength)
        chosen = slice(None) if rows is None else rows
        second, fourth = self.second[chosen, which].mean(0), self.fourth[chosen, which].mean(0)
        return float((fourth / second**2).mean()) if (second > 0).all() else math.nan

    def summary(self, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> dict[str, dict[str, float]]:
        """``slope``, ``kurtosis_4`` and ``kurtosis_8``, each ``{"value", "low", "high"}``: percentile interval of a
        bootstrap of images.
        """
        generator = np.random.default_rng(seed)
        draws = [generator.integers(len(self), size=len(self)) for _ in range(resamples)]
        tail = 50 * (1 - level)
        intervals = {}
        for name in ("slope", *(f"kurtosis_{w}" for w in WAVELENGTHS)):
            values = np.array([self._value(name, rows) for rows in draws])
            low, high = np.percentile(values, [tail, 100 - tail])
            intervals[name] = {"value": self._value(name, None), "low": float(low), "high": float(high)}
        return intervals

    def _value(self, name: str, rows: NDArray[np.integer] | None) -> float:
        return self.slope(rows) if name == "slope" else self.kurtosis(int(name.removeprefix("kurtosis_")), rows)


@torch.no_grad()
def image_statistics(images: NDArray[np.uint8] | Tensor) -> ImageStatistics:
    """Measure luminance statistics of images.

    The spectrum is that of the image less its mean under a Hann window, averaged over orientations, from 3 cycles per
    image to 0.8 of the Nyquist frequency (van der Schaaf & van Hateren 1996 measure so). The filters are even Gabors of
    4 orientations and wavelengths of 4 and 8 pixels, an SD of half a wavelength, without response to a uniform field
    (Field 1987: responses of such filters to natural images have heavy tails).

    Parameters
    ----------
    images : uint8 array (S, H, W, C), or Tensor (S, C, H, W) of pixel values
        At least 32 pixels per side; C = 1 or 3 (luminance is taken of the pixel values as they are).
    """
    stack = torch.from_numpy(images).movedim(-1, 1).float() / 255 if isinstance(images, np.ndarray) else images.float()
    if stack.ndim != 4 or stack.shape[1] not in (1, 3) or min(stack.shape[2:]) < 32 or len(stack) == 0:
        raise ValueError(
            f"images of shape {tuple(stack.shape)}; expected (S, C, H, W), C = 1 or 3, sides of at least 32 pixels"
        )
    parts = [_measure(stack[i : i + MICRO_BATCH]) for i in range(0, len(stack), MICRO_BATCH)]
    frequencies = parts[0][0]
    power, second, fourth = (np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
    return ImageStatistics(frequencies, power, second, fourth)


def _measure(images: Tensor) -> tuple[Floats, Floats, Floats, Floats]:
    grey = torch.einsum("bchw,c->bhw", images, images.new_tensor(LUMINANCE_WEIGHTS[images.shape[1]]))
    height, width = grey.shape[1:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    spectrum = torch.fft.fft2(((grey - grey.mean((1, 2), keepdim=True)) * window).double()).abs().square()
    side = min(height, width)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)) * side
    ring = radius.round().long()
    cycles = range(FLATTEST, int(FINEST * side / 2))
    power = torch.stack([spectrum[:, ring == k].mean(1) for k in cycles], 1)
    second, fourth = [], []
    for wavelength in WAVELENGTHS:
        responses = functional.conv2d(grey[:, None], _gabors(wavelength)).flatten(2).double()
        second.append(responses.square().mean(2))
        fourth.append(responses.pow(4).mean(2))
    return (
        np.array(cycles, dtype=np.float64),
        power.numpy(),
        torch.stack(second, 1).numpy(),
        torch.stack(fourth, 1).numpy(),
    )


def _gabors(wavelength: int) -> Tensor:
    """Even filters (ORIENTATIONS, 1, n, n) of norm 1 and sum 0."""
    half = int(1.5 * wavelength)
    y, x = torch.meshgrid(torch.arange(-half, half + 1.0), torch.arange(-half, half + 1.0), indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * (wavelength / 2) ** 2))
    filters = []
    for i in range(ORIENTATIONS):
        angle = i * math.pi / ORIENTATIONS
        wave = envelope * torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wavelength)
        wave = wave - wave.mean()
        filters.append(wave / wave.norm())
    return torch.stack(filters)[:, None]
