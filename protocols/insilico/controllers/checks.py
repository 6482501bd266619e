"""Cheap checks of what an experiment on controllers is asked: no network is loaded for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protocols.disk.files import check_new
from protocols.errors import DataError
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project

__all__ = ["check_asked", "check_sites", "not_of_here", "site_list"]


def site_list(text: str | None) -> tuple[str, ...]:
    """The names in an option such as ``v4_012,v4_047``; none where it was left out."""
    return tuple(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))


def check_asked(project: Project, out: Path, *, batch: Path | None, sites: Sequence[str]) -> None:
    """Refuse a folder that is there, a batch that is none, and sites that no fit knows, before networks are loaded.

    Raises
    ------
    DataError
        W05: `out` is there; V40: no batch in the folder; V41: an unknown site.
    """
    check_new(out)
    if batch is not None and not (batch / "batch.h5").is_file():
        raise not_of_here(batch, "no file batch.h5", "a folder that `stimsynth generate --out` wrote")
    newest = project.newest_fit()
    fitted = None if newest is None else fitted_for(project.fitted, newest)
    known = [] if fitted is None else [site.site_id for site in fitted.sites if site.eligible_fit]
    if known:
        check_sites(sites, known, where="the newest fit")


def check_sites(sites: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Refuse the first sites that are not among `known`, those of `where` (V41)."""
    unknown = [site for site in sites if site not in known]
    if unknown:
        raise DataError(
            "--sites",
            found=f"{', '.join(unknown[:5])}",
            expected=f"sites of {where}: {', '.join(dict.fromkeys(known))}",
            cause="a slip of the pen, or a site that is not reliable enough to be controlled",
            fix="correct --sites, or leave it out for all of them",
            code="V41",
        )


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
