"""Whether a picture made again is the one that is committed: its size, and what is seen at an eighth of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

MEAN, WORST = 4.0, 60.0
"""Largest mean and largest 99th percentile of the differences of blocks, in grey levels of 255, that renderers and fonts may cause."""


def blocks(path: Path, size: int = 8) -> np.ndarray:
    """Means of blocks of `size` x `size` pixels, (h, w, 3), of a picture on white."""
    with Image.open(path) as opened:
        rgba = opened.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, "white")
    ground.alpha_composite(rgba)
    small = ground.convert("RGB").resize(
        (max(rgba.width // size, 1), max(rgba.height // size, 1)), Image.Resampling.BOX
    )
    return np.asarray(small, dtype=float)


def unlike(committed: Path, made: Path, *, mean: float = MEAN, worst: float = WORST) -> str:
    """How a picture differs from the committed one; "" where it does not.

    Parameters
    ----------
    committed, made : Path
        PNG or JPEG.
    mean, worst : float
        Largest mean and 99th percentile of the differences of blocks of 8 pixels, in grey levels of 255.
    """
    with Image.open(committed) as a, Image.open(made) as b:
        sizes = a.size, b.size
    if sizes[0] != sizes[1]:
        return f"{sizes[0][0]} x {sizes[0][1]} pixels became {sizes[1][0]} x {sizes[1][1]}"
    apart = np.abs(blocks(committed) - blocks(made)).mean(-1)
    found = float(apart.mean()), float(np.percentile(apart, 99))
    if found[0] > mean or found[1] > worst:
        return f"grey levels differ by {found[0]:.1f} in the mean (at most {mean:g}) and by {found[1]:.0f} at the 99th percentile (at most {worst:g})"
    return ""
