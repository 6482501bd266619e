"""Cheap checks of what an experiment on controllers is asked: no network is loaded for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocols.disk.files import check_new
from protocols.errors import DataError
from protocols.insilico.sites import check_sites, targets_of
from protocols.project.folder import Project

__all__ = ["check_asked", "not_of_here"]


def check_asked(project: Project, out: Path, *, batch: Path | None, sites: Sequence[str]) -> None:
    """Refuse a folder that is there, a batch that is none, and sites that are no targets; no network is loaded.

    Raises
    ------
    DataError
        W05: `out` is there; V40: no batch in the folder; V41: an unknown site.
    """
    check_new(out)
    if batch is not None and not (batch / "batch.h5").is_file():
        raise not_of_here(batch, "no file batch.h5", "a folder that `stimsynth generate --out` wrote")
    if known := [site.site_id for site in targets_of(project)]:
        check_sites(sites, known)


def not_of_here(folder: Path, found: str, expected: str) -> DataError:
    """What is told of a folder that is no batch of this project (V40)."""
    return DataError(
        str(folder),
        found=found,
        expected=expected,
        cause="another folder, another project, or a batch made before [display] or the sites changed",
        fix="make a batch for this project: `stimsynth generate PROJECT --out FOLDER`",
        code="V40",
    )
