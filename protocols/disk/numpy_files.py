"""Arrays that numpy wrote, .npy and .npz: numbers and text alone, no pickled objects, no more than the file holds."""

from __future__ import annotations

import io
import re
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .archives import UnreadableArchive, open_zip, read_member
from .foreign import open_regular

OBJECTS = "Python objects (pickled), which could run code and are never loaded"
MOST_HEADER = 100_000
_PLACE = re.compile(r" at 0x[0-9a-fA-F]+")
_BROKEN = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    KeyError,
    OverflowError,
    RecursionError,
    MemoryError,
    OSError,
)


class UnreadableArray(ValueError):
    """Why an array of numpy cannot be read."""


class Header(NamedTuple):
    """What the header of an array states: shape, type, where the numbers begin, and how many bytes they take."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begin: int
    bytes: int


def read_header(file: IO[bytes], size: int) -> Header:
    """The header of an array in a file or member of `size` bytes.

    Raises
    ------
    UnreadableArray
        No such header, or one that states more than there is.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, _, dtype = read(file, max_header_size=MOST_HEADER)
        shape = tuple(int(n) for n in shape)
    except _BROKEN as error:
        raise UnreadableArray(_said(error)) from error
    count = 1
    for n in shape:
        count *= n
    begin, held = file.tell(), count * dtype.itemsize
    if min(shape, default=0) < 0 or len(shape) > 32 or max((count, *shape)) >= 2**62:
        raise UnreadableArray(f"the shape {shape!r:.80}")
    if not dtype.hasobject and (held > size - begin or (not dtype.itemsize and count > size)):
        raise UnreadableArray(f"{size} bytes, and a header that states {begin + held}")
    return Header(shape, dtype, begin, held)


def load_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory where it holds anything.

    Raises
    ------
    UnreadableArray
        Cut short, not numpy's, or Python objects.
    DataError
        F13: no regular file.
    OSError
        There is none.
    """
    with open_regular(path) as file:
        header = read_header(file, path.stat().st_size)
    if header.dtype.hasobject:
        raise UnreadableArray(OBJECTS)
    try:
        return np.load(path, mmap_mode="r" if header.bytes else None, allow_pickle=False)  # type: ignore[no-any-return]
    except _BROKEN as error:
        raise UnreadableArray(_said(error)) from error


def _said(error: BaseException) -> str:
    """The first line of an error, without places in memory, so that the same file is refused in the same words."""
    return _PLACE.sub("", (str(error).splitlines() or [type(error).__name__])[0])[:160]


class NpzFile:
    """An open .npz archive: its arrays by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.members = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}

    def header(self, name: str) -> Header:
        """What the header of one array states. Raises `UnreadableArray`."""
        member = self._member(name)
        try:
            with self.archive.open(member) as file:
                return read_header(file, member.file_size)
        except UnreadableArray:
            raise
        except Exception as error:  # zipfile raises errors of many kinds for what is damaged
            raise UnreadableArray(f"a damaged archive ({str(error)[:120] or type(error).__name__})") from error

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One array. Raises `UnreadableArray`."""
        if self.header(name).dtype.hasobject:
            raise UnreadableArray(OBJECTS)
        try:
            return np.load(io.BytesIO(read_member(self.archive, self._member(name))), allow_pickle=False)  # type: ignore[no-any-return]
        except _BROKEN as error:
            raise UnreadableArray(_said(error)) from error

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise UnreadableArray(f"no array {name!r} among {', '.join(list(self.members)[:8]) or 'none'}")
        return self.members[name]


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """The arrays of a .npz archive.

    Raises
    ------
    UnreadableArray
        No archive, or a damaged one.
    DataError
        F13: no regular file; F14: a member that unpacks to far more than it holds.
    OSError
        There is none.
    """
    try:
        archive = open_zip(path)
    except UnreadableArchive as error:
        raise UnreadableArray(str(error)) from error
    with archive:
        yield NpzFile(archive)
