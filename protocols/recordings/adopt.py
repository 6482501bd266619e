"""Photographs and recordings that a user brings: the baseline round, or responses recorded elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from protocols.disk.files import make_id
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from protocols.recordings.readers import reader_of, write_responses

from .responses import Responses


def import_baseline(project: Project, images: Path | None, *, progress: Reporter | None = None) -> NaturalImages:
    """Import the photographs of round 0 (None: the built-in ones); refused once responses to others are recorded.

    Raises
    ------
    DataError
        B01: the project already holds photographs that were exported or recorded.
    """
    if (project.data / "natural.csv").is_file() and (project.data / "responses.h5").is_file():
        raise _in_use(project)
    if any(r.outbox.is_dir() for r in project.rounds()):
        raise _in_use(project)
    return import_photographs(images, project.display, project.data, progress=progress)


def _in_use(project: Project) -> DataError:
    return DataError(
        str(project.data),
        found="photographs that were already exported or recorded",
        expected="a project without a baseline",
        cause="the baseline was exported before",
        fix="go on with `stimsynth run`, or make another project with `stimsynth init`",
        code="B01",
    )


def adopt_recording(project: Project, images: Path, responses: Path, *, progress: Reporter | None = None) -> Responses:
    """Take photographs and responses recorded elsewhere as the project's baseline.

    They become ``data/natural.csv`` and ``data/responses.h5``. `responses` is a file of any format of
    `protocols.recordings.readers.READERS`. Its image ids are the photographs' file names, with or without ending.

    Raises
    ------
    DataError
        B01: the project has a baseline; B02: responses to images that are not in the folder.
    """
    if (project.data / "natural.csv").is_file():
        raise _in_use(project)
    table = reader_of(responses)(responses)
    natural = import_photographs(images, project.display, project.data, progress=progress)
    known = set(natural.source_ids)
    renamed = np.array([_source_id(str(i), known) for i in table.image_ids])
    unknown = sorted({str(i) for i, r in zip(table.image_ids, renamed, strict=True) if r not in known})
    if unknown:
        (project.data / "natural.csv").unlink()
        raise DataError(
            str(responses),
            found=f"responses to {len(unknown)} images that are not in {images.name} ({', '.join(unknown[:5])})",
            expected="image ids that are the photographs' file names",
            cause="another folder of photographs, or ids from another list",
            fix="give the folder that was shown, or write the file names as image_id",
            code="B02",
        )
    kept = Responses(**{**table.__dict__, "image_ids": renamed})
    write_responses(project.data / "responses.h5", kept)
    return kept


def _source_id(image_id: str, known: set[str]) -> str:
    stem = image_id.rsplit(".", 1)[0] if "." in image_id else image_id
    return image_id if image_id in known else make_id(stem, "img")
