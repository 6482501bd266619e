"""What runs shards: this process, several processes of this machine, or any `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from protocols.memory import keep_memory

__all__ = ["Engine", "Given", "Processes", "Serial", "engine_for", "usable_cores", "visible_cards", "workers_for"]

WORTH_S = 60.0
"""Seconds of work on one core from which on processes are begun unasked: each takes 5 to 10 s to begin, and the last
shard often runs alone (24 images of 128 px: 28 s here, 33 s in two processes).
"""
PER_WORKER = 1_500_000_000
"""Bytes that a worker with networks and libraries needs, about."""


class Engine(Protocol):
    """Where shards run."""

    @property
    def name(self) -> str:
        """For people."""

    def open(self, shards: int) -> Any:
        """A context manager that gives an `Executor` for so many shards."""


@dataclass(frozen=True)
class Serial:
    """One shard after the other, in this process."""

    name: str = "this process"

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """An executor that has run a shard when `submit` returns."""
        yield _Now()


class _Now(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed on by the future
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Processes:
    """Several processes of this machine, one thread each.

    Attributes
    ----------
    workers : int
    devices : sequence of str
        Numbers of the graphics cards, dealt out to the processes in turn; empty: none is used, or the one of the
        caller.
    least_s : float
        Seconds of work on one core below which the caller rather works alone: to begin a process takes some.
    """

    workers: int
    devices: Sequence[str] = ()
    least_s: float = 0.0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.workers} processes"

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """A pool of new processes (not forked: threads and graphics cards do not survive that)."""
        context = multiprocessing.get_context("spawn")
        ranks = context.Value("i", 0)
        pool = ProcessPoolExecutor(
            max(1, min(self.workers, shards)),
            mp_context=context,
            initializer=begin_worker,
            initargs=(ranks, tuple(self.devices)),
        )
        try:
            yield pool
        except BaseException:  # an interrupt too: a shard takes minutes, and is made again
            for process in dict(getattr(pool, "_processes", None) or {}).values():
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def begin_worker(ranks: Any, devices: Sequence[str]) -> None:
    """Set up a process before torch is imported: one thread, memory that is kept, one graphics card.

    It leaves an interrupt to its parent, and ends when that ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ranks.get_lock():
        rank, ranks.value = ranks.value, ranks.value + 1
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MPLBACKEND"] = "Agg"
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[rank % len(devices)]
    keep_memory()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@dataclass(frozen=True)
class Given:
    """An executor of the caller's own, which stays open."""

    executor: Executor
    name: str = "the given executor"

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """That executor."""
        yield self.executor


def engine_for(workers: int | None = None, device: str = "cpu") -> Engine:
    """What runs shards on this machine: `workers` processes, or one where that is 1.

    None: a process per core that there is memory for, if the work is long enough (`WORTH_S`); with graphics cards, a
    process per card where "cuda" names none, else this process alone.
    """
    if device == "cpu":
        count = workers_for(usable_cores()) if workers is None else workers
        return Serial() if count == 1 else Processes(count, least_s=WORTH_S if workers is None else 0.0)
    cards = visible_cards() if device == "cuda" else []
    count = max(len(cards), 1) if workers is None else workers
    return Serial() if count == 1 else Processes(count, cards)


def visible_cards() -> list[str]:
    """The numbers of the graphics cards that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    given = [name.strip() for name in named.split(",") if name.strip()] if named is not None else None
    count = torch.cuda.device_count()
    return [str(i) for i in range(count)] if given is None else given[:count]


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(shards: int, asked: int | None = None) -> int:
    """Processes for so many shards: `asked`, or one per core that there is memory for; 1 where there is one shard."""
    if asked is not None:
        return max(1, min(asked, shards))
    import psutil

    room = int(psutil.virtual_memory().available // PER_WORKER)
    return max(1, min(shards, usable_cores(), room))
