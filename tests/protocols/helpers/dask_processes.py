"""A Dask cluster of processes of their own: a scheduler and workers of one thread, as `dask scheduler` and `dask worker`
start them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
QUIET = {"DASK_DISTRIBUTED__WORKER__DAEMON": "True", "DASK_LOGGING__DISTRIBUTED": "error"}


@dataclass
class DaskProcesses:
    """The cluster that runs.

    Attributes
    ----------
    port : int
        Of the scheduler, on this machine.
    folder : Path
        For the files of the workers, and their working folder.
    """

    port: int
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """For ``--executor``."""
        return f"dask://127.0.0.1:{self.port}"

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more worker; without a nanny, so that a killed one stays away."""
        words = ["worker", f"tcp://127.0.0.1:{self.port}", "--no-nanny", "--nthreads", "1", "--no-dashboard"]
        worker = _begin(words, self.folder)
        self.workers.append(worker)
        return worker


@contextmanager
def dask_processes(folder: Path, workers: int = 2) -> Iterator[DaskProcesses]:
    """Start the cluster, and stop it."""
    with ExitStack() as stack:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        cluster = DaskProcesses(port, folder, _begin(words, folder))
        stack.callback(_stop, cluster)
        for _ in range(200):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        for _ in range(workers):
            cluster.add_worker()
        yield cluster


def _begin(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *words]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    settings = {"OMP_NUM_THREADS": "1", "DASK_TEMPORARY_DIRECTORY": str(folder), "PYTHONPATH": paths}
    environment = {**os.environ, **QUIET, **settings}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _stop(cluster: DaskProcesses) -> None:
    for process in [*cluster.workers, cluster.scheduler]:
        if process.poll() is None:
            process.kill()
        process.wait()
