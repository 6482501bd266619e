"""Shards as array jobs of Slurm: submitted by submitit, watched by the files of the plan and by squeue.

The pickled results that submitit's jobs leave are not opened: what a shard made lies in the folder of its plan.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from protocols.disk.foreign import read_text
from protocols.errors import DataError

from .elsewhere import PATIENCE_S, Marks, run_named, task_name, unseen
from .plan import ShardPlan
from .unavailable import no_library, no_service

__all__ = ["Slurm"]

LARGEST_ARRAY = 1000
"""Tasks of an array job: Slurm's MaxArraySize is 1001 unless the site changed it."""
COMMANDS = ("sbatch", "squeue", "scancel", "srun")
LAST_LINES = 3
"""Of the log of a job that was lost, for the words of its error."""


@dataclass(frozen=True)
class Slurm:
    """A Slurm cluster.

    Attributes
    ----------
    settings : dict
        Parameters of submitit's `AutoExecutor.update_parameters`.
    device : str or None
        Torch device of the jobs; None = that of the caller.
    python : str or None
        Command that starts Python on the nodes, in shell words; None = this Python.
    look_s : float
        Between two looks at the queue, in seconds.
    patience_s : float
        How long to look for files of another machine.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    python: str | None = None
    look_s: float = 5.0
    patience_s: float = PATIENCE_S
    name: str = "Slurm"

    def check(self) -> None:
        """Refuse what cannot be used, in a moment.

        Raises
        ------
        DataError
            G08: submitit is not installed; G09: Slurm's commands are not there.
        """
        if find_spec("submitit") is None:
            raise no_library("submitit", "Slurm")
        if missing := [name for name in COMMANDS if shutil.which(name) is None]:
            raise no_service(
                "--executor slurm",
                found=f"no command {', '.join(missing)}",
                expected="Slurm's commands",
                fix="give the command on a login node of the cluster",
            )

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """An executor that submits one array when it was given all `shards` shards; what is left is cancelled.

        Raises
        ------
        DataError
            G08, G09: as `check`.
        """
        self.check()
        array = _Array(self, shards)
        try:
            yield array
        finally:
            array.close()


@dataclass
class _Job:
    """A shard, the job that makes it, and who waits for it."""

    plan: ShardPlan
    index: int
    name: str
    future: Future[Any]
    job: Any = None
    gone_at: float | None = None


class _Array(Executor):
    """Jobs of one array (or several, of 1000 tasks each), and a thread that watches them."""

    def __init__(self, engine: Slurm, shards: int) -> None:
        self.engine, self.shards = engine, shards
        self.marks = Marks(engine.patience_s)
        self.jobs: list[_Job] = []
        self.closed = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        folder, index = args
        self.jobs.append(_Job(ShardPlan.load(Path(folder).absolute()), index, task_name(fn), Future()))
        if len(self.jobs) == self.shards:
            self._send()
            self.watcher.start()
        return self.jobs[-1].future

    def _send(self) -> None:
        """Submit all jobs.

        Raises
        ------
        DataError
            G09: sbatch refused them.
        """
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        logging.getLogger("submitit").setLevel(logging.ERROR)  # "Job completed successfully" is told by the plan
        logs = self.jobs[0].plan.folder.parents[1] / "slurm"
        logs.mkdir(parents=True, exist_ok=True)
        begun = time.time() - 1
        python = {} if self.engine.python is None else {"slurm_python": self.engine.python}
        try:
            executor = AutoExecutor(logs, cluster="slurm", **python)
            executor.update_parameters(**self.engine.settings)
            for begin in range(0, len(self.jobs), LARGEST_ARRAY):
                with executor.batch():
                    for job in self.jobs[begin : begin + LARGEST_ARRAY]:
                        told = self.marks.told(str(job.plan.folder))
                        job.job = executor.submit(run_named, job.name, str(job.plan.folder), job.index, **told)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            for path in logs.glob("*.pkl"):
                if path.stat().st_mtime >= begun and len(path.stem) == 32:
                    path.unlink(missing_ok=True)
            raise no_service(
                "--executor slurm",
                found=f"sbatch refused the jobs ({' '.join(str(error).split())})",
                expected="an array job that Slurm takes",
                fix="correct the settings behind slurm:, such as partition, account, timeout or mem",
            ) from error

    def _watch(self) -> None:
        """Look at the files and the queue until every shard is done, failed or lost."""
        while not self.closed.wait(self.engine.look_s if self._all_sent_long_ago() else min(self.engine.look_s, 1.0)):
            open_ = [job for job in self.jobs if not job.future.done()]
            if not open_:
                return
            alive = queued()
            for job in open_:
                self._settle(job, alive)

    def _all_sent_long_ago(self) -> bool:
        return sum(job.future.done() for job in self.jobs) < len(self.jobs) // 2

    def _settle(self, job: _Job, alive: set[str] | None) -> None:
        """End the future of a job that ended. `alive`: ids in the queue; None where Slurm did not answer."""
        with suppress(OSError):
            list((job.plan.folder / "shards").iterdir())  # a shared disk looks again
        if job.plan.is_done(job.index):
            job.future.set_result({"index": job.index, "state": "done"})
        elif job.plan.failure(job.index).is_file():
            job.future.set_result({"index": job.index, "state": "failed"})
        elif alive is not None and job.job.job_id not in alive:
            job.gone_at = time.monotonic() if job.gone_at is None else job.gone_at
            if time.monotonic() - job.gone_at > self._patience(job):
                self._lose(job)
        else:
            job.gone_at = None

    def _patience(self, job: _Job) -> float:
        """How long to wait for the files of a job that left the queue: a killed one leaves no result of submitit."""
        return self.engine.patience_s if job.job.paths.result_pickle.exists() else min(self.engine.patience_s, 3.0)

    def _lose(self, job: _Job) -> None:
        log = job.job.paths.stdout
        if log.is_file():
            try:
                text = read_text(log, errors="replace")
            except (OSError, DataError) as error:
                text = str(error)
            told = " / ".join([line for line in text.splitlines() if line.strip()][-LAST_LINES:]) or "nothing"
            job.future.set_exception(RuntimeError(f"job {job.job.job_id} ended before its shard; it said: {told}"))
            return
        blind = unseen(job.plan.folder, "the node of the job", f"no log of job {job.job.job_id}, as if no such folder")
        job.future.set_exception(RuntimeError(str(blind)))

    def close(self) -> None:
        """Cancel what still runs, and remove what submitit pickled; the logs stay."""
        self.closed.set()
        if self.watcher.is_alive():
            self.watcher.join()
        sent = [job for job in self.jobs if job.job is not None and hasattr(job.job, "job_id")]
        if left := [job.job.job_id for job in sent if not job.future.done()]:
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["scancel", *left], capture_output=True, timeout=60, check=False)
        for job in sent:
            for path in (job.job.paths.submitted_pickle, job.job.paths.result_pickle):
                with suppress(OSError):
                    path.unlink()
        for logs in {job.job.paths.folder for job in sent}:
            for link in logs.glob(".submission_file_*.sh"):
                with suppress(OSError):
                    link.unlink()
        self.marks.remove()


def queued() -> set[str] | None:
    """Ids of this user's jobs that wait or run, ``1234_5`` of an array; None where Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(told.stdout.split())
