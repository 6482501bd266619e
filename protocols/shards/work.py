"""One shard of a plan, in whatever process: its result is written whole or not at all, and what went wrong is kept."""

from __future__ import annotations

import os
import secrets
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocols.disk.files import sha256_file, write_json
from protocols.disk.shares import flush_file, move
from protocols.errors import DataError

from .plan import ShardPlan

__all__ = ["Work", "run_shard"]

Work = Callable[..., None]
"""Makes one shard of a plan: (plan, index, path of the file to write, progress=Reporter)."""
TOLD_EVERY_S = 2.0
"""Between two reports of a running shard, in seconds."""


def run_shard(folder: str, index: int, work: Work) -> dict[str, Any]:
    """Make shard `index` of the plan in `folder`, unless it is done; what came of it, JSON-able.

    An error of `work` does not leave this function: it is kept in the shard's folder and returned, so that any
    executor, which may not know our errors, brings it home. A process that is killed leaves the shard undone.

    Returns
    -------
    dict
        "index", "state" ("done" or "failed"), and of a failed one "error" and "code".
    """
    plan = ShardPlan.load(Path(folder))
    if plan.is_done(index):
        return {"index": index, "state": "done"}
    result = plan.result(index)
    temporary = result.with_name(f".{result.stem}.{os.getpid()}-{secrets.token_hex(4)}{plan.suffix}")
    begin = time.monotonic()
    try:
        with suppress(FileNotFoundError):
            plan.failure(index).unlink()
        teller = _Teller(plan.running(index))
        teller("", 0, 1)
        work(plan, index, temporary, progress=teller)
        with open(temporary, "rb+") as handle:
            flush_file(handle.fileno())
        digest = sha256_file(temporary)
        move(temporary, result)
        write_json(plan.record(index), {"sha256": digest, "seconds": round(time.monotonic() - begin, 3)})
    except Exception as error:  # whatever it is: it belongs to this shard alone, and is told
        told = _told(error)
        with suppress(OSError, DataError):
            write_json(plan.failure(index), told)
        return {"index": index, "state": "failed", **told}
    finally:
        for path in (temporary, plan.running(index)):
            with suppress(OSError):
                path.unlink()
    return {"index": index, "state": "done"}


def _told(error: Exception) -> dict[str, Any]:
    """An error as it is kept: the words of ours, the last frames of any other."""
    code = getattr(error, "code", None)
    if isinstance(error, DataError | ValueError):
        return {"error": str(error), "code": code}
    return {"error": "".join(traceback.format_exception(error, limit=-3)).strip(), "code": None}


class _Teller:
    """A reporter that writes how far a shard is, now and then, into a file that nobody waits for."""

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.told < TOLD_EVERY_S:
            return
        self.told = now
        with suppress(OSError, DataError):  # only for the eye
            write_json(self.path, {"label": label, "done": done, "total": total})
