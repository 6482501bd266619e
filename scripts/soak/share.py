"""The share of the outboxes and inboxes goes away in the middle of a command, and comes back."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

from .rows import Row
from .shim import Fault, Operation, watched
from .trees import remove, restore, workplace
from .world import JOURNEYS, Step, cheap, command, warm
from .writes import Count, Stage, attempt, stages

PLACES = ("/outbox", "/inbox")
AWAY = (errno.ENOENT, errno.ESTALE, errno.EIO)
LENGTHS = {"once": 1, "for 20 operations": 20, "until the command ends": 10**9}


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row per length of the absence; each error begins at operations spread over all that touch these folders."""
    end, folder, rng = time.monotonic() + seconds, workplace(), random.Random(5)
    counts = {length: Count(f"the share of outbox and inbox is away {length}") for length in LENGTHS}
    warm()
    with cheap(), mock.patch("protocols.disk.shares.time.sleep"):
        made = [(stage, _touching(stage, folder)) for stage in stages(folder, journeys)]
        trials = [
            (stage, k, number, length)
            for stage, touching in made
            for k in range(touching)
            for number in AWAY
            for length in LENGTHS
        ]
        total = len(trials)
        rng.shuffle(trials)
        while trials and (time.monotonic() < end or not counts[trials[-1][3]].tried):
            stage, k, number, length = trials.pop()
            start, place = time.monotonic(), folder / "now"
            place.mkdir(exist_ok=True)
            text = f"{stage.place}, operation {k} of those there, {errno.errorcode[number]}, {length}"
            fault = Fault(k, number, LENGTHS[length], under=PLACES)
            attempt(stage, place, counts[length], watched(place, fault, looks=True), text, tell)
            counts[length].seconds += time.monotonic() - start
    remove(folder)
    note = f"drawn from {total:,} trials: {sum(n for _, n in made):,} operations, 3 errors, 3 lengths"
    return [count.row("share", note if length == "once" else "") for length, count in counts.items()]


def _touching(stage: Stage, folder: Path) -> int:
    """How many operations of a command touch an outbox or an inbox."""
    place, seen = folder / "now", list[Operation]()
    place.mkdir(exist_ok=True)
    restore(stage.before, place, stage.kept)
    with watched(place, seen.append, looks=True):
        command(stage.step, place)
    return sum(any(name in operation.path for name in PLACES) for operation in seen)
