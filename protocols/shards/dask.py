"""Shards on a Dask cluster that runs already: its workers find the task by name, and the plan on the shared disk."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec

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
        from distributed import Client

        with _quiet():
            try:
                client = Client(f"tcp://{self.host}:{self.port}", timeout=ANSWER_S, set_as_default=False)
            except (OSError, TimeoutError) as error:
                raise self._silent(error) from error
            marks = Marks(self.patience_s)
            pool = client.get_executor(pure=False)
            try:
                yield ByName(pool, marks)
            finally:
                with suppress(Exception):  # a client whose scheduler is gone cannot take leave
                    pool.shutdown(wait=False)  # cancels what is left: all are done, or the caller was interrupted
                    client.close()
                marks.remove()


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
