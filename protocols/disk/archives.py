"""Zip archives of anybody: opened once their members were looked at; nothing is ever unpacked to disk."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from protocols.errors import DataError

from .foreign import check_regular, check_unpacked

DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ArithmeticError, MemoryError, RuntimeError,
    ValueError, OSError,
)  # fmt: skip
"""What `zipfile` raises for damaged archives; NotImplementedError is a RuntimeError."""
MOST_MEMBERS = 1_000_000


class UnreadableArchive(ValueError):
    """Why an archive cannot be read."""


def open_zip(path: Path, *, bounded: bool = True) -> zipfile.ZipFile:
    """The archive, with members that may each be read whole.

    Parameters
    ----------
    path : Path
    bounded : bool
        Look at every member: False where only a bounded part of each is read.

    Raises
    ------
    UnreadableArchive
        Damaged, encrypted, or of another compression than deflate.
    DataError
        F13: no regular file; F14: a member that unpacks to far more than it holds.
    """
    check_regular(path)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise UnreadableArchive(f"a damaged archive ({str(error)[:120] or type(error).__name__})") from error
    try:
        _look(path, archive, bounded=bounded)
    except BaseException:
        archive.close()
        raise
    return archive


def _look(path: Path, archive: zipfile.ZipFile, *, bounded: bool) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise UnreadableArchive(f"an archive of {len(members)} members")
    if not bounded:
        return
    total, size = 0, path.stat().st_size
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableArchive(f"{member.filename[:80]!r} is encrypted, or packed by a method other than deflate")
        check_unpacked(path, repr(member.filename[:80]), member.file_size, stored=min(member.compress_size, size))
        total += member.file_size
    check_unpacked(path, "its content", total, stored=size)  # members may lie over one another


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> bytes:
    """The bytes of a member, of at most the size that the archive states.

    Raises
    ------
    UnreadableArchive
        No such member, damaged, or longer than stated.
    """
    try:
        info = member if isinstance(member, zipfile.ZipInfo) else archive.getinfo(member)
        with archive.open(info) as file:
            data = file.read(info.file_size + 1)
    except DataError:
        raise
    except DAMAGED as error:
        raise UnreadableArchive(f"a damaged archive ({str(error)[:120] or type(error).__name__})") from error
    if len(data) != info.file_size:
        raise UnreadableArchive(f"{info.filename[:80]!r} is not of the size that the archive states")
    return data
