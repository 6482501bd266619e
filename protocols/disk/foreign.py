"""Files that another program or person may have made: regular files alone, read within limits, never waited for.

Every file that is read whole goes through here, and so does every size that a file states of what it unpacks to: what
is a pipe, a device or a folder is refused before it is opened, and what would take far more memory than the file holds
is refused before it is unpacked. SECURITY.md lists the limits.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import psutil

from protocols.errors import DataError

MOST_TEXT = 512 << 20
"""Bytes of a table, a record or another text."""
MOST_SETTINGS = 4 << 20
"""Bytes of a file of settings (TOML)."""
MOST_PICTURE = 512 << 20
"""Bytes of a picture."""
FREE = 64 << 20
"""Bytes that a packed array or member may unpack to, however little of it is stored."""
RATIO = 400
"""Beyond `FREE`, how many times its stored bytes it may unpack to; packed recordings reach 5 to 100."""


def read_bytes(path: Path, *, most: int = MOST_TEXT) -> bytes:
    """The bytes of a file.

    Raises
    ------
    DataError
        F13: no regular file, or more than `most` bytes.
    OSError
        There is none, or it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise _no_file(path, f"{size} bytes", f"at most {most} bytes")
        return file.read(size)  # a larger number would take room for as many bytes


def read_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict", most: int = MOST_TEXT) -> str:
    """The text of a file, with line ends as LF. See `read_bytes`; UnicodeDecodeError: in another encoding."""
    return read_bytes(path, most=most).decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")


def open_regular(path: Path) -> io.BufferedReader:
    """A file opened for reading, which never waits: F13 for a pipe, a device or a folder; OSError as `open`."""
    check_regular(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return os.fdopen(descriptor, "rb")


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before a library opens it.

    Raises
    ------
    DataError
        F13: a folder, a pipe, a device or a socket.
    OSError
        There is none.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        found = next((word for test, word in _KINDS.items() if test(kind)), "something that is no file")
        raise _no_file(path, found, "a file")


_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe, for which a reader would wait",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


def allowed(stored: int) -> int:
    """Bytes that `stored` bytes may unpack to."""
    return max(FREE, RATIO * stored)


def check_unpacked(path: Path, name: str, unpacked: int, *, stored: int) -> None:
    """Refuse a part of a file that would unpack to far more than it holds, or to more than the memory that is free.

    Parameters
    ----------
    path : Path
    name : str
        Of the part, for errors.
    unpacked, stored : int
        Bytes in memory, by what the file states, and bytes in the file.

    Raises
    ------
    DataError
        F14
    """
    if unpacked <= FREE:
        return
    bomb = unpacked > allowed(stored)
    if not bomb and unpacked <= psutil.virtual_memory().available:
        return
    raise DataError(
        path.name,
        found=f"{name} of {unpacked} bytes, of which the file holds {stored}"
        if bomb
        else f"{name} of {unpacked} bytes, and {psutil.virtual_memory().available} bytes of free memory",
        expected=f"at most {FREE} bytes, or {RATIO} times what is stored" if bomb else "what fits into memory",
        cause="most of it was never written, or the file was made to fill the memory"
        if bomb
        else "another program takes the memory, or the recording is larger than this machine",
        fix="write the file again with its data; where these are right, without compression"
        if bomb
        else "close other programs, use a machine with more memory, or write a part into a file of its own",
        code="F14",
    )


def _no_file(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected=expected,
        cause="another file was put in its place, or it was copied in another way than whole",
        fix="put the file itself there, or name another one",
        code="F13",
    )
