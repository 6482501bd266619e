"""Photographs that a search in a library found, for the arm ``predicted_natural``: the folder that ``[arms] found``
names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.errors import DataError
from protocols.project.folder import Project
from synth import StimulusBatch
from synth.answers import responses_to

__all__ = ["FoundPhotographs", "found_photographs"]


@dataclass(frozen=True)
class FoundPhotographs:
    """F photographs of a library that the project does not hold.

    Attributes
    ----------
    pixels : uint8 array of shape (F, H, W, C)
    source_ids : tuple of F str
        ``lib_...``, as the search named them.
    predicted : array of shape (F, U)
        The responses that the encoder of the round predicts, in the order of its sites.
    """

    pixels: Pixels
    source_ids: tuple[str, ...]
    predicted: Floats


def found_photographs(project: Project, encoder: Encoder | Ensemble, natural: Pixels) -> FoundPhotographs:
    """The best photographs of the folder ``[arms] found``, each once, without those that are among `natural`
    (N, H, W, C); none where the key is empty or the arm is not shown.

    Raises
    ------
    DataError
        V07: no such folder, images of another display, or photographs with the contrast of controllers: beside the
        references they would differ by it.
    """
    arms, shape = project.config.arms, project.display.shape
    pixels, names = np.zeros((0, *shape[1:], shape[0]), dtype=np.uint8), tuple[str, ...]()
    if arms.found and "predicted_natural" in arms.kinds:
        path = project.folder / arms.found / "best" / "batch.h5"
        try:
            batch = StimulusBatch.load(path)
        except (OSError, ValueError) as error:
            raise _refused(project, f"no batch of a search in the folder {arms.found!r} ({error})") from error
        if batch.images.shape[1:] != pixels.shape[1:]:
            raise _refused(project, f"images of shape {batch.images.shape[1:]} in {arms.found!r}")
        if batch.settings.get("shown") != "as imported":
            raise _refused(project, f"photographs in {arms.found!r} that are not as they were imported")
        own = {image.tobytes() for image in natural}
        kept = {n: i for i, n in reversed([*enumerate(batch.start_ids)]) if batch.images[i].tobytes() not in own}
        names = tuple(sorted(kept))
        pixels = batch.images[[kept[name] for name in names]]
    predicted = responses_to(encoder, pixels) if len(pixels) else np.zeros((0, len(encoder.site_ids)))
    return FoundPhotographs(pixels, names, predicted)


def _refused(project: Project, found: str) -> DataError:
    return DataError(
        str(project.folder / "project.toml"),
        found=found,
        expected=f"a folder that a search with --as-is wrote for this display, {project.display.shape} pixels",
        cause="the folder was moved or renamed, is that of another project, or was made without --as-is",
        fix="run `stimsynth generate PROJECT --out PROJECT/found --generator search --as-is --library LIBRARY` and "
        'write found = "found", or empty the key',
        code="V07",
    )
