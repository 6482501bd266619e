"""A folder of pictures as a user has it: which files are photographs, and what is left out, counted.

Pictures lie in the folder itself, or in a tree of sub-folders (one per category or day); then a picture's name is that
of its file with the folders before it, such as ``faces/003.png``. Where the folder holds pictures itself, those in
sub-folders are left out and counted, since nobody knows whether they belong to the set, unless shown.csv names them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from protocols.disk.files import is_litter, sha256_bytes, sha256_file
from protocols.disk.tables import read_table
from protocols.errors import DataError

from .picture_files import SUFFIXES

GROUPS, SHOWN = "groups.csv", "shown.csv"
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
    """What a folder holds.

    pictures, names : the files that are read as photographs, and their names within the folder, in the order of names.
    groups, shown : the tables beside them, where there are any.
    left_out : everything else.
    """

    pictures: tuple[Path, ...]
    names: tuple[str, ...]
    groups: Path | None
    shown: Path | None
    left_out: tuple[LeftOut, ...]


def read_folder(folder: Path) -> PictureFolder:
    """Sort the files of a folder into photographs and what is left out, by name.

    Raises
    ------
    OSError
        The folder cannot be listed.
    """
    entries = sorted(folder.iterdir())
    files = [p for p in entries if not p.is_dir()]
    tables = {p.name.lower(): p for p in files if p.name.lower() in (GROUPS, SHOWN)}
    flat = any(_is_picture(p) for p in files) and not _names_a_tree(tables.get(SHOWN))
    pictures, left_out = [], []
    for name, path in _entries(entries) if flat else _tree(folder):
        if is_litter(path.name):
            left_out.append(LeftOut(name, LITTER))
        elif path.is_dir():
            if count := _pictures_below(path):
                left_out.append(LeftOut(name, f"{BELOW}{count}"))
        elif _is_picture(path):
            pictures.append((name, path))
        elif path not in tables.values():
            left_out.append(LeftOut(name, NOT_READ if ending(path.name) in OTHER_PICTURES else NO_PICTURE))
    pictures.sort()
    names = tuple(name for name, _ in pictures)
    return PictureFolder(
        pictures=tuple(path for _, path in pictures),
        names=names,
        groups=tables.get(GROUPS),
        shown=tables.get(SHOWN),
        left_out=tuple(left_out),
    )


def sources_sha256(folder: Path) -> str:
    """Hash of all that decides how photographs look and are split: names and bytes of the pictures and their tables.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    held = read_folder(folder)
    tables = [("", path) for path in (held.groups, held.shown) if path is not None]
    lines = [f"{sha256_file(path)} {name}" for name, path in [*zip(held.names, held.pictures, strict=True), *tables]]
    return sha256_bytes("\n".join(lines).encode())


def _is_picture(path: Path) -> bool:
    return ending(path.name) in SUFFIXES and (path.is_file() or path.is_symlink())


def _entries(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Files and sub-folders of one folder, by their names."""
    return ((path.name, path) for path in paths)


def _tree(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files of a tree, by their names within it; folders that are links, or lie too deep, as what they are."""
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            within = path.relative_to(folder)
            if path.is_dir() and not path.is_symlink() and not is_litter(path.name) and len(within.parts) <= DEEPEST:
                waiting.append(path)
            else:
                yield within.as_posix(), path


def _names_a_tree(shown: Path | None) -> bool:
    """Whether shown.csv names pictures in sub-folders; a table that cannot be read is refused when it is read."""
    try:
        lines = read_table(shown)[1] if shown else []
    except (DataError, OSError):
        return False
    return any("/" in (line.get("filename") or "").replace("\\", "/") for line in lines)


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
            f"into the folder itself, or all pictures into sub-folders, or name them in {SHOWN}, and import it again"
        )
    if plain:
        known = {Path(name).stem: name for name in (GROUPS, SHOWN)}
        tables = [f.name for f in left_out if Path(f.name).stem.lower() in known and f.why == NO_PICTURE]
        told.append(
            f"left out: {_counted(plain)}, which are no pictures by their names"
            + (f"; {tables[0]} is not read: save it as {known[Path(tables[0]).stem.lower()]}" if tables else "")
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
