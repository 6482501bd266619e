"""A real process of the loop is killed (SIGKILL) at a random moment, hundreds of times, and goes on each time."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .rows import Row
from .trees import Tree, difference, put, remove, tree, workplace
from .world import JOURNEYS, Step, begin, cheap, command, settle, warm
from .writes import Count

STUCK_S = 120.0


def fork(action: Callable[[], int]) -> int:
    """Begin `action` in a child of this process, which ends with its answer (99 where it fails); the child's number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the lock's thread; the child begins its own
        child = os.fork()
    if child == 0:
        code = 99
        with contextlib.suppress(BaseException):
            code = action()
        os._exit(code)
    return child


def _codes(steps: Sequence[Step], place: Path) -> int:
    """Carry out `steps` up to the first that does not end as it should; its code, else 0."""
    for step in steps:
        code = command(step, place, own=True).code
        if code not in step.ends:
            return code
    return 0


def carry_out(steps: Sequence[Step], place: Path, *, stop_s: float | None) -> int | None:
    """The commands `steps` in a child of this process; its exit code, None where it was killed after `stop_s` seconds.

    A fork begins in milliseconds: the networks and libraries are there already.
    """
    child = fork(lambda: _codes(steps, place))
    deadline = time.monotonic() + (STUCK_S if stop_s is None else stop_s)
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row per journey: kills in each of its commands, at moments spread evenly over the time that it takes."""
    end, folder, rng = time.monotonic() + seconds, workplace(), random.Random(11)
    counts = []
    warm()
    with cheap():
        rehearse(folder / "rehearsal", journeys)
        left = sum(len(steps) - 1 for steps in journeys.values())
        for journey, (first, *steps) in journeys.items():
            count = Count(f"SIGKILL at random moments of every command: {journey}")
            counts.append(count)
            start, place = time.monotonic(), folder / journey
            begin(place)
            assert carry_out([first], place, stop_s=None) == 0
            for step in steps:
                if step.before is not None:
                    step.before(place)
                until = time.monotonic() + max(0.0, end - time.monotonic()) / left
                _killed(step, place, folder, count, until=until, rng=rng, tell=tell)
                left -= 1
            count.seconds = time.monotonic() - start
    remove(folder)
    return [count.row("kills", "each kill falls into a command that goes on after it") for count in counts]


def rehearse(place: Path, journeys: Mapping[str, Sequence[Step]]) -> None:
    """Carry out all commands once in this process, so that a child has all libraries; those that climb a gradient in a
    child, since a process that has done so cannot be forked.
    """
    for journey in journeys:
        remove(place)
        begin(place)
        for step in journeys[journey]:
            if step.before is not None:
                step.before(place)
            if step.name.startswith("generate"):
                carry_out([step], place, stop_s=None)
            else:
                command(step, place)
    remove(place)


def _killed(
    step: Step,
    place: Path,
    folder: Path,
    count: Count,
    *,
    until: float,
    rng: random.Random,
    tell: Callable[[str], None] | None,
) -> None:
    """Kill the command of `step` again and again, each time where the last kill left it; then let it end, and begin anew.

    `place` is in the end as the command leaves it without a kill.
    """
    before, wanted = folder / "before", folder / "wanted"
    put(place, before)
    put(before, wanted)
    begun = time.monotonic()
    code = carry_out([step], wanted, stop_s=None)
    took = time.monotonic() - begun
    assert code in (0, *step.ends), f"{step.name}: {code}"
    settle(wanted)
    goal = tree(wanted)
    while True:
        put(before, place)
        _series(step, place, count, goal, took=took, rng=rng, tell=tell)
        if time.monotonic() > until:
            break
    put(wanted, place)


def _series(
    step: Step,
    place: Path,
    count: Count,
    goal: Tree,
    *,
    took: float,
    rng: random.Random,
    tell: Callable[[str], None] | None,
) -> None:
    """Up to eight kills in a row, each in the command given again; then it may end."""
    for _ in range(rng.randint(1, 8)):
        code = carry_out([step], place, stop_s=rng.uniform(0, took))
        if code is not None:  # it was faster than the kill
            break
        count.tried += 1
    else:
        code = carry_out([step], place, stop_s=None)
    if code is None or code == 99 or code == 1:
        count.fault("tracebacks" if code else "lost", f"{step.name}: ended with {code}", tell)
    settle(place)
    if told := difference(tree(place), goal):
        count.fault("differences", f"{step.name} ({code}): {told}", tell)


if not hasattr(os, "fork"):
    sys.exit("the kills need a system with fork")
