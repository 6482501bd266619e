"""Controllers of given batches: the images that were made for a site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocols.arrays import Pixels
from protocols.errors import DataError
from protocols.project.objectives import NAMES
from synth.batch import StimulusBatch

from .asked import batch_file, no_batch

KINDS = NAMES
"""Objectives whose images are controllers of one site."""


@dataclass(frozen=True)
class Controller:
    """An image that was made for one site.

    Attributes
    ----------
    name : str
        Batch and row, such as "b1_007": the eighth image of the first batch.
    kind : str
        Its objective.
    site : str
    seed : int
    pixels : uint8 array of shape (H, W, C)
    """

    name: str
    kind: str
    site: str
    seed: int
    pixels: Pixels


def read_batches(folders: Sequence[Path], *, shape: Sequence[int], sites: Sequence[str]) -> tuple[Controller, ...]:
    """Controllers of `sites` in the folders, in their order; images for other sites or patterns are passed over.

    Parameters
    ----------
    folders : sequence of Path
        As `stimsynth generate --out` writes them, with ``batch.h5``; or such a file.
    shape : (H, W, C)
        Of the project's images.
    sites : sequence of str

    Raises
    ------
    DataError
        V60: no batch, or a damaged one; V61: images of another size, or none for these sites.
    """
    found: list[Controller] = []
    for number, folder in enumerate(folders):
        try:
            batch = StimulusBatch.load(batch_file(folder))
        except (OSError, ValueError) as error:
            raise no_batch(folder, str(error).replace(str(folder), folder.name)[:300]) from error
        own = [
            Controller(
                name=f"b{number + 1}_{i:03d}",
                kind=batch.kinds[i],
                site=batch.targets[i],
                seed=int(batch.seeds[i]),
                pixels=batch.images[i],
            )
            for i in range(len(batch))
            if batch.kinds[i] in KINDS and batch.targets[i] in sites
        ]
        if tuple(batch.images.shape[1:]) != tuple(shape) or not own:
            raise _other_images(folder, batch, shape)
        found.extend(own)
    return tuple(found)


def _other_images(folder: Path, batch: StimulusBatch, shape: Sequence[int]) -> DataError:
    kinds = ", ".join(sorted(set(batch.kinds))) or "no kind"
    return DataError(
        folder.name,
        found=f"{len(batch)} images of shape {tuple(batch.images.shape[1:])}, kinds {kinds}",
        expected=f"images of shape {tuple(shape)} that were made for one of the sites ({', '.join(KINDS)})",
        cause="a batch of another project, or of patterns over many sites",
        fix="name a batch that was generated for these sites",
        code="V61",
    )
