"""Two commands on one project at once: one waits or refuses, and the end state is that of one alone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from protocols.disk.locks import hold
from protocols.errors import DataError

from .kills import fork, rehearse
from .rows import Row
from .trees import Tree, difference, put, remove, tree, workplace
from .world import JOURNEYS, Step, begin, cheap, command, settle, warm
from .writes import KNOWN, Count

COUNTERS, TIMES = 4, 25


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row for the same command given twice at once, one for counting in turns while holders are killed."""
    start, folder, rng = time.monotonic(), workplace(), random.Random(2)
    twice = Count("the same command in two processes at once, begun up to its own length apart")
    warm()
    with cheap():
        rehearse(folder / "rehearsal", journeys)
        until = start + seconds * 0.7
        for journey in journeys:
            place = folder / journey
            begin(place)
            for step in journeys[journey]:
                _twice(step, place, folder, twice, rng=rng, until=until, tell=tell)
        twice.seconds = time.monotonic() - start
    begun = time.monotonic()
    turns = Count(f"{COUNTERS} processes count {TIMES} times each in one file while holders of the lock are killed")
    while not turns.tried or time.monotonic() - start < seconds:
        _count(folder / "counted", turns, rng, tell)
    turns.seconds = time.monotonic() - begun
    remove(folder)
    return [twice.row("two runs"), turns.row("two runs")]


def _twice(
    step: Step,
    place: Path,
    folder: Path,
    count: Count,
    *,
    rng: random.Random,
    until: float,
    tell: Callable[[str], None] | None,
) -> None:
    """The command alone, for what is wanted; then twice at once, three times or as time allows."""
    if step.before is not None:
        step.before(place)
    before, wanted = folder / "before", folder / "wanted"
    put(place, before)
    put(before, wanted)
    begun = time.monotonic()
    os.waitpid(fork(lambda: command(step, wanted, own=True).code), 0)
    took = time.monotonic() - begun
    settle(wanted)
    goal = tree(wanted)
    for number in range(3):
        if number and time.monotonic() > until:
            break
        put(before, place)
        _pair(step, place, count, goal, apart=rng.uniform(0, took) if number else 0.0, tell=tell)
    put(wanted, place)


def _pair(
    step: Step, place: Path, count: Count, goal: Tree, *, apart: float, tell: Callable[[str], None] | None
) -> None:
    children = [fork(lambda: command(step, place, own=True).code)]
    time.sleep(apart)
    children.append(fork(lambda: command(step, place, own=True).code))
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    count.tried += 1
    if not set(codes) <= KNOWN:
        count.fault("tracebacks", f"{step.name}: {codes}", tell)
    settle(place)
    if told := difference(tree(place), goal):
        count.fault("differences", f"{step.name} {codes}: {told}", tell)


def _count(folder: Path, count: Count, rng: random.Random, tell: Callable[[str], None] | None) -> None:
    """A number in a file, read and written by several processes in turn; what a killed one did not count is known."""
    remove(folder)
    folder.mkdir(parents=True)
    (folder / "number").write_text("0")
    children = [fork(partial(_counting, folder, n)) for n in range(COUNTERS)]
    victim = children[0]
    time.sleep(rng.uniform(0.05, 0.5))
    os.kill(victim, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    count.tried += COUNTERS * TIMES
    marks = sum(len(path.read_text()) for path in folder.glob("marks_*"))
    number = int((folder / "number").read_text() or -1)
    if any(codes[1:]):
        count.fault("tracebacks", f"counting: {codes}", tell)
    if not marks <= number <= marks + 1:  # the victim may have counted and not marked it
        count.fault("lost", f"counted {marks}, found {number}", tell)


def _counting(folder: Path, name: int) -> int:
    """Add one to the number `TIMES` times, and a mark of one's own each time."""
    for _ in range(TIMES):
        try:
            with hold(folder, "count", wait_s=60):
                number = int((folder / "number").read_text())
                time.sleep(0.002)
                replacement = folder / f"number_{name}"
                replacement.write_text(str(number + 1))
                replacement.replace(folder / "number")
                with open(folder / f"marks_{name}", "a") as file:
                    file.write("x")
        except DataError:
            return 3
    return 0
