"""What a library holds: the pictures of a folder tree and of the tar and zip archives in it, listed without unpacking.

A library is a folder, or one archive. Names are only ever names: nothing is written under the name of a member, and
links and devices within archives are passed over. Every picture has a *stamp*, which changes where the file, or the
archive around it, changes by its size or time.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from protocols.arrays import Pixels
from protocols.disk.archives import open_zip
from protocols.disk.files import is_litter, make_id
from protocols.errors import DataError
from protocols.progress import counted
from protocols.project.picture_files import SUFFIXES

from .tars import DamagedTar, TarMember, tar_members

__all__ = ["DAMAGED", "LARGEST", "Contents", "Item", "list_library", "name_of", "picture_id"]

LARGEST = 64 << 20
"""Bytes of one picture file; larger ones are left out."""
SHARDS = (".tar", ".zip")
COMPRESSED = (".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ArithmeticError, MemoryError, RuntimeError,
)  # fmt: skip
"""What `zipfile` raises for damaged archives beside OSError and ValueError; NotImplementedError is a RuntimeError."""

ARCHIVE = "archives of a kind that is not read (unpack the compression: .tar and .zip are read)"
OTHER = "files that are no pictures by their names"
NO_FILE = "links, devices and sparse files within archives"
LARGE = f"files of more than {LARGEST >> 20} MiB"
LOCKED = "encrypted members, or packed by a method other than deflate"
FOLDER_LINK = "links to folders"
BROKEN = "archives or folders that cannot be read to their end"
LITTER = "files that systems leave behind"


class Item(NamedTuple):
    """One picture of a library.

    name : within the library, with the archive's name before it.
    shard : number of the archive, -1 = a file of its own.
    offset, size : where its bytes begin in a tar and how many there are; in a zip, the number of the entry.
    stamp : 16 bytes.
    """

    name: str
    shard: int
    offset: int
    size: int
    stamp: bytes


@dataclass
class Contents:
    """All pictures of a library, in the order in which they are read, and what it holds besides.

    Attributes
    ----------
    source : Path
    items : list of Item
    shards : list of Path
    left_out : Counter
        How many files were left out, by the reason.
    examples : dict
        A few of their names, by the reason.
    """

    source: Path
    items: list[Item] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Count one file that is not read."""
        self.left_out[reason] += 1
        known = self.examples.setdefault(reason, [])
        if len(known) < 3:
            known.append(name_of(name))

    def sentences(self) -> list[str]:
        """What was left out, one sentence per reason."""
        return [f"left out: {n} {reason}, such as {self.examples[reason][0]}" for reason, n in self.left_out.items()]


def name_of(name: str) -> str:
    """A name for people and tables: bytes that are no text are replaced, and so are control characters."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def picture_id(name: str, pixels: Pixels) -> str:
    """The id of a picture of a library as it is shown: its name in a-z, 0-9 and _, and eight digits of the SHA-256 of
    its pixels (H, W, C).

    Rounds know an image by its id: pictures of two libraries under one name, or one picture shown in two ways, must
    not share one.
    """
    stem = make_id(Path(name.rstrip("/")).stem, "img")[:60].rstrip("_")
    return f"lib_{stem}_{hashlib.sha256(f'{pixels.shape}'.encode() + pixels.tobytes()).hexdigest()[:8]}"


def list_library(source: Path) -> Contents:
    """List the pictures of a folder tree or of one archive, in the order of names.

    Raises
    ------
    DataError
        V01: no such folder or archive, or no picture in it.
    """
    contents = Contents(source)
    if source.is_dir():
        for name, path in counted([*_files(source, contents)], "list the library"):
            _take(contents, name, path)
    elif source.is_file() and source.suffix.lower() in SHARDS:
        _take_shard(contents, source.name, source)
    if not contents.items:
        raise DataError(
            str(source),
            found="; ".join(["no picture", *contents.sentences()]) if source.exists() else "no such folder or archive",
            expected="a folder tree of pictures, or archives (.tar, .zip) of pictures, or both",
            cause="another folder was meant, or the pictures are of a kind that is not read",
            fix="give the folder or archive with --library; pictures are " + ", ".join(SUFFIXES),
            code="V01",
        )
    return contents


def _files(folder: Path, contents: Contents) -> Iterator[tuple[str, Path]]:
    """Files of a tree with their names within it, folder by folder; links to folders are not followed."""

    def unreadable(error: OSError) -> None:
        contents.leave_out(BROKEN, str(Path(error.filename or folder).name))

    for place, folders, names in os.walk(folder, onerror=unreadable):
        for name in folders:
            if (Path(place) / name).is_symlink():
                contents.leave_out(FOLDER_LINK, name)
        folders[:] = sorted(f for f in folders if not is_litter(f))
        for name in sorted(names):
            path = Path(place) / name
            yield path.relative_to(folder).as_posix(), path


def _take(contents: Contents, name: str, path: Path) -> None:
    ending = path.suffix.lower()
    if is_litter(path.name):
        contents.leave_out(LITTER, name)
    elif ending in SUFFIXES:
        try:
            about = path.stat()
        except OSError:
            contents.leave_out(BROKEN, name)
            return
        if not stat.S_ISREG(about.st_mode):
            contents.leave_out(OTHER, name)
        else:
            _add(contents, name, -1, offset=0, size=about.st_size, around=f"{about.st_size} {about.st_mtime_ns}")
    elif ending in SHARDS:
        _take_shard(contents, name, path)
    else:
        contents.leave_out(ARCHIVE if ending in COMPRESSED else OTHER, name)


def _take_shard(contents: Contents, name: str, path: Path) -> None:
    """The pictures of one archive; one that is damaged gives those before the damage."""
    number = len(contents.shards)
    contents.shards.append(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise DamagedTar("not a file")
        around = f"{about.st_size} {about.st_mtime_ns}"
        members = _tar_items if path.suffix.lower() == ".tar" else _zip_items
        for inner, offset, size in members(contents, name, path):
            _add(contents, f"{name}/{inner}", number, offset=offset, size=size, around=around)
    except (OSError, ValueError, *DAMAGED) as error:
        contents.leave_out(BROKEN, f"{name} ({error})")


def _tar_items(contents: Contents, name: str, path: Path) -> Iterator[tuple[str, int, int]]:
    for member in part_done(tar_members(path), path.stat().st_size, f"list {name}"):
        if not member.regular:
            contents.leave_out(NO_FILE, f"{name}/{member.name}")
        elif _is_picture(contents, f"{name}/{member.name}"):
            yield member.name, member.offset, member.size


def part_done(members: Iterable[TarMember], total: int, label: str) -> Iterator[TarMember]:
    """The members of an archive of `total` bytes, as `counted` gives the items of a list, by where they end."""
    megabytes = max(1, -(-total // 1_000_000))
    marks = counted(range(megabytes), label)
    at = -1
    for member in members:
        yield member
        while at < min(megabytes - 1, (member.offset + member.size) // 1_000_000):
            next(marks, None)
            at += 1
    for _ in marks:
        pass


def _zip_items(contents: Contents, name: str, path: Path) -> Iterator[tuple[str, int, int]]:
    with open_zip(path, bounded=False) as archive:
        for number, entry in enumerate(counted(archive.infolist(), f"list {name}")):
            if entry.filename.endswith("/"):
                continue
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                contents.leave_out(NO_FILE, f"{name}/{entry.filename}")
            elif entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                contents.leave_out(LOCKED, f"{name}/{entry.filename}")
            elif _is_picture(contents, f"{name}/{entry.filename}"):
                yield entry.filename, number, entry.file_size


def _is_picture(contents: Contents, name: str) -> bool:
    last = Path(name).name
    if is_litter(last):
        contents.leave_out(LITTER, name)
    elif Path(last).suffix.lower() not in SUFFIXES:
        contents.leave_out(OTHER, name)
    else:
        return True
    return False


def _add(contents: Contents, name: str, shard: int, *, offset: int, size: int, around: str) -> None:
    if size > LARGEST:
        contents.leave_out(LARGE, name)
        return
    about = f"{around} {offset} {size} ".encode()
    stamp = hashlib.sha256(about + _bytes(name)).digest()[:16]
    contents.items.append(Item(name=name, shard=shard, offset=offset, size=size, stamp=stamp))


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
