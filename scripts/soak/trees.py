"""A folder as a value: what it holds, kept, restored, compared."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

Tree = dict[str, str]
"""Relative path to what stands there: the SHA-256 of a file, "/" for a folder."""
LOCK, CACHE = ".stimsynth.lock", "cache"
"""What is no part of the state: a lock, and features that may be deleted."""


MEMORY = Path("/dev/shm")


def tree(folder: Path) -> Tree:
    """All folders and files below `folder`; of a log, the set of its records counts, since a repeated stage may write a
    record again.
    """
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != CACHE]
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = "/"
        for name in files:
            if name != LOCK:
                path = os.path.join(place, name)
                found[os.path.relpath(path, folder)] = _content(path)
    return found


def _content(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith("log.jsonl"):
        data = "\n".join(
            sorted({_record(line) for line in data.decode("utf-8", "replace").splitlines()} - {""})
        ).encode()
    return hashlib.sha256(data).hexdigest()


def _record(line: str) -> str:
    try:
        record = json.loads(line)
        record.pop("read_only", None)  # whether the disk let files be protected
        return json.dumps(record, sort_keys=True)
    except json.JSONDecodeError:
        return ""  # a line that was cut off: readers pass it over


def digest(found: Tree) -> str:
    """One hash for all of a tree."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def difference(found: Tree, wanted: Tree) -> str:
    """The first paths that differ, in words; "" where none do."""
    told = [f"{p} is missing" for p in sorted(wanted.keys() - found.keys())]
    told += [f"{p} is new" for p in sorted(found.keys() - wanted.keys())]
    told += [f"{p} differs" for p in sorted(found.keys() & wanted.keys()) if found[p] != wanted[p]]
    return "; ".join(told[:3])


def damage(found: Tree, before: Tree, after: Tree) -> str:
    """The first file of `before` that is gone or is neither as it was nor as it becomes; "" where there is none."""
    for path, content in before.items():
        if path in after and found.get(path) not in (content, after[path]) and not path.endswith("log.jsonl"):
            if path not in found and f"{Path(path).stem}.replaced-" in " ".join(Path(p).name for p in found):
                continue  # set aside, with all that it says
            return f"{path} is {'gone' if path not in found else 'neither as it was nor as it becomes'}"
    return ""


def restore(source: Path, target: Path, kept: dict[str, tuple[int, int, int]]) -> None:
    """Make `target` what `source` is, by what differs alone; `kept` tells the files of `source` (`stamps`)."""
    found = stamps(target)
    for path in sorted(found.keys() - kept.keys(), reverse=True):
        place = target / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    for path in sorted(kept):
        if found.get(path) != kept[path]:
            if (source / path).is_dir():
                (target / path).mkdir(exist_ok=True)
            else:
                (target / path).unlink(missing_ok=True)
                shutil.copy2(source / path, target / path)


def stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and mode of every file below `folder`; of folders the mode alone."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = (0, 0, 0)
        for name in files:
            about = os.stat(os.path.join(place, name))
            found[os.path.relpath(os.path.join(place, name), folder)] = (
                about.st_size,
                about.st_mtime_ns,
                about.st_mode,
            )
    return found


def put(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, whatever stands there."""
    remove(target)
    shutil.copytree(source, target, symlinks=True)


def remove(folder: Path) -> None:
    """Delete a folder, its read-only files too."""
    shutil.rmtree(folder, ignore_errors=True)


def workplace() -> Path:
    """A new folder, in memory where the system has such a place: these trials need no real disk."""
    return Path(
        tempfile.mkdtemp(prefix="soak-", dir=None if MEMORY in Path(tempfile.gettempdir()).parents else memory())
    )


def memory() -> Path | None:
    """Where the system keeps files in memory; None where it does not."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None
