"""What the optimiser moves: free variables from which an image is made.

A factory (`pixels`, `fourier`) is called with one generator an image and gives an `nn.Module` whose ``forward()`` is
the batch of images, not yet confined to [0, 1]: the constraints do that. Variables are scaled so that an SD of
`NATURAL_SD` stands for the contrast of a natural image at a noise start and for the spectrum of the start image where
there is one; a learning rate then means the same everywhere (with Adam, 0.05 = a quarter of that SD a step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fourier", "pixels"]

NATURAL_SD = 0.2

# Square root of the correlation of R, G and B over ImageNet (Olah, Mordvintsev & Schubert 2017, "Feature visualization").
_COLOUR_CORRELATION_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))

Build = Callable[[Sequence[torch.Generator], Tensor | None, torch.device], nn.Module]


@dataclass(frozen=True)
class Parameterisation:
    """A factory of free variables with a name and settings for the record."""

    name: str
    shape: tuple[int, int, int]
    settings: dict[str, Any]
    build: Build

    def __call__(
        self, generators: Sequence[torch.Generator], start: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Free variables of one batch.

        Parameters
        ----------
        generators : one CPU generator an image (B of them)
        start : Tensor of shape (B, C, H, W), in [0, 1], or None
            ``forward()`` starts exactly there; None starts from noise around mid-grey.
        device : where the variables live

        Returns
        -------
        nn.Module whose ``forward()`` gives images (B, C, H, W)
        """
        if start is not None and tuple(start.shape) != (len(generators), *self.shape):
            raise ValueError(f"start of shape {tuple(start.shape)}; expected {(len(generators), *self.shape)}")
        return self.build(generators, start, torch.device(device))

    def describe(self) -> dict[str, Any]:
        """JSON-able name, shape and settings."""
        return {"name": self.name, "shape": list(self.shape), **self.settings}


def pixels(shape: Sequence[int], *, noise: float = 0.01) -> Parameterisation:
    """One free variable a pixel and channel; `noise` is the SD of the noise start, in pixel values."""
    size = _check_shape(shape)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if start is None:
            start = 0.5 + noise * _draw(generators, size)
        return _Pixels(start.detach().clone().to(device))

    return Parameterisation("pixels", size, {"noise": noise}, build)


def fourier(
    shape: Sequence[int], decay: float = 1.75, *, noise: float = 0.01, decorrelate: bool = True
) -> Parameterisation:
    """Fourier coefficients scaled by 1 / frequency^decay, in decorrelated colours (Olah et al. 2017).

    Parameters
    ----------
    shape : (C, H, W)
    decay : float
        1 is the customary spectrum; the steeper 1.75 transferred best to unseen neurons.
    noise : float
        SD of the coefficients at a noise start; `NATURAL_SD` would be natural contrast.
    decorrelate : bool
        False: three independent channels. One grey channel has no colours to decorrelate.
    """
    size = _check_shape(shape)
    colour = _colour_matrix() if decorrelate and size[0] == 3 else torch.eye(size[0])
    amplitude = _amplitude(size[1], size[2], decay)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if start is None:
            drawn = noise * _draw(generators, (size[0], size[1], size[2] // 2 + 1, 2))
            return _Fourier(drawn, torch.full((len(drawn), size[0], 1, 1), 0.5), amplitude, colour, size).to(device)
        return _fourier_at(start.detach().to(device), amplitude.to(start), colour.to(start), size).to(device)

    return Parameterisation("fourier", size, {"decay": decay, "noise": noise, "decorrelate": decorrelate}, build)


class _Pixels(nn.Module):
    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)  # (B, C, H, W)

    def forward(self) -> Tensor:
        return self.values


class _Fourier(nn.Module):
    """images = offset + colour @ irfft2(amplitude * coefficients)."""

    amplitude: Tensor
    offset: Tensor
    colour: Tensor

    def __init__(
        self, coefficients: Tensor, offset: Tensor, amplitude: Tensor, colour: Tensor, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(coefficients.contiguous())  # (B, C, H, W // 2 + 1, 2)
        self.register_buffer("amplitude", amplitude[..., None])  # ([B, 1,] H, W // 2 + 1, 1)
        self.register_buffer("offset", offset)  # (B, C, 1, 1)
        self.register_buffer("colour", colour)  # (C, C)
        self.size = shape[1:]

    def forward(self) -> Tensor:
        spectrum = torch.view_as_complex(self.coefficients * self.amplitude)
        planes: Tensor = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")  # (B, C, H, W)
        if planes.shape[1] > 1:
            colour = self.colour.expand(len(planes), -1, -1)
            planes = torch.bmm(colour, planes.flatten(2)).reshape(planes.shape)
        return self.offset + planes


def _fourier_at(start: Tensor, amplitude: Tensor, colour: Tensor, shape: tuple[int, int, int]) -> _Fourier:
    """The variables whose image is `start`: the inverse transform, scaled to an SD of `NATURAL_SD` an image."""
    offset = start.mean((2, 3), keepdim=True)
    planes = torch.einsum("bchw,dc->bdhw", start - offset, torch.linalg.inv(colour.double()).to(start))
    whitened = torch.view_as_real(torch.fft.rfft2(planes, norm="ortho") / amplitude)  # (B, C, H, W // 2 + 1, 2)
    # a constant image has no scale of its own: there the noise start's holds
    gain = whitened.flatten(1).std(1) / NATURAL_SD  # (B,)
    gain = torch.where(gain > 1e-3, gain, torch.ones_like(gain))[:, None, None, None]
    return _Fourier(whitened / gain[..., None], offset, amplitude * gain, colour, shape)


def _amplitude(height: int, width: int, decay: float) -> Tensor:
    """1 / frequency^decay over the half plane (H, W // 2 + 1), scaled so that coefficients of SD s give pixels of SD s."""
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    full: Tensor = (fy**2 + fx**2).sqrt().clamp(min=1 / max(height, width)) ** -decay
    return full[:, : width // 2 + 1] / (2 * full.square().mean()).sqrt()


def _colour_matrix() -> Tensor:
    root = torch.tensor(_COLOUR_CORRELATION_ROOT)
    longest: Tensor = root.norm(dim=0).max()
    return root / longest


def _draw(generators: Sequence[torch.Generator], size: Sequence[int]) -> Tensor:
    """Standard normal noise, one generator an image: (B, *size)."""
    return torch.stack([torch.randn(tuple(size), generator=g) for g in generators])


def _check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    size = tuple(int(n) for n in shape)
    if len(size) != 3 or size[0] not in (1, 3) or min(size) < 1:
        raise ValueError(f"shape {tuple(shape)}; expected (C, H, W) with C = 1 (grey) or 3 (RGB)")
    return size[0], size[1], size[2]
