"""Which files of an inbox are parts of an answer: by their names, and by the ``.done`` files beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocols.disk.files import is_litter
from protocols.project.folder import Round
from protocols.recordings.readers import READERS

_ENDINGS = "|".join(re.escape(e) for e in READERS)
_PART = re.compile(rf"responses_(block|part)_(\d{{1,6}})({_ENDINGS})", re.ASCII)
_WHOLE = re.compile(rf"responses(_before_block_\d+)?({_ENDINGS})", re.ASCII)
_FIRST = next(iter(READERS))
MARKER = "responses.done"
"""The empty file that says: no more parts will come."""


@dataclass(frozen=True)
class Part:
    """A finished part in the inbox; `block` is the block that it is named for, None where it may hold any trials."""

    path: Path
    block: int | None
    number: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name


def block_part(block: int) -> str:
    """Name of the part that holds one block."""
    return f"responses_block_{block:02d}{_FIRST}"


def parts_in(round_: Round) -> list[Part]:
    """The finished parts of an inbox, those of blocks first, each by its number; [] while the share is away."""
    found = []
    for path in _files(round_):
        match = _PART.fullmatch(path.name)
        if match is not None and _done(path):
            number = int(match[2])
            found.append(Part(path, number if match[1] == "block" else None, number))
    return sorted(found, key=lambda p: (p.block is None, p.number, p.name))


def all_there(round_: Round) -> bool:
    """Whether the rig said with `MARKER` that no more parts will come, after the last part that is there.

    A program that copies the inbox to a share takes the files by name, and so the marker before every part.
    """
    try:
        return (round_.inbox / MARKER).is_file() and not _after_marker(round_, parts_in(round_))
    except OSError:
        return False


def _after_marker(round_: Round, parts: Sequence[Part]) -> list[str]:
    """The parts that came after the marker, or were put in their place again after it."""
    said = _came(round_.inbox / MARKER)
    return [p.name for p in parts if _came(p.path) > said]


def _came(path: Path) -> int:
    """When a file came to be here, in ns: a copy keeps the time at which the file was written, but not this one."""
    found = path.stat()
    return max(found.st_ctime_ns, found.st_mtime_ns) if os.name == "nt" else found.st_ctime_ns


def not_taken(round_: Round) -> list[str]:
    """Files of responses in the inbox that are no finished part, each with the reason."""
    told = []
    for path in _files(round_):
        part, whole = _PART.fullmatch(path.name), _WHOLE.fullmatch(path.name)
        if part and not _done(path):
            told.append(f"{path.name} waits for {path.name}.done")
        elif not part and not whole and path.suffix.lower() in READERS:
            told.append(f"{path.name} is not taken: a part is named {block_part(0)} or responses_part_00{_FIRST}")
    return [*told, *_early_marker(round_)]


def _early_marker(round_: Round) -> list[str]:
    """A line where the marker was there before a part."""
    try:
        late = _after_marker(round_, parts_in(round_)) if (round_.inbox / MARKER).is_file() else []
    except OSError:
        return []
    return [
        f"{MARKER} was here before {late[0]}, so that more parts may come: once all are here, delete it and make it "
        "again"
        for _ in late[:1]
    ]


def _files(round_: Round) -> list[Path]:
    try:
        return sorted(p for p in round_.inbox.iterdir() if not is_litter(p.name) and p.is_file())
    except OSError:
        return []


def _done(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}.done").is_file()
    except OSError:
        return False
