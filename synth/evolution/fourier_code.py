"""The low-pass Fourier code: the lowest frequencies of an image, under the spectrum of natural images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from synth.contract import check_shape
from synth.devices import device_named
from synth.parameterisations.core import NATURAL_SD
from synth.parameterisations.spectra import colour_matrix, coloured, decorrelated

__all__ = ["CUTOFF", "FourierCode", "first_code"]

CUTOFF = 10.0  # cycles per image: 317 numbers for a grey square


def first_code(size: int, seed: int) -> NDArray[np.float64]:
    """A standard normal code (size,), the same for the same `seed`."""
    return np.random.Generator(np.random.PCG64([seed, 2])).standard_normal(size)


class FourierCode:
    """Real and imaginary parts of the coefficients up to a cut-off, scaled by 1 / frequency^decay.

    The parameterisation of Olah et al. (2017) without its redundant and its high frequencies. A standard normal code
    has the contrast of natural images. An image that would leave [0, 1] is brought into it by less contrast, so that
    the pattern of a long code is that of a short one.

    Parameters
    ----------
    shape : (C, H, W)
    cutoff : float
        The highest frequency, in cycles per image (along its longer side).
    decay : float
        1 is the spectrum of natural images.
    """

    def __init__(
        self, shape: Sequence[int], *, cutoff: float = CUTOFF, decay: float = 1.0, device: torch.device | str = "cpu"
    ) -> None:
        self.shape, self.cutoff, self.decay = check_shape(shape), float(cutoff), float(decay)
        channels, height, width = self.shape
        highest = (min(height, width) - 1) // 2 * max(height, width) / min(height, width)
        if not 1 <= cutoff <= highest:
            raise ValueError(
                f"a cut-off of {cutoff:g} cycles per image of {height} x {width} pixels; expected 1 to {highest:g}: no "
                "finer ones than its pixels can show"
            )
        self.device = device_named(device)
        rows, columns = _frequencies(height, width, self.cutoff)  # (K,) each, the constant first
        radius = np.hypot(rows / height, columns / width)
        amplitude = np.maximum(radius, 1 / max(height, width)) ** -self.decay
        gain = np.where(np.arange(len(rows)) == 0, 1.0, 0.5) * amplitude  # a pair of frequencies has twice the value
        gain *= NATURAL_SD / np.sqrt(np.square(amplitude[1:]).sum())
        self._cells = (torch.as_tensor(rows % height), torch.as_tensor(columns))
        alone = columns == 0  # its partner lies in the same half plane
        self._mirrored = torch.as_tensor(np.flatnonzero(alone & (np.arange(len(rows)) > 0)))
        self._gain = torch.as_tensor(gain * height * width, device=self.device)  # (K,)
        self._colour = colour_matrix(channels, True).double().to(self.device)
        self.size = channels * (2 * len(rows) - 1)

    def start(self, seed: int) -> NDArray[np.float64]:
        """A standard normal code, (D,): an image of natural contrast without detail."""
        return first_code(self.size, seed)

    def decode(self, codes: ArrayLike) -> Tensor:
        """Images (n, C, H, W) in [0, 1] of codes (n, D)."""
        values = torch.as_tensor(np.asarray(codes, dtype=np.float64), device=self.device)
        deviation = self._deviation(values)
        largest = deviation.abs().flatten(1).amax(1)[:, None, None, None]
        return (0.5 + deviation * (0.5 / largest.clamp_min(0.5))).float().clamp(0, 1)

    def encode(self, images: Tensor) -> NDArray[np.float64]:
        """Codes (n, D) of the low frequencies of `images` (n, C, H, W) in [0, 1]."""
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"images of shape {tuple(images.shape[1:])}; expected {self.shape}")
        planes = decorrelated(images.double().to(self.device) - 0.5, self._colour)
        spectrum = torch.fft.rfft2(planes)[:, :, self._cells[0], self._cells[1]] / self._gain
        parts = torch.view_as_real(spectrum.contiguous())  # (n, C, K, 2)
        codes = torch.cat([parts[..., 0], parts[:, :, 1:, 1]], 2).flatten(1)
        found: NDArray[np.float64] = codes.cpu().numpy()
        return found

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {
            "name": "fourier",
            "size": self.size,
            "shape": list(self.shape),
            "cutoff": self.cutoff,
            "decay": self.decay,
        }

    def _deviation(self, codes: Tensor) -> Tensor:
        """Deviation from middle grey (n, C, H, W) of codes (n, D), in float64."""
        channels, height, width = self.shape
        count = len(self._gain)
        parts = codes.reshape(len(codes), channels, -1)
        real, imaginary = parts[..., :count], torch.nn.functional.pad(parts[..., count:], (1, 0))
        values = torch.complex(real, imaginary) * self._gain
        spectrum = values.new_zeros(len(codes), channels, height, width // 2 + 1)
        spectrum[:, :, self._cells[0], self._cells[1]] = values
        rows = self._cells[0][self._mirrored]
        spectrum[:, :, -rows % height, 0] = values[:, :, self._mirrored].conj()
        planes = torch.fft.irfft2(spectrum, s=(height, width))
        return coloured(planes, self._colour)


def _frequencies(height: int, width: int, cutoff: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One frequency (row, column) of each pair up to the cut-off, in cycles per height and per width, by radius."""
    grid = np.meshgrid(np.arange(-(height // 2), height // 2 + 1), np.arange(width // 2 + 1), indexing="ij")
    rows, columns = (axis.ravel() for axis in grid)
    radius = max(height, width) * np.hypot(rows / height, columns / width)
    first = (columns > 0) | (rows >= 0)
    inside = first & (radius <= cutoff) & (2 * np.abs(rows) < height) & (2 * columns < width)
    order = np.lexsort((columns[inside], rows[inside], radius[inside]))
    return rows[inside][order], columns[inside][order]
