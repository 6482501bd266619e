"""Photographs that a prior is trained on: those of the package, or those of a folder.

They come as one list per picture that they were cut from.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import is_litter
from protocols.disk.foreign import MOST_PICTURE, read_bytes
from protocols.disk.tables import parse_table

from .photograph_folder import ending
from .photograph_import import demo_photographs
from .picture_files import UNREADABLE, read_picture

__all__ = ["photographs"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
BEHIND = 128
"""Pixel value that transparent pixels are laid over."""
Pictures = list[list[NDArray[np.uint8]]]


def photographs(folder: Path | None = None) -> tuple[Pictures, dict[str, Any]]:
    """Pictures, each a list of arrays (H, W, 3), uint8, and what a model card says of them.

    Raises
    ------
    ValueError
        The folder holds no photographs, or one that cannot be read.
    """
    if folder is not None:
        files = sorted(p for p in folder.rglob("*") if ending(p.name) in SUFFIXES and not is_litter(p.name))
        if not files:
            raise ValueError(f"{folder} holds no photographs; expected {', '.join(sorted(SUFFIXES))}")
        return [[_opened(read_bytes(p, most=MOST_PICTURE), p.name)] for p in files], {
            "photographs": len(files),
            "folder": folder.name,
        }
    pictures: dict[str, list[NDArray[np.uint8]]] = {}
    for photograph in demo_photographs():
        pictures.setdefault(photograph.group, []).append(_opened(photograph.data, photograph.filename))
    table = resources.files("protocols").joinpath("data/photographs.csv").read_text(encoding="utf-8")
    rows = parse_table(table)[1]
    licences = {r["group"]: f"{r['title']}, {r['author']}: {r['licence']}" for r in rows}
    return list(pictures.values()), {"photographs": len(rows), "pictures": licences}


def _opened(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(read_picture(data, BEHIND)[0].convert("RGB"))
    except UNREADABLE as error:
        raise ValueError(f"{name} is not a photograph that can be read ({error}); take it out of the folder") from error
