"""What shared and foreign file systems refuse, and what is done then: go on, try again, or say it in words.

SMB and FUSE mounts refuse to flush a folder or to change the mode of a file; on Windows a file that a virus scanner or
an indexer has open cannot be replaced for a moment; any disk may be full. Only what would lose data is an error.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocols.errors import DataError

UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a file system answers that knows no flush at all."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EBUSY, errno.ENAMETOOLONG, errno.ETXTBSY}
TRIES, PAUSE_S = 10, 0.2


def flush_file(descriptor: int) -> None:
    """Flush an open file to disk; a file system that cannot flush is passed over.

    Raises
    ------
    OSError
        The data could not be written.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, where the file system can: a rename then survives a power cut.

    Many shares refuse to open or to flush a folder; that is no error, since the files themselves are flushed.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    """Flush every file and folder below `folder`, and itself, to disk: files that other libraries wrote, too.

    Raises
    ------
    OSError
        The data of a file could not be written.
    """
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            with open(os.path.join(place, name), "rb") as file:
                flush_file(file.fileno())
        flush_folder(Path(place))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are not there; their entries then survive a power cut.

    Raises
    ------
    OSError
        A folder cannot be made, or a file stands in its place.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file over `target`, or a folder to a place that is free, and flush the folders of both.

    It is tried again where another program has the file open.

    A share whose answer was lost reports a rename as failed that was carried out: that is no error.

    Raises
    ------
    OSError
        It is still refused after `TRIES` tries within two seconds.
    """
    for attempt in range(TRIES):
        try:
            os.replace(source, target)
            break
        except OSError as error:
            if (attempt or not isinstance(error, FileNotFoundError)) and _moved(source, target):
                break
            if attempt == TRIES - 1 or not (isinstance(error, PermissionError) or error.errno == errno.EBUSY):
                raise
            time.sleep(PAUSE_S)
    for folder in {target.parent, source.parent}:
        flush_folder(folder)


def _moved(source: Path, target: Path) -> bool:
    return not os.path.lexists(source) and os.path.lexists(target)


def make_read_only(path: Path) -> bool:
    """Take away the right to write a file; False where the file system refuses that."""
    try:
        path.chmod(0o444)
    except OSError:
        return False
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in words what keeps `path` from being written inside this block.

    Raises
    ------
    DataError
        F10: the disk is full; F12: writing is refused. Other errors pass as they are.
    """
    try:
        yield
    except OSError as error:
        told = told_error(error, path) if _concerns(error, path) else None
        if told is None:
            raise
        raise told from error


def _concerns(error: OSError, path: Path) -> bool:
    """Whether an error is about `path`, its folders or what is made beside it, and not about a file that is read."""
    if not isinstance(error.filename, str):
        return True
    place = Path(os.path.abspath(error.filename))
    target = Path(os.path.abspath(path))
    return place.is_relative_to(target.parent) or target.is_relative_to(place)


def told_error(error: OSError, path: Path | None = None) -> DataError | None:
    """The `DataError` for a disk that is full (F10), or that refuses to write `path` (F12); None for any other error.

    Without `path` it is not known whether something was to be written, so only a full disk is told. Libraries such as
    h5py pass on the words of the system alone, so they are looked at too.
    """
    where = str(path or error.filename or "the disk")
    if error.errno in FULL or (error.errno is None and _says_full(str(error))):
        return DataError(
            where,
            found="a disk that is full, or a quota that is used up",
            expected="room for the files of this stage",
            cause="recordings or features have filled it",
            fix="free some space (the folder cache of the project may be deleted) and repeat the same command",
            code="F10",
        )
    if path is not None and error.errno in REFUSED:
        return DataError(
            where,
            found=f"that it cannot be written ({error.strerror or error})",
            expected="a place where files can be made and replaced",
            cause="another program has the file open, the folder is read-only, or the network share was lost",
            fix="close other programs, check the rights of the folder and the share, and repeat the same command",
            code="F12",
        )
    return None


def unread_error(error: OSError) -> DataError:
    """The `DataError` (F15) for a system error that nothing else explains: a share that is away, a disk that fails."""
    return DataError(
        str(error.filename or "a file"),
        found=f"that it cannot be read or written ({error.strerror or error})",
        expected="a file or folder that is there and may be used",
        cause="the network share was lost, the disk fails, or the file was moved or is locked by another program",
        fix="see that the path is there and the share is connected, and repeat the same command",
        code="F15",
    )


def _says_full(text: str) -> bool:
    return "No space left on device" in text or "Disk quota exceeded" in text or "errno = 28" in text
