"""The folder of images that a command writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.disk.png import contact_sheet, read_png, write_png
from synth import StimulusBatch

__all__ = ["image_names", "write_images"]


def image_names(count: int) -> list[str]:
    """``img_0001``, ``img_0002``, ..."""
    return [f"img_{i + 1:04d}" for i in range(count)]


def write_images(folder: Path, batch: StimulusBatch, below: Sequence[str]) -> None:
    """Write ``batch.h5``, ``images/*.png``, read back, and ``contact_sheet.png`` with a line of text per image."""
    names = image_names(len(batch))
    for name, image in zip(names, batch.images, strict=True):
        write_png(folder / "images" / f"{name}.png", image)
        if not np.array_equal(read_png(folder / "images" / f"{name}.png"), image):
            raise RuntimeError(f"{name}.png reads back otherwise than it was written")
    batch.save(folder / "batch.h5")
    contact_sheet(folder / "contact_sheet.png", names, batch.images, below=below)
