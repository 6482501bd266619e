"""The clock of the machine, and the times of the files, jump back and forth between and within commands."""

from __future__ import annotations

import datetime
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from .rows import Row
from .trees import Tree, difference, remove, restore, stamps, tree, workplace
from .world import JOURNEYS, NOW, Step, begin, cheap, command, warm
from .writes import Count, Stage, judge, stages

YEAR_S = 365 * 86400
SAME = ("key.csv", "evaluation.json", "control.csv", "order.csv", "controllers.h5", ".png")
"""Files that must not depend on the time that is written into others, as a trial table names its session, a date."""


def rows(
    seconds: float, *, tell: Callable[[str], None] | None = None, journeys: Mapping[str, Sequence[Step]] = JOURNEYS
) -> list[Row]:
    """One row for jumps of file times and of `time.time`, one for jumps of the time that is recorded."""
    end, folder, rng = time.monotonic() + seconds, workplace(), random.Random(3)
    files = Count("times of all files, and the clock, jump by up to a year before and within each command")
    told = Count("the recorded time jumps by up to a year from one call to the next")
    warm()
    with cheap():
        made = stages(folder, journeys)
        while not told.tried or time.monotonic() < end:
            for stage in made:
                start, place = time.monotonic(), folder / "now"
                place.mkdir(exist_ok=True)
                _jump(stage, place, files, rng, tell)
                files.seconds += time.monotonic() - start
            start = time.monotonic()
            for journey in journeys:
                wanted = [s for s in made if s.journey == journey][-1].wanted
                _recorded(journeys[journey], folder, told, rng=rng, wanted=wanted, tell=tell)
            told.seconds += time.monotonic() - start
    remove(folder)
    return [files.row("clock"), told.row("clock")]


def _jump(stage: Stage, place: Path, count: Count, rng: random.Random, tell: Callable[[str], None] | None) -> None:
    """One command with files and a clock of any time."""
    restore(stage.before, place, stage.kept)
    for path in stamps(place):
        moment = time.time() + rng.uniform(-YEAR_S, YEAR_S)
        os.utime(place / path, (moment, moment), follow_symlinks=False)
    real = time.time

    def jumping() -> float:
        return real() + rng.uniform(-YEAR_S, YEAR_S)

    with mock.patch.object(time, "time", jumping):
        ended = command(stage.step, place)
    judge(stage, place, count, ended, stage.place, tell)
    if ended.code not in stage.step.ends:
        count.fault("differences", f"{stage.place}: refused: {ended.told[-200:]}", tell)


def _recorded(
    steps: Sequence[Step],
    folder: Path,
    count: Count,
    *,
    rng: random.Random,
    wanted: Tree,
    tell: Callable[[str], None] | None,
) -> None:
    """A whole journey whose records bear times that jump; what was shown, recorded and found is the same."""
    place = folder / "told"
    remove(place)
    begin(place)

    def now(zone: Any = None) -> datetime.datetime:
        return NOW + datetime.timedelta(seconds=rng.uniform(-YEAR_S, YEAR_S))

    def today() -> str:
        return f"ses_{now():%Y%m%d}"

    clock = SimpleNamespace(now=now)
    with (
        mock.patch("protocols.project.folder.datetime", clock),
        mock.patch("protocols.loop.today", today),
    ):
        for step in steps:
            if step.before is not None:
                step.before(place)
            ended = command(step, place)
            count.tried += 1
            if ended.traceback:
                count.fault("tracebacks", f"{step.name}: {ended.traceback}", tell)
            elif ended.code not in step.ends:
                count.fault("differences", f"{step.name}: {ended.code} {ended.told[-200:]}", tell)
    if found := difference(_lasting(tree(place)), _lasting(wanted)):
        count.fault("differences", f"{steps[-1].name}: {found}", tell)


def _lasting(found: Tree) -> Tree:
    """What does not depend on the time, without the names of the sessions, which are dates."""
    kept = {
        "/".join(p for p in path.split("/") if not p.startswith("ses_")): content for path, content in found.items()
    }
    return {path: content for path, content in kept.items() if path.endswith(SAME) and not path.startswith("archive")}
