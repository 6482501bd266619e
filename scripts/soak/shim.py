"""Between the toolkit and the system: every operation on files below a folder is counted, told and may fail.

The seams are the functions of `os`, `open` and `h5py.File`, through which all of the toolkit's own code and the libraries
in Python go. What a library writes in C (HDF5, safetensors) is limited by the size of files instead: `limited`.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import h5py

CHANGES = ("replace", "rename", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "chmod", "utime", "truncate")
"""Functions of `os` that change a folder or a file by its path."""
LOOKS = ("stat", "lstat", "scandir", "listdir", "access", "readlink")
"""Functions of `os` that look."""
CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Operation:
    """One operation: its name, and the path that it is about, relative to the watched folder and in full."""

    name: str
    path: str
    full: str = ""


class DoneButFailed(OSError):
    """Raised after the operation was carried out."""


Watch = Callable[[Operation], None]
"""Called before each operation; what it raises is what the operation fails with."""


@contextlib.contextmanager
def watched(folder: Path, watch: Watch, *, looks: bool = False) -> Iterator[None]:
    """Call `watch` before every operation below `folder` that changes something; with `looks` also before those that
    look and read. What `watch` does itself is not told.
    """
    busy = False
    root, thread = os.path.abspath(folder), threading.get_ident()

    def tell(name: str, path: Any) -> None:
        nonlocal busy
        if busy or threading.get_ident() != thread:  # the beat of a lock has its own time
            return
        place = _place(path)
        if place is not None and (place == root or place.startswith(root + os.sep)):
            busy = True
            try:
                watch(Operation(name, os.path.relpath(place, root), place))
            finally:
                busy = False

    with contextlib.ExitStack() as stack:
        for name in (*CHANGES, *(LOOKS if looks else ())):
            stack.enter_context(mock.patch.object(os, name, _before(getattr(os, name), name, tell)))
        for name in ("fsync", "fdatasync"):
            stack.enter_context(mock.patch.object(os, name, _before(getattr(os, name), name, tell)))
        stack.enter_context(mock.patch.object(os, "open", _os_open(tell, looks)))
        # without the system's own shortcuts, whose steps nobody sees
        stack.enter_context(mock.patch.object(shutil, "_USE_CP_SENDFILE", False))
        opened = _open(tell, looks)
        for module in (io, builtins):
            stack.enter_context(mock.patch.object(module, "open", opened))
        stack.enter_context(mock.patch.object(h5py, "File", _hdf5(tell, looks)))
        yield


_read_link = os.readlink


def _place(path: Any) -> str | None:
    """The absolute path of a path or of an open file."""
    try:
        return _read_link(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fsdecode(path))
    except (OSError, TypeError):
        return None


def _before(real: Any, name: str, tell: Callable[[str, Any], None]) -> Any:
    def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        within = kwargs.get("dir_fd")
        try:
            tell(name, path if within is None else os.path.join(_place(within) or "", path))
        except DoneButFailed:
            real(path, *args, **kwargs)
            raise
        return real(path, *args, **kwargs)

    return call


def _os_open(tell: Callable[[str, Any], None], looks: bool) -> Any:
    real = os.open

    def call(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & CREATES:
            tell("open", path)
        elif looks:
            tell("open to read", path)
        return real(path, flags, *args, **kwargs)

    return call


def _open(tell: Callable[[str, Any], None], looks: bool) -> Any:
    real = io.open

    def call(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        writes = any(letter in mode for letter in "wax+")
        if not isinstance(path, int) and (writes or looks):
            tell("open" if writes else "open to read", path)
        file = real(path, mode, *args, **kwargs)
        return _told(file, path, tell) if writes and not isinstance(path, int) else file

    return call


def _told(file: Any, path: Any, tell: Callable[[str, Any], None]) -> Any:
    """`file` with its writes told: half of the bytes get there when a write fails."""
    write = file.write

    def call(data: Any) -> int:
        try:
            tell("write", path)
        except OSError:
            write(data[: len(data) // 2])
            raise
        return int(write(data))

    with contextlib.suppress(AttributeError):  # buffered files take an attribute of their own
        file.write = call
    return file


def _hdf5(tell: Callable[[str, Any], None], looks: bool) -> type:
    class File(h5py.File):  # type: ignore[misc]
        def __init__(self, name: Any, mode: str = "r", *args: Any, **kwargs: Any) -> None:
            self._told = name if mode != "r" and isinstance(name, str | os.PathLike) else None
            if self._told is not None or (looks and isinstance(name, str | os.PathLike)):
                tell("open" if self._told is not None else "open to read", name)
            super().__init__(name, mode, *args, **kwargs)

        def close(self) -> None:
            told, self._told = getattr(self, "_told", None), None
            try:
                if told is not None:
                    tell("write", told)
            finally:
                super().close()

    return File


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, in whatever language it is written: the system refuses (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclass
class Fault:
    """Fails from the `first` operation on, `times` times.

    Attributes
    ----------
    first : int
        Counted from 0.
    number : int
        The number of the error.
    times : int
        How many operations in a row fail; a disk that is full stays full.
    under : tuple of str
        Only operations whose path holds one of these count; (): all.
    done : bool
        The operation is carried out, and reported as failed, as a share does whose answer was lost.
    only : tuple of str
        Of the later operations only those of these names fail; (): all.
    """

    first: int
    number: int
    times: int = 1
    under: tuple[str, ...] = ()
    done: bool = False
    only: tuple[str, ...] = ()
    seen: int = 0
    hit: Operation | None = None

    def __call__(self, operation: Operation) -> None:
        """Count one operation, and fail where it is its turn."""
        if self.under and not any(part in operation.path for part in self.under):
            return
        self.seen += 1
        if self.first < self.seen <= self.first + self.times and (not self.only or operation.name in self.only):
            self.hit = self.hit or operation
            if self.done:
                raise DoneButFailed(self.number, os.strerror(self.number), operation.full)
            raise OSError(self.number, os.strerror(self.number), operation.full)


ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO)
