"""Stripes and other regular patterns in one image, by the amplitude of its luminance in bands of spatial frequency.

The rule of stripes is that of the Epilepsy Foundation of America (Harding, Wilkins, Erba, Barkley & Fisher 2005,
Epilepsia 46:1423): more than five light-dark pairs, in any orientation, over more than 0.006 steradians. That the
spatial frequency and the contrast of stripes matter is from Wilkins et al. (1984, Brain 107:989); the limits of both
used here are settings of this project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from protocols.arrays import Floats

from .flashes import SR_PER_DEG2, TOLERANCE, largest_area

BANDWIDTH = 0.4
"""Standard deviation of a band in ln(frequency): half an octave apart, a grating between two bands keeps 91 % of its
contrast.
"""
MEAN_WIDTH = 0.5
"""Standard deviation [periods] of the Gaussian that gives the mean luminance under a pattern: 0.7 % of a grating's
modulation is left in it.
"""
DARKEST_MEAN = 0.01
"""Smallest mean luminance that an amplitude is divided by, as a share of the screen's maximum, not the image's, so that
no pixel of the image moves it. It keeps noise in black from counting as contrast; a full grating of that mean changes
the luminance by 0.02, a fifth of what WCAG calls a flash."""
OCTAVES_BELOW, OCTAVES_ABOVE = 2.0, 1.0
PAD_DEG = 1.0


@dataclass(frozen=True)
class Pattern:
    """The largest regular pattern found: frequency [cycles/degree], Michelson contrast (median), area [sr], light-dark
    pairs.
    """

    frequency: float
    contrast: float
    area_sr: float
    pairs: float


def regular_pattern(
    luminance: Floats,
    *,
    px_per_deg: float,
    surround: float,
    frequencies: tuple[float, float],
    contrast: float,
    area_sr: float,
) -> Pattern | None:
    """The regular pattern of largest area within the limits, or None.

    The image is split into bands half an octave apart. The local amplitude of a band is that of the monogenic signal
    (Felsberg & Sommer 2001, IEEE Trans. Signal Processing 49:3136), which for a grating of any orientation is its
    amplitude everywhere. A pixel belongs to the pattern of a band in `frequencies` where this amplitude, divided by the
    mean luminance of its neighbourhood (`_Bands.mean`), is at least `contrast` and no other band, from two octaves
    below to one above, has a larger one. What lies elsewhere in the image, such as a few white pixels, has no say in
    it.

    Parameters
    ----------
    luminance : array (H, W)
        Relative luminance, 1 = the brightest that the screen can show.
    surround : float
        Luminance outside the image.
    area_sr : float
        Patterns up to this solid angle, in any 10-degree field, are passed over.
    """
    needed = area_sr / SR_PER_DEG2 * px_per_deg**2  # pixels
    if luminance.size <= needed or frequencies[0] >= px_per_deg / 2:
        return None
    bands = _Bands(luminance, px_per_deg, surround, frequencies=frequencies)
    wanted = {}
    for i in bands.inside:
        faintest = contrast * bands.mean(i)  # (H, W)
        if bands.energy(i) >= _least_energy(faintest, int(needed)):
            marked = bands.amplitude(i) >= faintest
            if largest_area(marked, 1 / px_per_deg) > area_sr:
                wanted[i] = marked
    if not wanted:
        return None
    amplitudes = np.stack([bands.amplitude(i) for i in range(len(bands.centres))])  # (bands, H, W)
    strongest = amplitudes.argmax(axis=0)
    patterns = []
    for i, marked in wanted.items():
        marked &= strongest == i
        area = largest_area(marked, 1 / px_per_deg)
        if area > area_sr:
            across = bands.extent(i, marked) / px_per_deg
            typical = min(1.0, float(np.median(amplitudes[i][marked] / bands.mean(i)[marked])))
            patterns.append(Pattern(bands.centres[i], typical, area, bands.centres[i] * across))
    return max(patterns, key=lambda p: p.area_sr, default=None)


def _least_energy(amplitude: Floats, count: int) -> float:
    """Energy of a pattern that has this amplitude in the `count` pixels where it is smallest: no pattern of that size
    has less.
    """
    smallest = np.partition(amplitude, count, axis=None)[:count]
    return float(np.vdot(smallest, smallest))


class _Filters(NamedTuple):
    centres: list[float]
    gains: Floats  # (bands, h, w // 2 + 1)
    down: NDArray[np.complex128]  # the Riesz kernels
    across: NDArray[np.complex128]
    means: Floats  # (bands, h, w // 2 + 1): Gaussians
    twice: Floats  # every column but the first (and the last of an even width) stands for two


@lru_cache(maxsize=4)
def _filters(size: tuple[int, int], px_per_deg: float, frequencies: tuple[float, float]) -> _Filters:
    """Log-Gabor bands from two octaves below the frequencies to one above, for a canvas of `size` pixels."""
    fy = fft.fftfreq(size[0], 1 / px_per_deg)[:, None]
    fx = fft.rfftfreq(size[1], 1 / px_per_deg)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1.0
    low, high = frequencies
    top = min(high * 2**OCTAVES_ABOVE, px_per_deg / 2)
    half_octaves = range(-round(2 * OCTAVES_BELOW), math.floor(2 * math.log2(top / low) + TOLERANCE) + 1)
    centres = [low * 2 ** (h / 2) for h in half_octaves]
    twice = np.full(fx.shape, 2.0)
    twice[0, 0] = 1.0
    if size[1] % 2 == 0:
        twice[0, -1] = 1.0
    gains = np.stack([np.exp(-(np.log(frequency / f) ** 2) / (2 * BANDWIDTH**2)) for f in centres])
    gains[:, 0, 0] = 0.0
    squared = fy**2 + fx**2
    means = np.stack([np.exp(-2 * (math.pi * MEAN_WIDTH / f) ** 2 * squared) for f in centres])
    return _Filters(
        centres=centres, gains=gains, down=-1j * fy / frequency, across=-1j * fx / frequency, means=means, twice=twice
    )


class _Bands:
    """Bands of an image and their monogenic amplitudes."""

    def __init__(
        self, luminance: Floats, px_per_deg: float, surround: float, *, frequencies: tuple[float, float]
    ) -> None:
        pad, (height, width) = round(PAD_DEG * px_per_deg), luminance.shape
        self.window = slice(pad, pad + height), slice(pad, pad + width)
        self.size = fft.next_fast_len(height + 2 * pad, real=True), fft.next_fast_len(width + 2 * pad, real=True)
        self.filters = _filters(self.size, px_per_deg, frequencies)
        self.centres = self.filters.centres
        low, high = frequencies
        self.inside = [i for i, f in enumerate(self.centres) if low * (1 - 1e-9) <= f <= high * (1 + 1e-9)]
        canvas = np.zeros(self.size)
        canvas[self.window] = luminance - surround
        self.spectrum = fft.rfft2(canvas)
        self.surround = surround
        self.power = np.abs(self.spectrum) ** 2 * self.filters.twice

    def energy(self, index: int) -> float:
        """Sum of the squared amplitude over the canvas (Parseval; the two Riesz parts hold as much as the band
        itself).
        """
        return float(2 * np.vdot(self.power, self.filters.gains[index] ** 2) / (self.size[0] * self.size[1]))

    def parts(self, index: int) -> tuple[Floats, Floats, Floats]:
        """The band, and its Riesz transforms down and across, each (H, W)."""
        band = self.spectrum * self.filters.gains[index]
        parts = (band, band * self.filters.down, band * self.filters.across)
        even, down, across = (fft.irfft2(part, s=self.size)[self.window] for part in parts)
        return even, down, across

    def amplitude(self, index: int) -> Floats:
        """Local amplitude of a band, (H, W)."""
        even, down, across = self.parts(index)
        return np.sqrt(even**2 + down**2 + across**2)

    def mean(self, index: int) -> Floats:
        """Mean luminance under a pattern of the band, (H, W): Gaussian of `MEAN_WIDTH` periods, at least
        `DARKEST_MEAN`.
        """
        smooth = fft.irfft2(self.spectrum * self.filters.means[index], s=self.size)[self.window]
        return np.maximum(smooth + self.surround, DARKEST_MEAN)

    def extent(self, index: int, places: NDArray[np.bool_]) -> float:
        """How far the marked pixels reach across the stripes, in pixels."""
        _, down, across = self.parts(index)
        d, a = down[places], across[places]
        angle = 0.5 * math.atan2(2 * float((d * a).sum()), float((a**2 - d**2).sum()))
        rows, columns = np.nonzero(places)
        along = rows * math.sin(angle) + columns * math.cos(angle)
        return float(along.max() - along.min() + 1)
