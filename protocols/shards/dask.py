"""Shards on a Dask cluster that runs already: its workers find the task by name, and the plan on the shared disk."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from .elsewhere import PATIENCE_S, ByName, Marks
from .unavailable import no_library, no_service

__all__ = ["Dask"]

ANSWER_S = 10.0
"""Seconds in which a scheduler must answer."""


@dataclass(frozen=True)
class Dask:
    """The cluster of one scheduler.

    Attributes
    ----------
    host, port : str, int
        Of the scheduler.
    device : str or None
        Torch device of the workers; None = that of the caller.
    patience_s : float
        How long a worker looks for the project.
    """

    host: str
    port: int
    device: str | None = None
    patience_s: float = PATIENCE_S

    @property
    def name(self) -> str:
        """For people."""
        return f"Dask at {self.host}:{self.port}"

    def check(self) -> None:
        """Refuse what cannot be used, in a moment.

        Raises
        ------
        DataError
            G08: distributed is not installed; G09: nothing answers at the address.
        """
        if find_spec("distributed") is None:
            raise no_library("distributed", "a Dask cluster")
        try:
            with socket.create_connection((self.host, self.port), timeout=2):
                pass
        except OSError as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> Exception:
        return no_service(
            f"dask://{self.host}:{self.port}",
            found=f"no answer ({error})",
            expected="a Dask scheduler",
            fix="start `dask scheduler` and `dask worker`, and give the address that the scheduler prints",
        )

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """The client of the cluster as an executor.

        Raises
        ------
        DataError
            G08, G09: as `check`.
        """
        self.check()
        import distributed

        connect: Any = distributed.Client

        with _quiet():
            try:
                client = connect(f"tcp://{self.host}:{self.port}", timeout=ANSWER_S, set_as_default=False)
            except (OSError, TimeoutError) as error:
                raise self._silent(error) from error
            marks, tasks = Marks(self.patience_s), _Tasks(client)
            try:
                yield ByName(tasks, marks)
            finally:
                tasks.close()
                with suppress(Exception):  # a client whose scheduler is gone cannot take leave
                    client.close()
                marks.remove()


class _Tasks(Executor):
    """Tasks of a client as futures that always end: those of `Client.get_executor` wait for ever where the scheduler
    is lost while a result is fetched.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.tasks: list[tuple[Any, Future[Any]]] = []
        self.closed = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.client.status != "running":
            raise RuntimeError(LOST)
        task, future = self.client.submit(fn, *args, pure=False, **kwargs), Future[Any]()
        self.tasks.append((task, future))
        task.add_done_callback(lambda ended: _settle(ended, future))
        return future

    def _watch(self) -> None:
        """End what is left when the connection is lost for good."""
        while not self.closed.wait(1.0):
            if self.client.status in ("closing", "closed"):
                for _, future in list(self.tasks):
                    _end(future, RuntimeError(LOST))

    def close(self) -> None:
        """Cancel what is left: all are done, or the caller was interrupted."""
        self.closed.set()
        left = [task for task, future in self.tasks if not future.done()]
        with suppress(Exception):
            self.client.cancel(left)
        self.watcher.join()
        self.tasks.clear()


LOST = "the connection to the Dask scheduler was lost"


def _settle(task: Any, future: Future[Any]) -> None:
    """Hand on what became of a task."""
    try:
        if task.status == "finished":
            result = task.result(timeout=60)
            with suppress(InvalidStateError):
                future.set_result(result)
        elif task.status == "error":
            _end(future, task.exception(timeout=60))
        else:
            _end(future, RuntimeError(LOST))
    except BaseException as error:  # of the library: whatever it is, nobody may wait for ever
        _end(future, RuntimeError(f"{type(error).__name__}: {error}"))


def _end(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's log off the terminal: lost workers are told by the plan, and a lost scheduler by an error."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
