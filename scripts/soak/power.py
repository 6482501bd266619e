"""The power fails at every operation: what was not flushed is gone; then the command is given again."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from .rows import Row
from .shim import Operation, watched
from .trees import difference, digest, remove, restore, tree, workplace
from .world import JOURNEYS, Ended, Step, cheap, command, settle, warm
from .writes import Count, Stage, judge, stages

WAYS = {
    "strict": "the power fails: only flushed files and flushed entries of folders survive",
    "eager": "the power fails: all renames survive, of files only what was flushed",
    "mixed": "the power fails: each folder survives as it was at a moment since its last flush",
}


@dataclass
class Disk:
    """What of a folder would survive, kept operation by operation.

    Attributes
    ----------
    root, grave : Path
        The folder; a folder that keeps every file alive, so that no number of a file is given twice.
    flushed : dict of file number to bytes
        What a file held when it was last flushed.
    entries : dict of folder number to (name to number)
        What a folder listed when it was last flushed.
    since : dict of folder number to list
        What it listed after each operation since.
    """

    root: Path
    grave: Path
    flushed: dict[int, bytes] = field(default_factory=dict)
    entries: dict[int, dict[str, int]] = field(default_factory=dict)
    since: dict[int, list[dict[str, int]]] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    open: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """All that is there now has been flushed."""
        for place, _, files in os.walk(self.root):
            self.entries[os.stat(place).st_ino] = self._list(place)
            for name in files:
                self._keep(os.path.join(place, name))

    def _list(self, place: str) -> dict[str, int]:
        listed = {}
        with os.scandir(place) as found:
            for entry in found:
                about = entry.stat(follow_symlinks=False)
                listed[entry.name] = about.st_ino
                if entry.is_dir(follow_symlinks=False):
                    if about.st_ino not in self.folders:
                        self.folders.add(about.st_ino)
                        self.open.append(os.open(entry.path, os.O_RDONLY))  # alive: its number stays its own
                elif about.st_nlink == 1:
                    os.link(entry.path, self.grave / str(about.st_ino))
        return listed

    def _keep(self, path: str) -> None:
        with open(path, "rb") as file:
            self.flushed[os.stat(path).st_ino] = file.read()

    def flush(self, full: str) -> None:
        """A file or folder was flushed."""
        number = os.stat(full).st_ino
        if os.path.isdir(full):
            self.entries[number] = self._list(full)
            self.since.pop(number, None)
        else:
            self._keep(full)

    def look(self) -> None:
        """Note what every folder lists now."""
        for place, _, _ in os.walk(self.root):
            number, listed = os.stat(place).st_ino, self._list(place)
            seen = self.since.setdefault(number, [])
            if listed != (seen[-1] if seen else self.entries.get(number)):
                seen.append(listed)

    def surviving(self, way: str, rng: random.Random) -> dict[str, bytes | None]:
        """Relative path to content (None: a folder) of what would be there after a power cut now."""
        found: dict[str, bytes | None] = {}

        def walk(number: int, at: str) -> None:
            moments = [self.entries.get(number, {}), *self.since.get(number, [])]
            listed = moments[{"strict": 0, "eager": -1}.get(way, rng.randrange(len(moments)))]
            for name, child in listed.items():
                place = os.path.join(at, name)
                if child in self.folders:
                    found[place] = None
                    walk(child, place)
                else:
                    found[place] = self.flushed.get(child, b"")

        walk(os.stat(self.root).st_ino, "")
        return found

    def close(self) -> None:
        """Let go of the files that were kept alive."""
        for descriptor in self.open:
            os.close(descriptor)
        remove(self.grave)


def cuts(stage: Stage, folder: Path, place: Path) -> dict[str, dict[str, dict[str, bytes | None]]]:
    """For each way, the different folders that a power cut within the command of `stage` can leave, by when it fell."""
    restore(stage.before, place, stage.kept)
    grave = folder / "grave"
    grave.mkdir()
    disk, rng, flushing = Disk(place, grave), random.Random(7), list[str]()
    found: dict[str, dict[str, dict[str, bytes | None]]] = {way: {} for way in WAYS}
    disk.begin()
    count = 0

    def see(operation: Operation) -> None:
        nonlocal count
        if flushing:  # the operation before this one, which is over now
            disk.flush(flushing.pop())
        disk.look()
        for way, kept in found.items():
            kept[f"before operation {count} ({operation.name} {operation.path})"] = disk.surviving(way, rng)
        count += 1
        if operation.name in ("fsync", "fdatasync"):
            flushing.append(operation.full)

    with watched(place, see):
        ended = command(stage.step, place)
        if flushing:
            disk.flush(flushing.pop())
        disk.look()
    assert ended.code in stage.step.ends, ended
    for way, kept in found.items():
        kept["after the command has ended"] = disk.surviving(way, rng)
    disk.close()
    return found


def write(survived: dict[str, bytes | None], place: Path) -> None:
    """Make the folder that survived."""
    remove(place)
    place.mkdir()
    for path in sorted(survived):
        data = survived[path]
        if data is None:
            (place / path).mkdir(parents=True)
        else:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row per way in which a disk loses what was not flushed; every operation of every command, as time allows."""
    end, folder = time.monotonic() + seconds, workplace()
    counts = {way: Count(what) for way, what in WAYS.items()}
    warm()
    left, points = 0, 0
    with cheap(), mock.patch("protocols.disk.shares.time.sleep"):
        made = stages(folder, journeys)
        place = folder / "now"
        trials: list[tuple[Stage, str, str, dict[str, bytes | None]]] = []
        for stage in made:
            place.mkdir(exist_ok=True)
            for way, kept in cuts(stage, folder, place).items():
                points = points + len(kept) if way == "strict" else points
                trials += [(stage, way, when, survived) for when, survived in kept.items()]
        known: dict[tuple[int, str], None] = {}
        random.Random(1).shuffle(trials)
        for stage, way, when, survived in sorted(trials, key=lambda t: not t[2].startswith("after")):
            if time.monotonic() > end:
                left += 1
                continue
            start = time.monotonic()
            _cut(stage, place, counts[way], when, survived, known, tell)
            counts[way].seconds += time.monotonic() - start
    remove(folder)
    note = f"{points} moments of {len(made)} commands" + (f"; {left} trials not reached" if left else "")
    return [count.row("power", note if way == "strict" else "") for way, count in counts.items()]


def _cut(
    stage: Stage,
    place: Path,
    count: Count,
    when: str,
    survived: dict[str, bytes | None],
    known: dict[tuple[int, str], None],
    tell: Callable[[str], None] | None,
) -> None:
    """Judge one state after a power cut; one that was judged before counts without being carried out again."""
    text = f"{stage.place}, {when}"
    state = (id(stage), digest({p: "/" if d is None else str(hash(d)) for p, d in survived.items()}))
    if state in known and not when.startswith("after"):
        count.tried += 1
        return
    known[state] = None
    write(survived, place)
    if when.startswith("after"):
        count.tried += 1
        settle(place)
        if told := difference(tree(place), stage.wanted):
            count.fault("lost", f"{text}: {told}", tell)
        return
    judge(stage, place, count, Ended(6, ""), text, tell)
