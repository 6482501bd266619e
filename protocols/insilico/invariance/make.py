"""The door of `stimsynth invariance`: from what is asked to a written folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocols.disk.files import check_new
from protocols.insilico.opened import Opened, open_fitted
from protocols.progress import Reporter
from protocols.project.folder import Project

from .asked import Asked
from .diverse import find_diverse
from .found import Found, write_found
from .levels import find_levels
from .metamers import find_metamer_sets

__all__ = ["make_invariance"]

FINDERS: dict[str, Callable[..., Found]] = {
    "diverse": find_diverse,
    "levels": find_levels,
    "metamers": find_metamer_sets,
}


def make_invariance(
    project: Project, out: Path, asked: Asked, *, device: str = "cpu", progress: Reporter | None = None
) -> tuple[str, dict[str, Any]]:
    """Find what leaves the responses of a fitted encoder as they are, and write it to the new folder `out`.

    Parameters
    ----------
    asked : Asked
        As `check_asked` returned it.

    Returns
    -------
    What to print for people, and for scripts

    Raises
    ------
    DataError
        D06: no encoder was fitted; V33: photographs cannot be shown; W05: `out` exists.
    """
    check_new(out)
    opened: Opened = open_fitted(project, device=device)
    found = FINDERS[asked.kind](opened, asked, progress=progress)
    return write_found(found, out)
