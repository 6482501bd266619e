"""Images with their predictions as a batch, and the folder that a command writes."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocols.arrays import Pixels
from protocols.disk.png import contact_sheet, read_png, write_png
from synth import Objective, StimulusBatch
from synth.answers import evaluating, familiarity
from synth.batches import package_version

from .judges import MICRO_BATCH, Judges

__all__ = ["batch_of", "image_names", "write_images"]


def batch_of(
    pair: Judges, pixels: Pixels, objective: Objective, *, start_ids: Sequence[str], settings: dict[str, Any]
) -> StimulusBatch:
    """Finished images with what encoder and validator predict of them; the score is that of each image's own row.

    Parameters
    ----------
    pair : Judges
    pixels : array of shape (S, H, W, C), uint8
    objective : Objective of S rows
    start_ids : sequence of S str
        What each image was made from.
    settings : dict
        JSON-able: how they were made.
    """
    encoder = pair.encoder
    device = encoder.natural_mean.device
    answers = []
    for first in range(0, len(pixels), MICRO_BATCH):
        part = objective[first : first + MICRO_BATCH]
        bound = part.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
        answers.append(evaluating(encoder, bound, torch.from_numpy(pixels[first : first + MICRO_BATCH]).to(device)))
    scores = np.concatenate([a.scores for a in answers])
    distance, outside = familiarity(encoder, pixels)
    return StimulusBatch(
        images=pixels,
        predicted=np.concatenate([a.mean for a in answers]),
        predicted_sd=np.concatenate([a.sd for a in answers]),
        scores=scores,
        row_names=objective.row_names,
        kinds=objective.kinds,
        targets=objective.targets,
        seeds=np.zeros(len(pixels), dtype=np.int64),
        start_ids=tuple(start_ids),
        trace=scores[:, None],
        site_ids=tuple(encoder.site_ids),
        encoder_fingerprint=encoder.fingerprint,
        objective_description=objective.describe(),
        settings={"check_steps": [0], **settings},
        versions={
            "synth": package_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        distance=distance,
        outside=outside,
    ).validate(pair.validator)


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
