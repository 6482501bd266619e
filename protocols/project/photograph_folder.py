"""A folder of pictures as a user has it: which files are photographs, and what is left out, counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from protocols.disk.files import is_litter

from .picture_files import SUFFIXES

GROUPS = "groups.csv"
OTHER_PICTURES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".svg", ".eps", ".pdf", ".ico", ".tga"),
    *(".hdr", ".exr", ".pgm", ".ppm", ".pbm", ".pnm", ".pcx", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf"),
    *(".rw2", ".raw", ".mat", ".npy", ".npz", ".h5", ".hdf5", ".zip", ".mp4", ".mov", ".avi", ".webm", ".apng", ".mpo"),
)
"""Endings of files that may hold pictures and are not read."""
DEEPEST, MOST_FILES = 8, 100_000
"""How far sub-folders are looked into to count their pictures."""


NOT_READ = "left out: a kind of file that is not read"
NO_PICTURE = "left out: no picture by its name"
LITTER = "left out: a file that a system left behind"
BELOW = "left out: pictures in a sub-folder: "
"""Why a file is left out; `BELOW` is followed by their number."""


class LeftOut(NamedTuple):
    """A file or sub-folder that is not read, and why: `NOT_READ`, `NO_PICTURE`, `LITTER`, or `BELOW` and a number."""

    name: str
    why: str


class PictureFolder(NamedTuple):
    """What a folder holds: the files that are read as photographs, the table of groups, and everything left out."""

    pictures: tuple[Path, ...]
    groups: Path | None
    left_out: tuple[LeftOut, ...]


def read_folder(folder: Path) -> PictureFolder:
    """Sort the files of a folder into photographs and what is left out, by name; sub-folders are only counted.

    Raises
    ------
    OSError
        The folder cannot be listed.
    """
    pictures, left_out, groups = [], [], None
    for path in sorted(folder.iterdir()):
        if is_litter(path.name):
            left_out.append(LeftOut(path.name, LITTER))
        elif path.is_dir():
            if count := _pictures_below(path):
                left_out.append(LeftOut(path.name, f"{BELOW}{count}"))
        elif path.name.lower() == GROUPS:
            groups = path
        elif ending(path.name) in SUFFIXES and (path.is_file() or path.is_symlink()):
            pictures.append(path)
        else:
            left_out.append(LeftOut(path.name, NOT_READ if ending(path.name) in OTHER_PICTURES else NO_PICTURE))
    return PictureFolder(tuple(pictures), groups, tuple(left_out))


def left_out_sentences(left_out: Sequence[LeftOut]) -> list[str]:
    """What is left out, one sentence per reason with the way out; empty where nothing is."""
    other = Counter(ending(f.name) for f in left_out if f.why == NOT_READ)
    plain = Counter(ending(f.name) for f in left_out if f.why == NO_PICTURE)
    below = {f.name: int(f.why.removeprefix(BELOW)) for f in left_out if f.why.startswith(BELOW)}
    litter = sum(f.why == LITTER for f in left_out)
    told = []
    if other:
        told.append(
            f"left out: {_counted(other)}, which are not read; if they belong to the set, save them as 8-bit PNG or "
            "JPEG and import the folder again"
        )
    if below:
        told.append(
            f"left out: {sum(below.values())} pictures in sub-folders "
            f"({_listed(f'{name}: {count}' for name, count in below.items())}); if they belong to the set, move them "
            "into the folder itself and import it again"
        )
    if plain:
        tables = [f.name for f in left_out if Path(f.name).stem.lower() == "groups" and f.why == NO_PICTURE]
        told.append(
            f"left out: {_counted(plain)}, which are no pictures by their names"
            + (f"; {tables[0]} is not read: save it as {GROUPS}" if tables else "")
        )
    if litter:
        told.append(f"left out: {litter} files that systems leave behind (such as ._NAME or Thumbs.db)")
    return told


def ending(name: str) -> str:
    """The ending of a file's name in lower case, without spaces after it; "" where there is none."""
    return Path(name.rstrip()).suffix.lower()


def _pictures_below(folder: Path) -> int:
    """Number of files below a folder that may be pictures; links to folders are not followed."""
    count, seen, depth = 0, 0, len(folder.parts)
    for place, folders, names in os.walk(folder):
        if len(Path(place).parts) - depth >= DEEPEST:
            folders.clear()
        folders[:] = [f for f in folders if not is_litter(f)]
        count += sum(not is_litter(n) and ending(n) in (*SUFFIXES, *OTHER_PICTURES) for n in names)
        seen += len(names)
        if seen > MOST_FILES:
            break
    return count


def _counted(endings: Counter[str]) -> str:
    return _listed(f"{count} {e or 'without an ending'}" for e, count in endings.most_common())


def _listed(parts: Iterable[str], most: int = 8) -> str:
    listed = list(parts)
    more = f", and {len(listed) - most} more kinds" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
