"""HDF5 files, whole or not at all: a disk that is full is told as such, and leaves the library in order."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from .files import write_atomically

LARGEST_KEPT = 2**20
"""Bytes of a write that is kept in memory once the disk refuses: HDF5 reads its own tables back, and no raw values."""


class _Kept(io.RawIOBase):
    """A new file that keeps the first error of its writes for the end.

    HDF5 cannot close a file that it could not write: it holds it open to the end of the process, which then crashes.
    So it is told that each write succeeded, what it may read back stays in memory, and whoever closes the file looks at
    `error`.
    """

    def __init__(self, path: Path) -> None:
        self.file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        self.error: OSError | None = None
        self.refused: list[tuple[int, bytes]] = []
        self.at, self.length = 0, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, which may lie beyond the end."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.length}[whence]
        return self.at

    def tell(self) -> int:
        """Where it stands."""
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Read what was written, from memory where the disk refused it."""
        into = memoryview(buffer).cast("B")
        self.file.seek(self.at)
        got = self.file.read(len(into)) or b""
        into[: len(got)] = got
        into[len(got) :] = bytes(len(into) - len(got))
        for place, data in self.refused:
            first, last = max(place, self.at), min(place + len(data), self.at + len(into))
            if first < last:
                into[first - self.at : last - self.at] = data[first - place : last - place]
        self.at += len(into)
        return len(into)

    def write(self, data: Any) -> int:
        """Write all, or keep the error and, in memory, what HDF5 may read back."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            if self.error is None:
                self.file.seek(self.at)
                while len(left):
                    left = left[self.file.write(left) or 0 :]
        except OSError as error:
            self.error = error
        if self.error is not None and size <= LARGEST_KEPT:
            self.refused.append((self.at, bytes(data)))
        self.at += size
        self.length = max(self.length, self.at)
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or keep the error."""
        self.length = self.at if size is None else size
        try:
            if self.error is None:
                self.file.truncate(self.length)
        except OSError as error:
            self.error = error
        return self.length

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self.file.close()
        super().close()


def write_hdf5(path: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill an open `h5py.File`, which becomes `path`, atomically; equal contents give equal bytes.

    Raises
    ------
    DataError
        F10: the disk is full; F12: writing is refused. `path` is as it was.
    """
    write_atomically(path, lambda temporary: fill_hdf5(temporary, write))


def fill_hdf5(path: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill a new HDF5 file at `path`, not atomically.

    Raises
    ------
    OSError
        The file could not be written to its end.
    """
    with _Kept(path) as kept:
        try:
            with h5py.File(kept, "w") as file:
                write(file)
        except Exception:
            if kept.error is None:
                raise
        if kept.error is not None:
            raise kept.error
