"""How far the command is that works on a project, for whoever looks at it from another process: a small file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .foreign import read_bytes
from .locks import held_here, holder_of

__all__ = ["FILE", "tell_progress", "working"]

FILE = "cache/working.json"
EVERY_S = 2.0
"""Least time between two writes."""
MOST_BYTES = 4096
FRESH_S = 3600.0
"""An older file tells nothing."""


def tell_progress(folder: Path, clock: Callable[[], float] = time.monotonic) -> Callable[[str, int, int], None]:
    """A reporter that writes how far the present step of this process is into the project's `FILE`, where this process
    holds the project's lock.

    What cannot be written is passed over: it is news, not data.
    """
    said = {"at": -EVERY_S, "begun": 0.0}
    label_of = {"label": ""}

    def report(label: str, done: int, total: int) -> None:
        now = clock()
        if label != label_of["label"]:
            label_of["label"], said["begun"] = label, now
        if now - said["at"] < EVERY_S or not held_here(folder):
            return
        said["at"] = now
        record = {
            "label": label[:200],
            "done": done,
            "total": total,
            "seconds": round(now - said["begun"], 1),
            "pid": os.getpid(),
        }
        with suppress(OSError):
            path = folder / FILE
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
            temporary.write_text(json.dumps(record), encoding="utf-8")
            os.replace(temporary, path)

    return report


def working(folder: Path) -> dict[str, Any] | None:
    """Which command works on the project since when, and how far its present step is; None where none does.

    ``step`` is None where it is not told, or is of another command.
    """
    holder = holder_of(folder)
    if holder is None:
        return None
    step = None
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        path = folder / FILE
        record = json.loads(read_bytes(path, most=MOST_BYTES))
        fresh = abs(time.time() - path.stat().st_mtime) < FRESH_S
        if record["pid"] == holder.pid and fresh:
            step = {
                "label": str(record["label"])[:200],
                "done": int(record["done"]),
                "total": int(record["total"]),
                "seconds": float(record["seconds"]),
            }
    machine = holder.host.split()[0][:100]
    return {"command": holder.what[:200], "since": holder.utc[:40], "machine": machine, "step": step}
