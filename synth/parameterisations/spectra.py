"""Images as spectra: free Fourier coefficients, or free phases under a natural magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from synth.contract import check_shape, digest, draw

from .core import NATURAL_SD, Parameterisation

__all__ = ["colour_matrix", "coloured", "decorrelated", "fourier", "phase"]

# Square root of the correlation of R, G and B over ImageNet (Olah et al. 2017, "Feature visualization").
_COLOUR_CORRELATION_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


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
    size = check_shape(shape)
    colour = colour_matrix(size[0], decorrelate)
    amplitude = _amplitude(size[1], size[2], decay)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if start is None:
            drawn = noise * draw(generators, (size[0], size[1], size[2] // 2 + 1, 2))
            return _Fourier(
                drawn,
                torch.full((len(drawn), size[0], 1, 1), 0.5, dtype=torch.float32),
                amplitude,
                colour=colour,
                shape=size,
            ).to(device)
        return _fourier_at(start.detach().to(device), amplitude.to(start), colour.to(start), shape=size).to(device)

    return Parameterisation("fourier", size, {"decay": decay, "noise": noise, "decorrelate": decorrelate}, build)


def phase(
    shape: Sequence[int], decay: float = 1.0, *, natural: Tensor | None = None, decorrelate: bool = True
) -> Parameterisation:
    """Phases alone, under the magnitude spectrum of natural images, so that no energy can go to unnatural frequencies.

    After MACO (Fel et al. 2023, "Unlocking feature visualization for deeper networks with magnitude constrained
    optimization"). Here the magnitude holds exactly at every frequency, those on the edge of the half plane included;
    the noise start has uniform phases, those of Gaussian noise; phases are not standardised to unit SD as in the
    released code, since they are angles and a photograph's must be among them; contrast is natural without a squashing
    function, by Parseval's theorem.

    A start image gives its phases, its mean, and the contrast of each of its colour planes; the distribution of that
    contrast over frequencies becomes the natural one. Such a start correlates with a photograph at about 0.8 to 0.9.

    Parameters
    ----------
    shape : (C, H, W)
    decay : float
        Magnitude 1 / frequency^decay, at the contrast `NATURAL_SD`, where no natural images are given.
    natural : Tensor of shape (N, C, H, W), in [0, 1], or None
        Photographs whose mean magnitude spectrum, one per colour plane, is taken instead, at their contrast.
    decorrelate : bool
        Colour planes as in `fourier`.
    """
    size = check_shape(shape)
    colour = colour_matrix(size[0], decorrelate)
    magnitude = _decaying(size, decay) if natural is None else _magnitude_of(natural, colour, size)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if start is None:
            offset = torch.full((len(generators), size[0], 1, 1), 0.5, dtype=torch.float32)
            return _Phase(torch.fft.rfft2(draw(generators, size)), magnitude, offset, colour=colour, shape=size).to(
                device
            )
        return _phase_at(start.detach().to(device), magnitude.to(start), colour.to(start), shape=size).to(device)

    source = {"decay": decay} if natural is None else {"natural": digest(natural), "images": len(natural)}
    return Parameterisation("phase", size, {**source, "decorrelate": decorrelate}, build, exact_start=False)


class _Fourier(nn.Module):
    """images = offset + colour @ irfft2(amplitude * coefficients)."""

    amplitude: Tensor
    offset: Tensor
    colour: Tensor

    def __init__(
        self, coefficients: Tensor, offset: Tensor, amplitude: Tensor, *, colour: Tensor, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(coefficients.contiguous())  # (B, C, H, W // 2 + 1, 2)
        pairs = amplitude[..., None].expand(*amplitude.shape, 2).contiguous()  # a stretched last axis would be slow
        self.register_buffer("amplitude", pairs)  # ([B, 1,] H, W // 2 + 1, 2)
        self.register_buffer("offset", offset)  # (B, C, 1, 1)
        self.register_buffer("colour", colour)  # (C, C)
        self.size = shape[1:]

    def forward(self) -> Tensor:
        spectrum = torch.view_as_complex(self.coefficients * self.amplitude)
        planes: Tensor = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")  # (B, C, H, W)
        return self.offset + coloured(planes, self.colour)


class _Phase(nn.Module):
    """images = offset + colour @ irfft2(spectrum * exp(i turn)), the spectrum of fixed magnitude."""

    spectrum: Tensor
    offset: Tensor
    colour: Tensor
    edge: Tensor
    opposite: Tensor

    def __init__(
        self, start: Tensor, magnitude: Tensor, offset: Tensor, *, colour: Tensor, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        _, height, width = shape
        # `forward` scales it: a step turns a phase as far as a coefficient of `fourier` of root mean square modulus
        self.turn = nn.Parameter(torch.zeros_like(start.real))  # (B, C, H, W // 2 + 1)
        directions = torch.where(start == 0, torch.ones_like(start), torch.sgn(start))
        self.register_buffer("spectrum", magnitude * directions)  # (B, C, H, W // 2 + 1), complex
        self.register_buffer("offset", offset)  # (B, C, 1, 1)
        self.register_buffer("colour", colour)  # (C, C)
        column = torch.arange(width // 2 + 1)
        self.register_buffer(
            "edge", (column == 0) | (2 * column == width)
        )  # these columns hold both of a conjugate pair
        self.register_buffer("opposite", -torch.arange(height) % height)
        self.size = (height, width)

    def forward(self) -> Tensor:
        turn = self.turn / (math.sqrt(2) * NATURAL_SD)  # radians
        turn = torch.where(self.edge, (turn - turn[:, :, self.opposite]) / 2, turn)
        planes = torch.fft.irfft2(self.spectrum * torch.complex(turn.cos(), turn.sin()), s=self.size, norm="ortho")
        return self.offset + coloured(planes, self.colour)


def coloured(planes: Tensor, colour: Tensor) -> Tensor:
    """Decorrelated planes (B, C, H, W) as deviations of pixel values, by `colour_matrix` (C, C)."""
    if planes.shape[1] == 1:
        return planes
    return torch.bmm(colour.expand(len(planes), -1, -1), planes.flatten(2)).reshape(planes.shape)


def decorrelated(deviation: Tensor, colour: Tensor) -> Tensor:
    """Deviations of pixel values (B, C, H, W) in decorrelated planes: the inverse of `coloured`."""
    return torch.einsum("bchw,dc->bdhw", deviation, torch.linalg.inv(colour.double()).to(deviation))


def _planes(images: Tensor, colour: Tensor) -> Tensor:
    """Deviations of images (B, C, H, W) from their mean, in decorrelated planes."""
    return decorrelated(images - images.mean((2, 3), keepdim=True), colour)


def _fourier_at(start: Tensor, amplitude: Tensor, colour: Tensor, *, shape: tuple[int, int, int]) -> _Fourier:
    """The variables whose image is `start`: the inverse transform, scaled to an SD of `NATURAL_SD` per image."""
    offset = start.mean((2, 3), keepdim=True)
    planes = _planes(start, colour)
    whitened = torch.view_as_real(torch.fft.rfft2(planes, norm="ortho") / amplitude)  # (B, C, H, W // 2 + 1, 2)
    # a constant image has no scale of its own: there the noise start's holds
    gain = whitened.flatten(1).std(1) / NATURAL_SD  # (B,)
    gain = torch.where(gain > 1e-3, gain, torch.ones_like(gain))[:, None, None, None]
    return _Fourier(whitened / gain[..., None], offset, amplitude * gain, colour=colour, shape=shape)


def _phase_at(start: Tensor, magnitude: Tensor, colour: Tensor, *, shape: tuple[int, int, int]) -> _Phase:
    """The phases of `start` under the natural magnitude, at the contrast of each of its planes."""
    planes = _planes(start, colour)
    contrast = planes.std((2, 3), correction=0)  # (B, C)
    flat = contrast.amax(1) < 1e-5
    if bool(flat.any()):
        raise ValueError(
            f"start image {int(flat.nonzero()[0])} is constant; expected an image with phases to start from. Start "
            "from noise (start=None), from a photograph, or use pixels or fourier"
        )
    gain = contrast / _contrast(magnitude, shape)  # (B, C)
    offset = start.mean((2, 3), keepdim=True)
    return _Phase(torch.fft.rfft2(planes), magnitude * gain[:, :, None, None], offset, colour=colour, shape=shape)


def _amplitude(height: int, width: int, decay: float) -> Tensor:
    """1 / frequency^decay over the half plane (H, W // 2 + 1); coefficients of SD s give pixels of SD s."""
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float32) for n in (height, width))
    fy, fx = fy[:, None], fx[None]
    full: Tensor = (fy**2 + fx**2).sqrt().clamp(min=1 / max(height, width)) ** -decay
    return full[:, : width // 2 + 1] / (2 * full.square().mean()).sqrt()


def _decaying(shape: tuple[int, int, int], decay: float) -> Tensor:
    """Magnitudes 1 / frequency^decay without a mean, every plane of SD `NATURAL_SD`: (C, H, W // 2 + 1)."""
    magnitude = _amplitude(shape[1], shape[2], decay).expand(shape[0], -1, -1).clone()
    magnitude[:, 0, 0] = 0
    return magnitude * (NATURAL_SD / _contrast(magnitude, shape))[:, None, None]


def _magnitude_of(natural: Tensor, colour: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Mean magnitude over photographs, every plane of the root mean square contrast of theirs: (C, H, W // 2 + 1)."""
    if natural.dim() != 4 or not len(natural) or tuple(natural.shape[1:]) != shape or not natural.is_floating_point():
        raise ValueError(
            f"natural images of shape {tuple(natural.shape)} and type {natural.dtype}; expected (N, "
            f"{', '.join(map(str, shape))}), floating point in [0, 1]: crop or resize the photographs to the size of "
            "the stimuli"
        )
    planes = _planes(natural.detach().cpu(), colour.to(natural.dtype))
    magnitude = torch.fft.rfft2(planes, norm="ortho").abs().mean(0)
    magnitude[:, 0, 0] = 0
    contrast = planes.square().mean((0, 2, 3)).sqrt()
    own = _contrast(magnitude, shape)
    if not float(contrast.max()) > 1e-5:
        raise ValueError("the natural images are constant; expected photographs, floating point in [0, 1]")
    scaled: Tensor = magnitude * (contrast / own.clamp_min(1e-12))[:, None, None]
    return scaled.float()


def _contrast(magnitude: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """SD over pixels of planes of that magnitude (C, H, W // 2 + 1), by Parseval's theorem: (C,)."""
    _, height, width = shape
    column = torch.arange(width // 2 + 1, device=magnitude.device)
    alone = (column == 0) | (2 * column == width)
    energy = torch.where(alone, 1.0, 2.0).to(magnitude) * magnitude.square()
    contrast: Tensor = (energy.sum((-2, -1)) / (height * width)).sqrt()
    return contrast


def colour_matrix(channels: int, decorrelate: bool) -> Tensor:
    """Colours (C, C) of decorrelated planes (Olah et al. 2017); the identity for grey, or without `decorrelate`."""
    if channels != 3 or not decorrelate:
        return torch.eye(channels, dtype=torch.float32)
    root = torch.tensor(_COLOUR_CORRELATION_ROOT, dtype=torch.float32)
    longest: Tensor = root.norm(dim=0).max()
    return root / longest
