"""Shares that refuse: every error number at every call ends in whole files or in none, and never in half of one."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk import shares
from protocols.disk.files import new_folder, write_atomically, write_json, write_text
from protocols.disk.shares import (
    FULL,
    REFUSED,
    UNSUPPORTED,
    flush_folder,
    make_read_only,
    move,
    told_error,
    unread_error,
)
from protocols.errors import DataError

NUMBERS = sorted({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF, errno.EIO, errno.ENOSPC,
                  errno.EDQUOT, errno.EROFS, errno.EBUSY, errno.EISDIR, errno.ENAMETOOLONG, errno.ESTALE, errno.EFBIG})  # fmt: skip
CALLS = ("fsync", "replace", "open", "unlink")


@contextmanager
def refusing(name: str, number: int, *, calls: set[int], folders_only: bool = False):
    """`os.NAME` fails with `number` at these calls (counted from 0), as a share or a full disk does."""
    real, count = getattr(os, name), [0]

    def call(*args, **kwargs):
        if folders_only and not (isinstance(args[0], int) and stat.S_ISDIR(os.fstat(args[0]).st_mode)):
            return real(*args, **kwargs)
        count[0] += 1
        if count[0] - 1 in calls:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with mock.patch.object(os, name, call), mock.patch.object(shares.time, "sleep"):
        yield count


def error_of(action) -> DataError | OSError | None:
    """What `action` fails with."""
    try:
        action()
    except (DataError, OSError) as error:
        return error
    return None


@settings(max_examples=200, deadline=None)
@given(
    number=st.sampled_from(NUMBERS),
    name=st.sampled_from(CALLS),
    calls=st.sets(st.integers(0, 12), max_size=13),
    exists=st.booleans(),
)
def test_a_file_is_whole_or_as_it_was(tmp_path_factory, number, name, calls, exists):
    path = tmp_path_factory.mktemp("d") / "a" / "file.json"
    if exists:
        write_text(path, "old")
    with refusing(name, number, calls=calls):
        error = error_of(lambda: write_json(path, {"new": 1}))
    if number in FULL | REFUSED and error is not None:
        assert isinstance(error, DataError)
        assert error.code == ("F10" if number in FULL else "F12")
        assert str(path) in str(error)
    text = path.read_text() if path.exists() else None
    assert text == ('{\n "new": 1\n}\n' if error is None else "old" if exists else None)
    left = [p for p in path.parent.iterdir() if p != path] if path.parent.exists() else []
    assert not left or name == "unlink"
    if name == "fsync" and number in UNSUPPORTED:
        assert error is None


@settings(max_examples=100, deadline=None)
@given(
    number=st.sampled_from(NUMBERS),
    name=st.sampled_from(["fsync", "replace", "open", "mkdir"]),
    calls=st.sets(st.integers(0, 6)),
)
def test_a_folder_is_whole_or_not_there(tmp_path_factory, number, name, calls):
    out = tmp_path_factory.mktemp("d") / "out"

    def write() -> None:
        with refusing(name, number, calls=calls), new_folder(out) as folder:
            (folder / "a.txt").write_bytes(b"a")

    error = error_of(write)
    assert out.exists() == (error is None)
    assert error is None or isinstance(error, DataError) == (number in FULL | REFUSED)
    assert [p.name for p in out.parent.iterdir()] == (["out"] if error is None else [])


@pytest.mark.parametrize("number", NUMBERS)
def test_a_folder_that_cannot_be_flushed_or_opened_is_no_error(tmp_path, number):
    with refusing("fsync", number, calls=set(range(9))):
        flush_folder(tmp_path)
    with refusing("open", number, calls=set(range(9))):
        flush_folder(tmp_path)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_mode_that_cannot_be_changed_is_told_and_no_error(tmp_path, number):
    path = tmp_path / "a"
    path.touch()
    with mock.patch.object(Path, "chmod", side_effect=OSError(number, "no")):
        assert not make_read_only(path)
    assert make_read_only(path)
    assert not path.stat().st_mode & 0o222


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_file_that_is_open_elsewhere_is_tried_again(tmp_path, number):
    (tmp_path / "a").write_text("new")
    with refusing("replace", number, calls={0, 1, 2}) as count:
        move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    assert count[0] == 4
    (tmp_path / "a").write_text("newer")
    with refusing("replace", number, calls=set(range(99))) as count, pytest.raises(OSError, match=os.strerror(number)):
        move(tmp_path / "a", tmp_path / "b")
    assert count[0] == shares.TRIES


def test_a_disk_that_fills_while_a_library_writes(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")

    def fill(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")

    with pytest.raises(DataError, match=r"F10.*free some space"):
        write_atomically(path, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_bytes() == b"old"


def test_other_errors_keep_their_words():
    assert told_error(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None
    assert told_error(OSError("something else")) is None
    assert "the disk" in str(told_error(OSError(errno.ENOSPC, "full")))
    assert "there.h5" in str(told_error(OSError(errno.EDQUOT, "full", "there.h5")))
    assert told_error(PermissionError(errno.EACCES, "no", "there.h5")) is None  # it may have been read


def test_whatever_else_the_system_says_is_told_with_a_way_out():
    told = unread_error(OSError(errno.ESTALE, "Stale file handle", "there.h5"))
    assert told.code == "F15"
    assert "there.h5" in str(told)
    assert "Stale file handle" in str(told)
    assert "connected" in str(told)


def test_a_rename_that_was_carried_out_and_reported_as_failed_is_no_error(tmp_path):
    (tmp_path / "a").write_text("new")
    real = os.replace

    def lost(source, target):
        real(source, target)
        raise OSError(errno.EIO, "the answer was lost")

    with mock.patch.object(os, "replace", lost):
        move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "nothing", tmp_path / "b")
