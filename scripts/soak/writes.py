"""Every write, rename, flush and open of the loop fails once, and the command is given again."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from .rows import Row
from .shim import ERRORS, Fault, Operation, limited, watched
from .trees import Tree, damage, difference, digest, put, remove, restore, stamps, tree, workplace
from .world import JOURNEYS, Ended, Step, begin, cheap, command, settle, warm

KNOWN = {0, 3, 4, 5, 6}
"""Exit codes of a command that says what happened."""
WAITS = 4
"""That of a command that waits for the rig: where the share of the inbox is away it looks again when it is given again."""


@dataclass
class Stage:
    """One command of a journey: the folder before it, what it did to it, and what it leaves behind."""

    journey: str
    step: Step
    before: Path
    kept: dict[str, tuple[int, int, int]]
    first: Tree
    wanted: Tree
    operations: list[Operation]
    resumed: dict[str, str] = field(default_factory=dict)
    """What is wrong after the command is given again, by the state that it is given in."""

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.journey}, {self.step.name}"


@dataclass
class Count:
    """What went wrong in one kind of trial."""

    what: str
    tried: int = 0
    lost: int = 0
    tracebacks: int = 0
    differences: int = 0
    seconds: float = 0.0
    first: str = ""

    def row(self, part: str, note: str = "") -> Row:
        """The line of the table; the first fault is its note."""
        return Row(
            part=part,
            what=self.what,
            tried=self.tried,
            lost=self.lost,
            tracebacks=self.tracebacks,
            differences=self.differences,
            seconds=self.seconds,
            note=self.first or note,
        )

    def fault(self, kind: str, text: str, tell: Callable[[str], None] | None = None) -> None:
        """Count one fault under `kind`: "lost", "tracebacks" or "differences"."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.first = self.first or text[:200]
        if tell is not None:
            tell(f"{kind}: {text}")


def stages(folder: Path, journeys: Mapping[str, Sequence[Step]] = JOURNEYS) -> list[Stage]:
    """Carry out the journeys once without a fault, and keep the folder before each command.

    Raises
    ------
    AssertionError
        A command does not end as it should.
    """
    made = []
    for journey in journeys:
        place = folder / "now"
        remove(place)
        begin(place)
        for number, step in enumerate(journeys[journey]):
            if step.before is not None:
                step.before(place)
            before = folder / f"{journey}_{number:02d}"
            put(place, before)
            first, operations = tree(place), list[Operation]()
            with watched(place, operations.append):
                ended = command(step, place)
            assert ended.code in step.ends, f"{journey}, {step.name}: {ended}"
            settle(place)
            made.append(Stage(journey, step, before, stamps(before), first, tree(place), operations))
        remove(place)
    return made


def attempt(
    stage: Stage,
    place: Path,
    count: Count,
    fault: AbstractContextManager[None],
    text: str,
    tell: Callable[[str], None] | None,
) -> None:
    """Put `stage` back to its beginning, carry it out under `fault`, and count what is wrong then and after a repeat."""
    restore(stage.before, place, stage.kept)
    with fault:
        ended = command(stage.step, place)
    judge(stage, place, count, ended, text, tell)


def judge(stage: Stage, place: Path, count: Count, ended: Ended, text: str, tell: Callable[[str], None] | None) -> None:
    """Count what is wrong with a folder in which the command of `stage` ended early, and after it is given again."""
    count.tried += 1
    found = tree(place)
    raw = ended.code == 3 and "error[" not in ended.told
    if ended.traceback or raw or ended.code not in KNOWN:
        count.fault("tracebacks", f"{text}: {ended.code} {ended.traceback} {ended.told[-300:]}", tell)
    if told := damage(found, stage.first, stage.wanted):
        count.fault("lost", f"{text}: {told} [{ended.told[-200:].strip()}]", tell)
    if ended.code in stage.step.ends:  # done in spite of the fault: the next command finds everything
        settle(place)
        told = difference(tree(place), stage.wanted)
        if told and ended.code != WAITS:
            count.fault("differences", f"{text}: done, and {told}", tell)
        if not told or ended.code != WAITS:
            return
    state = digest(found)
    if state not in stage.resumed:
        stage.resumed[state] = repeat(stage, place)
    if stage.resumed[state]:
        count.fault("differences", f"{text}: {stage.resumed[state]}", tell)


def repeat(stage: Stage, place: Path) -> str:
    """Give the command again; what is wrong then, "" where all is as without a fault."""
    again = command(stage.step, place)
    settle(place)
    told = difference(tree(place), stage.wanted)
    if again.traceback:
        return f"repeated: {again.traceback}"
    return f"repeated ({again.code}): {told} [{again.told[-300:].strip()}]" if told else ""


@dataclass(frozen=True)
class Trial:
    """One fault: its kind, and when it is tried (0: always; later ones as time allows)."""

    kind: str
    turn: int
    stage: Stage
    text: str
    fault: Fault | None = None
    size: int = 0


def plans(stage: Stage) -> Iterator[Trial]:
    """Every trial of a stage."""
    for k, op in enumerate(stage.operations):
        at = f"{stage.place}, operation {k} ({op.name} {op.path})"
        for turn in range(len(ERRORS)):
            number = ERRORS[(k + turn) % len(ERRORS)]
            yield Trial("once", turn, stage, f"{at}, {errno.errorcode[number]}", Fault(k, number))
        if op.name in ("replace", "mkdir"):
            yield Trial("done", 0, stage, f"{at}, done and reported as failed", Fault(k, errno.EIO, done=True))
        if op.name in FILLS:
            fault = Fault(k, errno.ENOSPC, 10**9, only=FILLS)
            yield Trial("full", 1, stage, f"{at}, and the disk stays full", fault)
        if op.name in ("open", "replace", "mkdir"):
            yield Trial("refused", 1, stage, f"{at}, and all is refused from then on", Fault(k, errno.EACCES, 10**9))
    largest = max([p.stat().st_size for p in stage.before.rglob("*") if p.is_file()], default=0)
    for size in (0, 1, 100, 512, 1000, 2048, 4096, 8192, 16384, largest):
        yield Trial("cut", 0, stage, f"{stage.place}, no file beyond {size} bytes", size=size)


FILLS = ("open", "write", "mkdir", "fsync")
KINDS = {
    "once": "every write, rename, flush and open fails once (ENOSPC, EACCES, EIO)",
    "done": "every rename and new folder is done and reported as failed",
    "full": "the disk is full from one write on",
    "refused": "writing is refused from one operation on",
    "cut": "no file may grow beyond a size, in C too (EFBIG)",
}


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row per kind of fault; every operation is tried once, and with other errors as time allows."""
    end, folder = time.monotonic() + seconds, workplace()
    counts = {kind: Count(what) for kind, what in KINDS.items()}
    warm()
    with cheap(), mock.patch("protocols.disk.shares.time.sleep"):
        made = stages(folder, journeys)
        trials = [trial for stage in made for trial in plans(stage)]
        random.Random(4).shuffle(trials)
        left, place = 0, folder / "now"
        first = operations = sum(t.kind == "once" and t.turn == 0 for t in trials)
        for trial in sorted(trials, key=lambda t: (t.turn, t.kind != "once")):
            start, count = time.monotonic(), counts[trial.kind]
            if start > end and count.tried:
                left += 1
                first -= trial.turn == 0 and trial.kind == "once"
                continue
            place.mkdir(exist_ok=True)
            context = limited(trial.size) if trial.fault is None else watched(place, trial.fault)
            attempt(trial.stage, place, count, context, trial.text, tell)
            count.seconds += time.monotonic() - start
    remove(folder)
    missed = f"; {left} of {len(trials):,} trials not reached" if left else ""
    note = f"{first:,} of {operations:,} operations of {len(made)} commands{missed}"
    return [count.row("writes", note if kind == "once" else "") for kind, count in counts.items()]
