"""What a description was asked for, checked before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocols.errors import DataError
from protocols.insilico.sites import check_sites, targets_of
from protocols.project.folder import Project

from .vectors import check_vectors
from .word_list import read_words


def check_asked(
    project: Project,
    batches: Sequence[Path],
    *,
    sites: Sequence[str] = (),
    clip: Path | None = None,
    words: Path | None = None,
) -> None:
    """Refuse slips of the command in a moment; what can be seen in the files alone is seen later.

    Raises
    ------
    DataError
        V60: no batch; V41: a site that is no target; V63: no tables; V65: no list of words.
    """
    for folder in batches:
        if not batch_file(folder).is_file():
            raise no_batch(folder, "no such file or folder" if not folder.exists() else "no batch.h5 in it")
    if clip is not None:
        check_vectors(clip)
    if words is not None:
        read_words(words)
    if known := [site.site_id for site in targets_of(project)]:
        check_sites(sites, known)


def batch_file(folder: Path) -> Path:
    """The file of a batch, named by its folder or by itself."""
    return folder / "batch.h5" if folder.is_dir() else folder


def no_batch(folder: Path, found: str) -> DataError:
    """The error V60 for what is no batch."""
    return DataError(
        folder.name,
        found=found,
        expected="a folder that `stimsynth generate --out` wrote, with batch.h5",
        cause="another folder, or an incomplete copy",
        fix="name the folder of a batch with --batch, or make one: `stimsynth generate PROJECT --out FOLDER`",
        code="V60",
    )
