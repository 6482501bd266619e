"""What a prior is trained on: crops of photographs, and windows of dead leaves; each drawn from a generator alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .dead_leaves import dead_leaves

__all__ = ["TrainingImages", "leaf", "set_apart"]

Pixels = NDArray[np.uint8]
Floats32 = NDArray[np.float32]
FLAT = 0.09  # SD in [-1, 1] below which a crop shows nothing
EVERY = 6
DULL = 0.25  # SD in [-1, 1] of the pixels of a photograph below which leaves take no colours from it
SMALLEST = (1.5, 5.0)  # pixels: least radius of the leaves of an image, uniform in its logarithm between these


@dataclass(frozen=True)
class TrainingImages:
    """A mixture of crops of photographs and windows of dead leaves.

    Parameters
    ----------
    photographs, held_out : sequences of arrays (H, W, 3), uint8, at least `size` pixels per side
    leaves : array of shape (N, S, S, 3), uint8, S >= size
        See `leaf`.
    size : int
        Height and width of what is drawn.
    share : float
        Of photographs among the images.
    """

    photographs: Sequence[Pixels]
    held_out: Sequence[Pixels]
    leaves: Pixels
    size: int
    share: float

    def draw(self, generator: np.random.Generator) -> Floats32:
        """One image to train on, (size, size, 3) in [-1, 1]."""
        if generator.uniform() < self.share:
            return crop(generator, self.photographs, self.size)
        return cut(generator, self.leaves, self.size)

    def unseen(self, generator: np.random.Generator) -> Floats32:
        """One image of the same kind that was never trained on: of the photographs held out, or new leaves."""
        if generator.uniform() < self.share:
            return crop(generator, self.held_out, self.size)
        return coloured_leaves(generator, self.size, self.held_out)

    def describe(self) -> dict[str, Any]:
        """Digests that tell these images from others; JSON-able."""
        return {
            "share": self.share,
            "leaves": len(self.leaves),
            "leaves_sha256": digest(self.leaves),
            "photographs_sha256": digest(self.photographs),
            "held_out_sha256": digest(self.held_out),
        }


def set_apart(pictures: Sequence[Sequence[Pixels]]) -> tuple[list[Pixels], list[Pixels]]:
    """Images to train on and images held out: every sixth picture, with all that was cut out of it."""
    held_out = [image for i, picture in enumerate(pictures) if i % EVERY == EVERY - 1 for image in picture]
    return [image for i, picture in enumerate(pictures) if i % EVERY != EVERY - 1 for image in picture], held_out


def coloured_leaves(generator: np.random.Generator, size: int, photographs: Sequence[Pixels]) -> Floats32:
    """Dead leaves in the colours of one of the photographs, fine or coarse: (size, size, 3) in [-1, 1]."""
    for _ in range(100):
        photograph = photographs[int(generator.integers(len(photographs)))]
        palette = photograph.reshape(-1, 3).astype(np.float32) / 127.5 - 1
        if palette.std() >= DULL:
            break
    smallest = float(np.exp(generator.uniform(*np.log(SMALLEST))))
    return dead_leaves(generator, size, palette=palette, smallest=smallest)


def leaf(seed: int, i: int, size: int, *, photographs: Sequence[Pixels]) -> Pixels:
    """The i-th image of dead leaves, (size, size, 3), 8 bits."""
    drawn = coloured_leaves(np.random.default_rng([seed, 2**30, i]), size, photographs)
    rounded: Pixels = np.round(127.5 * (drawn + 1)).astype(np.uint8)
    return rounded


def crop(generator: np.random.Generator, images: Sequence[Pixels], size: int) -> Floats32:
    """A square of a photograph, perhaps mirrored: (size, size, 3) in [-1, 1].

    Its scale is drawn uniformly in log size; it is never enlarged.
    """
    while True:
        image = images[int(generator.integers(len(images)))]
        short = min(image.shape[:2])
        width = round(size * (max(short, size) / size) ** generator.uniform())
        top, left = (int(generator.integers(n - width + 1)) for n in image.shape[:2])
        square = Image.fromarray(image[top : top + width, left : left + width])
        pixels = np.asarray(square.resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 127.5 - 1
        if pixels.std() >= FLAT:
            return pixels[:, ::-1].copy() if generator.uniform() < 0.5 else pixels


def cut(generator: np.random.Generator, leaves: Pixels, size: int) -> Floats32:
    """A window of one of the images, turned and perhaps mirrored: dead leaves are as likely either way."""
    image = leaves[int(generator.integers(len(leaves)))]
    top, left = (int(generator.integers(n - size + 1)) for n in image.shape[:2])
    window = np.rot90(image[top : top + size, left : left + size], int(generator.integers(4)))
    if generator.uniform() < 0.5:
        window = window[:, ::-1]
    pixels: Floats32 = window.astype(np.float32) / 127.5 - 1
    return pixels


def digest(images: Sequence[Pixels] | Pixels) -> str:
    """SHA-256 of all pixels, in order."""
    total = hashlib.sha256()
    for image in images:
        total.update(np.ascontiguousarray(image).tobytes())
    return total.hexdigest()
