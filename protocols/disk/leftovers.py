"""What is being written and is not yet in its place: its names, and what of it a process that is gone left behind."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from .shares import flush_folder, move

_TEMPORARY = re.compile(r".+\.tmp-([0-9a-f]{6})-(\d{1,9})")
_OTHERS = frozenset({"inbox"})
"""Folders that other programs write into."""
BEFORE = "before"
"""Folder, inside what is being made, of the files whose place it takes."""


def machine() -> str:
    """Six digits that stand for this machine: a process number says nothing on another one."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def mark() -> str:
    """What ends the names of what this process is writing; `encoders` and `synth` end theirs in the same way."""
    return f"tmp-{machine()}-{os.getpid()}"


def temporary_beside(path: Path) -> Path:
    """The name under which this process writes what will be `path`."""
    return path.with_name(f".{path.name[:60]}.{mark()}")


def building_of(path: Path) -> Path:
    """The name of a folder in which this process makes what will be `path`, or will stand beside it."""
    return path.with_name(f"{path.name}.{mark()}")


def swap_in(building: Path, destination: Path, names: tuple[str, ...]) -> None:
    """Put what `building` holds under `names` into `destination`, in this order; what stood there is kept in
    ``building/before`` and comes back where that fails. A process that is killed meanwhile leaves that to `put_back`.

    Raises
    ------
    OSError
        Something cannot be moved.
    """
    before = building / BEFORE
    before.mkdir(exist_ok=True)
    try:
        for name in reversed(names):
            if (destination / name).exists():
                move(destination / name, before / name)
        for name in names:
            flush_folder(building / name)
            move(building / name, destination / name)
    except BaseException:
        for name in names:
            if (before / name).exists():
                _delete(destination / name)
                with suppress(OSError):
                    move(before / name, destination / name)
        raise


def put_back(building: Path) -> bool:
    """Put what a swap took away back into its place beside `building`, where nothing stands there.

    True where nothing is left to be put back.
    """
    before = building / BEFORE
    for path in sorted(before.iterdir()) if before.is_dir() else ():
        if not (building.parent / path.name).exists():
            with suppress(OSError):
                move(path, building.parent / path.name)
    return not any(not (building.parent / p.name).exists() for p in before.glob("*"))


def sweep(folder: Path) -> None:
    """Delete below `folder` what processes that are gone left half written, and put back what they had taken away.

    What is of a living process, or of another machine, or cannot be deleted, stays.
    """
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if _abandoned(name):
                path = Path(place) / name
                if name in files or put_back(path):
                    _delete(path)
        folders[:] = [name for name in folders if name not in _OTHERS and _TEMPORARY.fullmatch(name) is None]


def clear(path: Path) -> None:
    """Delete what processes that are gone left of a folder that was to become `path`."""
    for stale in path.parent.glob(f".{glob.escape(path.name[:60])}.tmp-*"):
        if _abandoned(stale.name):
            _delete(stale)


def _abandoned(name: str) -> bool:
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] == machine() and not psutil.pid_exists(int(match[2]))


def _delete(path: Path) -> None:
    """Delete a file or a folder, read-only files too; what cannot be deleted stays."""
    with suppress(OSError):
        for below in path.rglob("*") if path.is_dir() else ():
            if below.is_dir():
                below.chmod(0o755)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
