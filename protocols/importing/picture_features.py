"""How alike pictures are to early vision: a kernel of oriented energy and colour, without any network.

Each picture is brought to 64 x 64 pixels. The amplitude of Gabor-like filters (four scales, four orientations) and the
three channels are averaged over 8 x 8 places. What is left says roughly where which contours and colours stand, which
predicts part of the responses of most visual areas, and takes a few milliseconds per picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from protocols.arrays import Floats, Pixels
from protocols.disk.foreign import MOST_PICTURE, read_bytes
from protocols.disk.pictures import open_picture
from protocols.errors import DataError
from protocols.project.picture_files import FORMATS, UNREADABLE, read_picture
from protocols.project.shown import ShownAs

SIDE, GRID = 64, 8  # pixels, places
FREQUENCIES = (2 / 64, 4 / 64, 8 / 64, 16 / 64)  # cycles per pixel
ORIENTATIONS = 4
_OCTAVES = 0.55  # SD of the logarithm of frequency, in octaves
_ENERGY = 0.7  # share of oriented energy in the kernel; the rest is colour
_BATCH = 64
_BROKEN = (*UNREADABLE, TypeError, LookupError, EOFError, AttributeError, ArithmeticError, MemoryError)


def read_small(
    files: Sequence[Path], names: Sequence[str] = (), shown: ShownAs | None = None
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pictures as uint8 (N, SIDE, SIDE, 3), and which could be read, (N,); one that could not is 0 throughout.

    Parameters
    ----------
    files : sequence of Path
    names : sequence of str
        Of the files within their folder; needed with `shown`.
    shown : ShownAs, optional
        What was shown of each: pictures are cut so before they are looked at. Size, place and mask are left out, which
        change all pictures of most recordings alike.

    Raises
    ------
    DataError
        P16: a crop that leaves its picture.
    """
    pixels = np.zeros((len(files), SIDE, SIDE, 3), dtype=np.uint8)
    read = np.zeros(len(files), dtype=np.bool_)
    for n, file in enumerate(files):
        try:
            data = read_bytes(file, most=MOST_PICTURE)
            if shown is None or shown.of[names[n]].crop_x is None:
                pixels[n] = _small(data)
            else:
                cut = shown.cut(names[n], read_picture(data, 128)[0])
                pixels[n] = np.asarray(cut.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
            read[n] = True
        except DataError:  # a ValueError, though nothing is wrong with the file: shown.csv says what cannot be
            raise
        except _BROKEN:
            continue
    return pixels, read


def _small(data: bytes) -> Pixels:
    with open_picture(data, formats=FORMATS) as picture:
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG is decoded at a fraction of its size
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def kernel(pixels: Pixels) -> Floats:
    """Likeness of pictures, (N, N) in (0, 1]: a Gaussian of the distance between their standardised features.

    Parameters
    ----------
    pixels : uint8 array of shape (N, SIDE, SIDE, 3)

    Returns
    -------
    array of shape (N, N)
        1 on the diagonal; the median distance gives exp(-1).
    """
    energy, colour = _features(pixels)
    inner = _ENERGY * _inner(np.log(energy + 1e-3 * max(float(energy.mean()), 1e-9))) + (1 - _ENERGY) * _inner(colour)
    square = np.diag(inner)
    apart = np.maximum(square[:, None] + square[None] - 2 * inner, 0.0)
    typical = float(np.median(apart[np.triu_indices(len(apart), 1)])) if len(apart) > 1 else 1.0
    return np.asarray(np.exp(-apart / max(typical, 1e-9)), dtype=np.float64)


def _inner(features: NDArray[np.float32]) -> Floats:
    """Inner products (N, N) of features whose columns are standardised, 1 per picture on average."""
    centred = (features - features.mean(0)).astype(np.float64)
    sd = centred.std(0)
    scaled = centred / (sd + 1e-3 * sd.max(initial=0.0) + 1e-12)
    inner = scaled @ scaled.T
    return np.asarray(inner / max(float(np.trace(inner)) / len(inner), 1e-12))


def _features(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Amplitude of the filters and mean of the channels at every place, (N, features) each."""
    from scipy import fft

    filters = list(_filters())
    energy, colour = [], []
    for start in range(0, len(pixels), _BATCH):
        values = pixels[start : start + _BATCH].astype(np.float32) / np.float32(255)
        grey = values @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # (B, H, W)
        spectrum = fft.fft2(grey - grey.mean((1, 2), keepdims=True))
        amplitudes = [_pooled(np.abs(fft.ifft2(spectrum * f)).astype(np.float32)) for f in filters]
        energy.append(np.concatenate(amplitudes, axis=1))
        colour.append(np.concatenate([_pooled(values[..., c].astype(np.float32)) for c in range(3)], axis=1))
    return np.concatenate(energy), np.concatenate(colour)


def _filters() -> Iterator[NDArray[np.float32]]:
    """Transfer functions (SIDE, SIDE) of one half of the plane each, so that the amplitude does not depend on phase."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]
    radius, angle = np.hypot(rows, columns) + 1e-9, np.arctan2(rows, columns)
    for frequency in FREQUENCIES:
        radial = np.exp(-0.5 * (np.log2(radius / frequency) / _OCTAVES) ** 2)
        for n in range(ORIENTATIONS):
            turn = np.angle(np.exp(1j * (angle - np.pi * n / ORIENTATIONS)))
            yield (radial * np.exp(-0.5 * (turn / (np.pi / ORIENTATIONS)) ** 2)).astype(np.float32)


def _pooled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over GRID x GRID places, (B, GRID * GRID)."""
    step = SIDE // GRID
    pooled: NDArray[np.float32] = maps.reshape(len(maps), GRID, step, GRID, step).mean((2, 4)).reshape(len(maps), -1)
    return pooled
