"""Images of overlapping shapes, with the occlusions and the spectrum of photographs, from random numbers alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dead_leaves"]

EXPONENTS = (1.0, 2.0, 6.0)  # diamonds, ellipses, rounded boxes


def dead_leaves(
    generator: np.random.Generator,
    size: int,
    shapes: int = 2000,
    *,
    palette: NDArray[np.float32] | None = None,
    smallest: float = 2.0,
) -> NDArray[np.float32]:
    """One colour image of occluding, shaded, textured shapes of radii r of density r^-3 (Lee, Mumford & Huang 2001).

    Parameters
    ----------
    generator : numpy Generator
    size : int
        Height and width.
    shapes : int
        At most so many; drawn from front to back until nothing is free.
    palette : array of shape (N, 3) in [-1, 1], or None
        Colours to choose from, such as the pixels of a photograph (as in Gousseau & Roueff 2007); None: random ones
        about a random ground.
    smallest : float
        Least radius, in pixels.

    Returns
    -------
    array of shape (size, size, 3), float32 in [-1, 1]; drawn at twice the size and averaged, so that edges are not
    jagged
    """
    n = 2 * size
    canvas = np.zeros((n, n, 3), dtype=np.float32)
    free = np.ones((n, n), dtype=np.bool_)
    texture = _texture(generator, n)
    ground = generator.uniform(-0.5, 0.5, 3)
    spread = generator.uniform(0.15, 0.6)
    for _ in range(shapes):
        radius = _radius(generator.uniform(), 2 * smallest, 0.6 * n)
        centre = generator.uniform(-radius, n + radius, 2)
        low = np.clip(np.floor(centre - radius), 0, n).astype(int)
        high = np.clip(np.ceil(centre + radius) + 1, 0, n).astype(int)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        angle, flatness, power = generator.uniform(0, np.pi), generator.uniform(0.3, 1), generator.choice(EXPONENTS)
        if palette is None:
            colour = ground + spread * (generator.standard_normal() + 0.25 * generator.standard_normal(3))
        else:
            colour = palette[int(generator.integers(len(palette)))].astype(np.float64)
        shade, grain, shift = generator.uniform(-0.5, 0.5), generator.uniform(0, 0.25), generator.integers(n)
        if not free[window].any():
            continue
        y, x = np.mgrid[window] - centre[:, None, None]
        u = (x * np.cos(angle) + y * np.sin(angle)) / radius
        v = (y * np.cos(angle) - x * np.sin(angle)) / (flatness * radius)
        inside = (np.abs(u) ** power + np.abs(v) ** power < 1) & free[window]
        surface = shade * u + grain * np.roll(texture, shift, 0)[window]
        canvas[window][inside] = (colour + surface[..., None])[inside]
        free[window] &= ~inside
        if not free.any():
            break
    canvas[free] = ground + 0.1 * texture[free][:, None]
    averaged: NDArray[np.float32] = canvas.reshape(size, 2, size, 2, 3).mean((1, 3)).clip(-1, 1).astype(np.float32)
    return averaged


def _radius(u: float, smallest: float, largest: float) -> float:
    """The quantile `u` of radii with density r^-3 between two bounds."""
    return float((smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5)


def _texture(generator: np.random.Generator, n: int) -> NDArray[np.float32]:
    """1 / f noise of SD 1, with an exponent of its own."""
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    f = np.hypot(fy, fx)
    f[0, 0] = 1
    spectrum = np.fft.rfft2(generator.standard_normal((n, n))) / f ** generator.uniform(0.8, 1.6)
    field = np.fft.irfft2(spectrum, s=(n, n))
    scaled: NDArray[np.float32] = ((field - field.mean()) / field.std()).astype(np.float32)
    return scaled
