"""Shards on real engines that lose their workers: processes of this machine, a Slurm of one node, a Dask cluster.

Squares are made over and over, each plan with workers that are killed by SIGKILL in the middle of a shard; every result is compared
with the number that it must be. Then the images of a small project are made on each engine, a worker being killed on the way, and compared
with those of one process bit for bit. Slurm is left out, and said so, where it cannot be started (packages, root).
"""

from __future__ import annotations

import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols import Project
from protocols.shards.engines import Engine, Processes
from protocols.shards.named import engine_named
from protocols.shards.plan import ShardPlan
from protocols.shards.run import run_plan
from protocols.shards.slurm import Slurm
from synth import StimulusBatch
from tests.protocols.helpers.counted_shards import square
from tests.protocols.helpers.dask_processes import DaskProcesses, dask_processes
from tests.protocols.helpers.looped_project import make as make_project
from tests.protocols.helpers.one_node_slurm import NoSlurm, one_node_slurm

from .rows import Row

SHARDS, KILLED = 12, 2
"""Of each plan: shards, and those whose worker is killed once."""
LEAST_FOR_IMAGES_S = 150.0
"""Seconds from which on images are made, too."""


@dataclass(frozen=True)
class Rig:
    """An engine, and how one of its workers is killed from outside."""

    name: str
    engine: Engine
    kill: Callable[[], None]


@contextmanager
def rigs(folder: Path) -> Iterator[tuple[list[Rig], str]]:
    """The engines that can be used here, and what is said of one that cannot."""
    with ExitStack() as stack:
        made, note = [Rig("processes", Processes(2), kill_a_process)], ""
        cluster = stack.enter_context(dask_processes(folder))
        stack.enter_context(kept_up(cluster))
        made.append(Rig("Dask", engine_named(cluster.address), lambda: kill_a_worker(cluster)))
        try:
            stack.enter_context(one_node_slurm())
            engine = engine_named("slurm:timeout=30,mem=1G")
            assert isinstance(engine, Slurm)
            made.append(Rig("Slurm", replace(engine, look_s=0.3, patience_s=2.0), kill_a_job))
        except NoSlurm as error:
            note = f"Slurm was not tried: {error}"
        yield made, note


@contextmanager
def kept_up(cluster: DaskProcesses) -> Iterator[None]:
    """Start a worker for each that ended: without one the cluster waits."""
    ended = threading.Event()

    def watch() -> None:
        wanted = len(cluster.workers)
        while not ended.wait(0.2):
            for _ in range(wanted - sum(worker.poll() is None for worker in cluster.workers)):
                cluster.add_worker()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def kill_a_process() -> None:
    """A worker of the pool of this process."""
    import psutil

    workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    if workers:
        random.choice(workers).kill()


def kill_a_worker(cluster: DaskProcesses) -> None:
    """A worker of Dask; `kept_up` starts another one in its place."""
    random.choice([worker for worker in cluster.workers if worker.poll() is None]).kill()


def kill_a_job() -> None:
    """A job of Slurm that runs."""
    told = subprocess.run(
        ["squeue", "-h", "-r", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True
    ).stdout.split()
    if told:
        subprocess.run(["scancel", random.choice(told)], check=True)


def rows(seconds: float) -> list[Row]:
    """What was tried on each engine, and what went wrong."""
    end, found = time.monotonic() + seconds, list[Row]()
    with tempfile.TemporaryDirectory(prefix="engines_") as name, rigs(Path(name)) as (engines, note):
        folder = Path(name)
        if seconds >= LEAST_FOR_IMAGES_S:
            project = Project.open(make_project(folder / "lab") / "project")
            expected = images(project, None)
            found += [image_row(project, rig, expected) for rig in engines]
        for number, rig in enumerate(engines):
            share = (end - time.monotonic()) / (len(engines) - number)
            found.append(square_row(folder / rig.name, rig, seconds=max(share, 1.0)))
    return [replace(row, note="; ".join(filter(None, (row.note, note)))) for row in found]


def square_row(folder: Path, rig: Rig, *, seconds: float) -> Row:
    """Plans of squares until the time is over; at least one."""
    begin, tried, lost, wrong, told, plans = time.monotonic(), 0, 0, 0, 0, 0
    while not plans or time.monotonic() - begin < seconds:
        plans += 1
        killed = random.sample(range(SHARDS), KILLED)
        shards = [{"number": n, "kills": "once"} if n in killed else {"number": n} for n in range(SHARDS)]
        home = folder / "cache" / "shards"
        plan = ShardPlan.place(home, "squares", common={"plus": plans}, shards=shards, inputs={}, suffix=".txt")
        try:
            run_plan(plan, square, rig.engine)
        except Exception:
            told += 1
        tried += SHARDS
        for n in range(SHARDS):
            if not plan.is_done(n):
                lost += 1
            elif plan.result(n).read_text(encoding="utf-8") != str(n**2 + plans):
                wrong += 1
    note = f"{plans} plans, {plans * KILLED} workers killed in a shard"
    figures = {"tried": tried, "lost": lost, "tracebacks": told, "differences": wrong}
    return Row(part="engines", what=f"{rig.name}: shards", seconds=time.monotonic() - begin, note=note, **figures)


def images(project: Project, engine: Engine | None) -> StimulusBatch:
    """A few images of a project."""
    from protocols.synthesis.batch import BatchOptions, plan_batch
    from protocols.synthesis.shards import make

    plan = plan_batch(project.for_stage(), options=BatchOptions(seeds=3, steps=4, start="natural", quick=True))
    asked: dict[str, Any] = {"objective": plan.objective, "request": plan.request}
    return make("gradient", project.for_stage(), plan.encoder, **asked, engine=engine)


def image_row(project: Project, rig: Rig, expected: StimulusBatch) -> Row:
    """The same images on an engine, of which a worker is killed when the first shard runs."""
    begin, killed, ended = time.monotonic(), list[float](), threading.Event()

    def watch() -> None:
        home = project.folder / "cache" / "shards"
        while not ended.wait(0.05):
            if list(home.glob("*/shards/*.running.json")):
                rig.kill()
                killed.append(time.monotonic() - begin)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    what = f"{rig.name}: images"
    try:
        made = images(project, rig.engine)
    except Exception as error:
        return Row(
            part="engines", what=what, tried=len(expected), lost=len(expected), tracebacks=1, note=str(error)[:200]
        )
    finally:
        ended.set()
        watcher.join()
    same = np.array([np.array_equal(a, b) for a, b in zip(made.images, expected.images, strict=True)])
    same &= (made.predicted == expected.predicted).all(axis=1)
    note = f"bit for bit beside one process, {len(killed)} worker killed"
    return Row(
        part="engines",
        what=what,
        tried=len(expected),
        differences=int((~same).sum()),
        seconds=time.monotonic() - begin,
        note=note,
    )


if __name__ == "__main__":
    from .rows import table

    print(table(rows(200)))
