"""Run the shards of a plan: all that are missing, again where a worker was lost, and say which failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from protocols.disk.files import write_json
from protocols.errors import DataError
from protocols.progress import NOTE, Reporter

from .array import MERGED, Merge, MergedBefore, Part, PartDone
from .engines import Engine
from .plan import ShardPlan

__all__ = ["Task", "check_done", "run_plan"]

Task = Callable[[str, int], dict[str, Any]]
"""A function of a module, (folder of the plan, shard) -> what `run_shard` returns; other processes find it by name."""
ATTEMPTS = 3
"""Times that a shard is run whose worker was lost."""
LOOK_EVERY_S = 1.0
ARRIVE_S = 30.0
"""Seconds in which the files of a finished shard are seen here: shared disks lag."""


def run_plan(plan: ShardPlan, task: Task, engine: Engine, *, progress: Reporter | None = None) -> None:
    """Run every shard that is not done, by `task`, on `engine`.

    A shard that fails does not stop the others. One whose worker was lost is run again, `ATTEMPTS` times in all. What
    is done stays done: the same call goes on after an interrupt.

    A `Part` runs its own shards alone; a `Merge` none.

    Raises
    ------
    DataError
        G04: shards failed, with the error of the first; or their workers were lost each time; G05: they are missing.
    PartDone, MergedBefore
        The shards of a `Part` are done; those of a `Merge` were put together and removed earlier.
    """
    if isinstance(engine, Merge) and (plan.folder / MERGED).is_file() and plan.missing():
        raise MergedBefore(plan)
    own = set(engine.shards(plan) if isinstance(engine, Part | Merge) else range(len(plan)))
    lost: dict[int, str] = {}
    for _ in range(ATTEMPTS):
        known = failures(plan) if lost else {}
        missing = [index for index in plan.missing() if index in own and index not in known]
        if not missing:
            break
        for index in missing:
            plan.forget(index)
        lost = _run_once(plan, missing, task, engine=engine, progress=progress)
        if not lost:
            break
    if isinstance(engine, Part):
        check_done(plan, lost, only=own)
        raise PartDone(plan, sorted(own))
    check_done(plan, lost)


def failures(plan: ShardPlan) -> dict[int, str]:
    """What the failed shards said."""
    return dict(plan.state().failed)


def _run_once(
    plan: ShardPlan, missing: list[int], task: Task, *, engine: Engine, progress: Reporter | None
) -> dict[int, str]:
    """Run the shards once; those whose worker was lost, with the words of the executor."""
    lost, told = dict[int, str](), 0.0

    def tell() -> None:
        """Now and then: a look at the files of all shards takes long where there are thousands on a share."""
        nonlocal told
        if time.monotonic() - told >= LOOK_EVERY_S:
            _tell(plan, progress)
            told = time.monotonic()

    with engine.open(len(missing)) as executor:
        futures: dict[Future[dict[str, Any]], int] = {}
        for index in missing:
            try:
                futures[executor.submit(task, str(plan.folder), index)] = index
            except (RuntimeError, OSError) as error:  # a pool that broke meanwhile takes no more
                lost[index] = f"{type(error).__name__}: {error}"
            tell()
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            for future in ended:
                if words := _lost(plan, futures[future], future):
                    lost[futures[future]] = words
            tell()
    _tell(plan, progress)
    return lost


def _lost(plan: ShardPlan, index: int, future: Future[dict[str, Any]]) -> str:
    """How the worker of a shard was lost; "" where it was not. A failure that it could not write is written here."""
    if future.cancelled():
        return "its task was cancelled: the cluster lost its scheduler"
    fault = future.exception()
    if fault is not None:
        return f"{type(fault).__name__}: {fault}"
    told = future.result()
    if told["state"] == "failed":
        if not plan.failure(index).is_file():
            write_json(plan.failure(index), {"error": told["error"], "code": told["code"]})
        return ""
    end = time.monotonic() + ARRIVE_S
    while not plan.is_done(index):
        if time.monotonic() > end:
            return f"its files did not arrive within {ARRIVE_S:.0f} s"
        time.sleep(0.2)
        list(plan.result(index).parent.iterdir())  # a shared disk looks again
    return ""


def _tell(plan: ShardPlan, progress: Reporter | None) -> None:
    """Shards that are done, and the share of those that run, in thousandths of all."""
    if progress is None:
        return
    state = plan.state()
    share = state.share
    label = f"{plan.kind}{NOTE}{state.words()}"
    if len(state.done) + len(state.failed) == len(plan):
        progress(label, 1000, 1000)
    else:
        progress(label, min(int(1000 * share), 999), 1000)


def check_done(plan: ShardPlan, lost: dict[int, str] | None = None, only: Collection[int] | None = None) -> None:
    """Refuse to go on unless every shard (of `only`) is done and is what its record says; a damaged one is forgotten.

    Raises
    ------
    DataError
        G04: shards failed, were lost, or are damaged; G05: shards were not run yet.
    """
    state = plan.state()
    asked = range(len(plan)) if only is None else only
    damaged = [index for index in state.done if index in asked and not plan.intact(index)]
    for index in damaged:
        plan.forget(index)
    told = {**(lost or {}), **state.failed, **dict.fromkeys(damaged, "its file is not the one that it wrote")}
    told = {i: text for i, text in told.items() if i in asked and (i in state.failed or not plan.is_done(i))}
    if told:
        first = min(told)
        raise DataError(
            str(plan.folder),
            found=f"{len(told)} of {len(plan)} shards failed ({_numbers(told)}); the first said: {told[first]}",
            expected="every shard done",
            cause="the error above, too little memory for so many workers, or a lost machine",
            fix="mend the cause and give the same command again, without --merge: what is done is kept; --workers 1 "
            "needs least memory",
            code="G04",
        )
    if missing := [index for index in plan.missing() if index in asked]:
        raise DataError(
            str(plan.folder),
            found=f"{len(plan) - len(missing)} of {len(plan)} shards done; missing: {_numbers(missing)}",
            expected="every shard done before they are put together",
            cause="the tasks of an array are still running, or some were not submitted",
            fix="wait for them, or give the same command without --merge, which runs what is missing",
            code="G05",
        )


def _numbers(indices: Any) -> str:
    """Shards, counted from 1."""
    shown = [str(index + 1) for index in sorted(indices)[:10]]
    return ", ".join(shown) + (" ..." if len(indices) > 10 else "")
