"""What is checked first in a file of any format: it is there, and the rig has finished writing it."""

from __future__ import annotations

import difflib
from pathlib import Path

from protocols.errors import DataError


def reader_error(path: Path, *, found: str, expected: str, cause: str, fix: str, code: str) -> DataError:
    """A `DataError` that names the file as the user does."""
    return DataError(path.name, found=found, expected=expected, cause=cause, fix=fix, code=code)


def not_of_format(path: Path, error: Exception, *, expected: str) -> DataError:
    """A `DataError` (R18) for a file that its reader cannot take apart; `expected`: what such a file looks like."""
    reason = str(error) or type(error).__name__
    return reader_error(
        path,
        found=f"a file that cannot be read as {path.suffix or 'its ending says'} ({reason[:120]})",
        expected=expected,
        cause="it was written by another program or version, or cut short",
        fix="write the file as expected, or hand in responses.h5 as README.txt in the outbox shows",
        code="R18",
    )


def check_finished(path: Path) -> None:
    """Refuse a file that is still being written (R14) or does not exist (R16)."""
    if path.name.endswith(".part"):
        raise reader_error(
            path,
            found="a file that is being written (.part)",
            expected="a finished file",
            cause="the rig has not renamed it yet",
            fix="wait for the rename; never rename it yourself while the rig is writing",
            code="R14",
        )
    if not path.is_file():
        near = (
            difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=1)
            if path.parent.is_dir()
            else []
        )
        raise reader_error(
            path,
            found="no such file",
            expected="a responses file",
            cause=f"another name ({near[0]} lies there)" if near else "another folder, or nothing was recorded yet",
            fix="give the path of the file that the rig wrote",
            code="R16",
        )
