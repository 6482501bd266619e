"""A shard on another machine: the task is found by its name there, its arguments are plain text, and a folder that the
machine does not see is told in words.
"""

from __future__ import annotations

import importlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocols.disk.files import write_json, write_text
from protocols.errors import DataError
from protocols.memory import keep_memory
from protocols.packages import version

from .plan import ShardPlan

__all__ = ["ByName", "Marks", "run_named", "task_name"]

PATIENCE_S = 15.0
"""Seconds that a worker looks for a file that another machine wrote: shared folders lag."""
_ONE = threading.Lock()
"""A process makes one shard at a time, whatever the threads of its worker: torch's threads are those of the process."""


def task_name(task: Callable[..., Any]) -> str:
    """The text by which another process finds a task: ``module:function``.

    Raises
    ------
    ValueError
        It is not a function at the top of a module.
    """
    module, name = getattr(task, "__module__", ""), getattr(task, "__qualname__", "")
    if module in ("", "__main__") or "." in name or "<" in name:
        raise ValueError(f"the task {task!r}; expected a function of a module, which other machines find by its name")
    return f"{module}:{name}"


def run_named(task: str, folder: str, index: int, **told: Any) -> dict[str, Any]:
    """Run shard `index` of the plan in `folder` by the task of that name.

    Parameters
    ----------
    task : str
        As `task_name` gives it.
    folder : str
        Of the plan.
    told
        "mark": a file of the plan's folder that the asking machine wrote just now; "version": of stimsynth there;
        "patience_s": how long to look for the mark.

    Returns
    -------
    dict
        As `run_shard` returns it; "failed" with G06 where this machine does not see the folder, G07 where its stimsynth
        is another version.
    """
    with _ONE:
        keep_memory()
        refusal = _unseen(Path(folder), told["mark"], told["patience_s"]) or _other_version(folder, told["version"])
        if refusal is not None:
            record = {"error": str(refusal), "code": refusal.code}
            with suppress(OSError, DataError):
                if refusal.code != _UNSEEN:  # a copy of the folder is not to be written into
                    write_json(ShardPlan.load(Path(folder)).failure(index), record)
            return {"index": index, "state": "failed", **record}
        module, _, name = task.partition(":")
        made: dict[str, Any] = getattr(importlib.import_module(module), name)(folder, index)
        return made


_UNSEEN = "G06"


def _unseen(folder: Path, mark: str, patience_s: float) -> DataError | None:
    """What to say where this machine sees no such folder, or another one of that name."""
    end = time.monotonic() + patience_s
    while not (folder / mark).is_file():
        if time.monotonic() > end:
            copy = (folder / "plan.json").is_file()
            return unseen(folder, socket.gethostname(), "another copy of the folder" if copy else "no such folder")
        time.sleep(0.2)
    return None


def unseen(folder: Path, machine: str, found: str) -> DataError:
    """G06: the machine that is to run a shard does not see the project."""
    return DataError(
        str(folder),
        found=f"{found} on {machine}",
        expected="the project on a disk that every worker sees under the same path",
        cause="the project lies on a local disk, or the shared disk is mounted elsewhere there",
        fix="put the project on the shared disk and give its path as all machines have it; or use --workers N here",
        code="G06",
    )


def _other_version(folder: str, asked: str) -> DataError | None:
    """What to say where this machine has another version of stimsynth."""
    if asked == version():
        return None
    return DataError(
        folder,
        found=f"stimsynth {version()} on {socket.gethostname()}",
        expected=f"{asked}, as on the machine that asks",
        cause="the worker was started in another environment, or before the last update",
        fix="install the same version for the workers, and start them anew",
        code="G07",
    )


class Marks:
    """Files with new names in the folders of plans, by which workers know that they see these very folders."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.name, self.folders = f"mark_{secrets.token_hex(6)}", set[Path]()
        self.patience_s = patience_s

    def told(self, folder: str) -> dict[str, Any]:
        """What `run_named` is told about a folder, which is marked now."""
        place = Path(folder)
        if place not in self.folders:
            self.folders.add(place)
            write_text(place / self.name, "")
        return {"mark": self.name, "version": version(), "patience_s": self.patience_s}

    def remove(self) -> None:
        """Take the marks away."""
        for folder in self.folders:
            with suppress(OSError):
                (folder / self.name).unlink()


class ByName(Executor):
    """An executor whose workers get the name of the task, and where the plan lies on every machine."""

    def __init__(self, inner: Executor, marks: Marks) -> None:
        self.inner, self.marks = inner, marks

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a task, (folder of the plan, shard)."""
        folder, index = args
        place = str(Path(folder).absolute())  # a worker has another working folder
        return self.inner.submit(run_named, task_name(fn), place, index, **self.marks.told(place))
