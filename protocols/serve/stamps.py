"""Whether anything of a project changed, by the names, sizes and times of its files: nothing is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["live_stamp", "project_stamp"]

PLACES = (".", "data", "fitted", "sessions")
"""What is looked at of a project; only `sessions` with all that is below."""
PASSED_OVER = {"images", "natural"}
"""Folders of images, whose tables change with them."""
PLANNED = "cache/what_if.json"
LIVE = (".stimsynth.lock", "cache/working.json")
MOST_FILES = 200_000


def project_stamp(folder: Path) -> str:
    """A digest that changes with the files of a project, without its lock and its cache but for a computed plan."""
    found = []
    for place in PLACES:
        found += [f"{place}/{line}" for line in _listed(folder / place, deep=place == "sessions")]
    found += _one(folder / PLANNED)
    return _digest(found)


def live_stamp(folder: Path) -> str:
    """A digest that changes with what tells how far a running command is: its lock and progress, and shards."""
    found = [line for name in LIVE for line in _one(folder / name)]
    return _digest([*found, *_listed(folder / "cache" / "shards", deep=True)])


def _listed(folder: Path, *, deep: bool) -> Iterator[str]:
    """One line per file below a folder; what cannot be looked at, or is gone meanwhile, is passed over."""
    waiting, count = [folder], 0
    while waiting:
        here = waiting.pop()
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if deep and entry.name not in PASSED_OVER:
                            waiting.append(Path(entry.path))
                        yield entry.path
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    yield f"{entry.path} {facts.st_size} {facts.st_mtime_ns}"
                count += 1
                if count > MOST_FILES:
                    return


def _one(path: Path) -> list[str]:
    try:
        facts = path.stat()
    except OSError:
        return []
    return [f"{path.name} {facts.st_size} {facts.st_mtime_ns}"]


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()[:24]
