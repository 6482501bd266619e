"""Limits beside the exact statistics: saturation of colours, amplitude of spatial frequencies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synth.contract import LUMINANCE_WEIGHTS, Images, Transfer, describe

TINY = 1e-30
SMALL = 1e-6  # differences of luminance that no screen shows


class Gamut:
    """See `gamut`. Calling it projects; `excess` measures."""

    def __init__(
        self, matrix: Tensor | None, chroma: float | None, to_luminance: Transfer | None, *, to_pixel: Transfer | None
    ) -> None:
        if (to_luminance is None) != (to_pixel is None):
            raise ValueError("only one of to_luminance and to_pixel is given; expected both or none")
        if matrix is None and chroma is None:
            raise ValueError("neither matrix nor chroma is given; expected at least one: there is nothing to limit")
        if chroma is not None and not chroma >= 0:
            raise ValueError(f"chroma {chroma}; expected a number not below 0, in units of luminance")
        self.matrix = None if matrix is None else torch.as_tensor(matrix).detach().double().cpu().clone()
        if self.matrix is not None:
            if tuple(self.matrix.shape) != (3, 3):
                raise ValueError(f"matrix of shape {tuple(self.matrix.shape)}; expected (3, 3)")
            white = self.matrix.sum(1)
            if not bool(((white >= 0) & (white <= 1 + 1e-6)).all()):
                raise ValueError(
                    f"white lies at {[round(w, 4) for w in white.tolist()]} of the other gamut; expected 0 to 1 each, "
                    "so that greys of every luminance lie inside. Scale the matrix, so that both white points agree"
                )
        self.chroma = chroma
        self.linear = to_luminance is None
        self.to_luminance: Transfer = to_luminance or (lambda x: x)
        self.to_pixel: Transfer = to_pixel or (lambda x: x)

    def __call__(self, images: Tensor) -> Tensor:
        """Draw the colours of images (B, 3, H, W) in [0, 1] towards the grey of their luminance, as far as needed."""
        light, grey = self._decode(images)
        share = self._share(light - grey, grey)  # (B, 1, H, W)
        drawn = grey + share * (light - grey)
        # black takes no gradient: an inverse gamma has infinite slope there
        dark = drawn <= SMALL
        with torch.no_grad():
            black = self.to_pixel(drawn.clamp_min(0)).clamp(0, 1)
        encoded = self.to_pixel(torch.where(dark, torch.full_like(drawn, 0.5), drawn)).clamp(0, 1)
        return torch.where(share < 1, torch.where(dark, black, encoded), images)

    def excess(self, images: Tensor) -> Tensor:
        """Distance (B,) of the worst pixel of each image (B, 3, H, W) from the inside, in units of luminance."""
        light, grey = self._decode(images.double())
        worst = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        if self.chroma is not None:
            worst = worst.maximum((light - grey).abs().flatten(1).amax(1) - self.chroma)
        if self.matrix is not None:
            other = torch.einsum("oc,bchw->bohw", self.matrix.to(light), light).flatten(1)
            worst = worst.maximum(-other.amin(1)).maximum(other.amax(1) - 1)
        return worst

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        matrix = None if self.matrix is None else self.matrix.tolist()
        return {"name": "gamut", "matrix": matrix, "chroma": self.chroma, "linear": self.linear}

    def _decode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Linear light (B, 3, H, W) and its luminance (B, 1, H, W)."""
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"images of shape {tuple(images.shape)}; expected (B, 3, H, W): a gamut is one of colours")
        light = self.to_luminance(images)
        weights = light.new_tensor(LUMINANCE_WEIGHTS[3])[:, None, None]
        return light, (weights * light).sum(1, keepdim=True)

    def _share(self, colour: Tensor, grey: Tensor) -> Tensor:
        """How much of `colour`, light minus its luminance `grey`, may stay: (B, 1, H, W), at most 1."""
        share = torch.ones_like(grey)
        if self.chroma is not None:
            share = share.minimum(self.chroma / colour.abs().amax(1, keepdim=True).clamp_min(SMALL))
        if self.matrix is not None:
            matrix = self.matrix.to(colour)
            other = torch.einsum("oc,bchw->bohw", matrix, colour)
            base = matrix.sum(1)[:, None, None] * grey
            room = torch.where(other > 0, 1 - base, base).clamp_min(0) / other.abs().clamp_min(SMALL)
            share = share.minimum(room.amin(1, keepdim=True))
        return share


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def gamut(
    matrix: Tensor | None = None,
    *,
    chroma: float | None = 0.3,
    to_luminance: Transfer | None = None,
    to_pixel: Transfer | None = None,
) -> Gamut:
    """A limit on colours that keeps the luminance of every pixel: put it AFTER `exact_statistics`.

    A colour outside is drawn towards the grey of its own luminance until it lies on the border. Mean luminance, RMS
    contrast, range and a grey background therefore stay exact; only saturation changes. The 8-bit pixels are then those
    of `exact_statistics`, each channel at most one level from its exact value: mean and contrast hold, and the border
    is overstepped by no more than such a level makes.

    Parameters
    ----------
    matrix : Tensor of shape (3, 3), or None
        From this screen's linear red, green and blue to coordinates that must lie in [0, 1]: those of another screen.
    chroma : float, or None
        No channel may differ by more from the luminance of its pixel, in units of luminance; None = no such limit.
    to_luminance, to_pixel : callables, or None
        As of `exact_statistics`; None = linear.
    """
    return Gamut(matrix, chroma, to_luminance, to_pixel=to_pixel)


class SpectrumEnvelope:
    """See `spectrum_envelope`. Calling it projects; `excess` measures."""

    def __init__(self, envelope: Tensor, size: tuple[int, int]) -> None:
        self.envelope, self.size = envelope.detach().double().cpu(), size
        self._index, self._weights = _rings(*size)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) whose rings above the envelope are scaled down to it; means and phases are kept."""
        self._check(images)
        spectrum = torch.fft.rfft2(images, norm="ortho")
        amplitude = _ring_amplitudes(spectrum, self._index, self._weights)  # (B, rings)
        gain = (self.envelope.to(amplitude) / amplitude.clamp_min(1e-12)).clamp(max=1)
        gain = torch.cat([torch.ones_like(gain[:, :1]), gain[:, 1:]], 1)
        gains = gain[:, self._index.to(images.device)].reshape(len(images), 1, *spectrum.shape[-2:])
        bounded: Tensor = torch.fft.irfft2(spectrum * gains, s=self.size, norm="ortho")
        return bounded

    def excess(self, images: Tensor) -> Tensor:
        """The largest amplitude of any ring of each image (B, C, H, W) over its envelope: (B,); 1 or less is inside."""
        self._check(images)
        amplitude = _ring_amplitudes(torch.fft.rfft2(images.double(), norm="ortho"), self._index, self._weights)
        return (amplitude / self.envelope.to(amplitude).clamp_min(1e-12))[:, 1:].amax(1)

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        return {"name": "spectrum_envelope", "size": list(self.size), "envelope": self.envelope.tolist()}

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or tuple(images.shape[-2:]) != self.size:
            raise ValueError(f"images of shape {tuple(images.shape)}; expected (B, C, {self.size[0]}, {self.size[1]})")


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def spectrum_envelope(natural: Tensor, factor: float = 1.0) -> SpectrumEnvelope:
    """A limit on the amplitude of each spatial frequency: at most `factor` times the largest of any natural image.

    Amplitudes are those of pixel values, RMS over the channels and over a ring of spatial frequency one cycle per image
    wide. The mean is free. The envelope and `exact_statistics` cannot both be exact, since the latter scales and clips
    the image again: ``alternate(spectrum_envelope(...), exact_statistics(...))`` makes the statistics exact and the
    spectrum nearly so; `excess` tells how nearly.

    Parameters
    ----------
    natural : Tensor of shape (N, C, H, W), in [0, 1]
        Natural images as they are shown, at the contrast that the images will have.
    factor : float
    """
    if natural.dim() != 4 or not len(natural) or not natural.is_floating_point():
        raise ValueError(
            f"natural images of shape {tuple(natural.shape)} and type {natural.dtype}; expected (N, C, H, W), floating "
            "point"
        )
    if not factor > 0:
        raise ValueError(f"factor {factor}; expected a number above 0")
    size = (int(natural.shape[-2]), int(natural.shape[-1]))
    spectrum = torch.fft.rfft2(natural.double(), norm="ortho")
    return SpectrumEnvelope(factor * _ring_amplitudes(spectrum, *_rings(*size)).amax(0), size)


class Alternate:
    """See `alternate`."""

    def __init__(self, constraints: tuple[Images, ...], rounds: int) -> None:
        if len(constraints) < 2 or rounds < 1:
            raise ValueError(f"{len(constraints)} constraints in {rounds} rounds; expected at least 2 in at least 1")
        self.constraints, self.rounds = constraints, rounds
        if hasattr(constraints[-1], "quantise"):
            self.quantise = constraints[-1].quantise

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) that hold the last constraint exactly and the others nearly."""
        for _ in range(self.rounds):
            for constraint in self.constraints:
                images = constraint(images)
        return images

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        return {"name": "alternate", "rounds": self.rounds, "constraints": [describe(c) for c in self.constraints]}


def alternate(*constraints: Images, rounds: int = 3) -> Alternate:
    """Project on constraints in turn that cannot all be exact; the LAST holds exactly and makes the 8-bit pixels."""
    return Alternate(constraints, rounds)


def _rings(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Ring of each coefficient of a half plane, flat, (H * (W // 2 + 1),), and how often it stands in the full plane.

    A ring is the frequency in cycles per longer side, rounded.
    """
    fy, fx = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.rfftfreq(width, dtype=torch.float64)
    index = (max(height, width) * torch.hypot(fy[:, None], fx[None])).round().long()
    weights = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    return index.flatten(), weights.expand(height, -1).flatten()


def _ring_amplitudes(spectrum: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """RMS amplitude over channels and ring, (B, rings), of half planes (B, C, H, W // 2 + 1); ring 0 is the mean."""
    index, weights = index.to(spectrum.device), weights.to(spectrum.device)
    power = (spectrum.real.square() + spectrum.imag.square()).mean(1).flatten(1)  # (B, H * (W // 2 + 1))
    rings = int(index.max()) + 1
    count = torch.zeros(rings, dtype=weights.dtype, device=weights.device).index_add_(0, index, weights)
    total = power.new_zeros(len(power), rings).index_add(1, index, power * weights.to(power))
    return (total / count.to(power).clamp_min(1)).clamp_min(TINY).sqrt()
