"""Shards that square a number, for other processes to find by name; some fail, some kill their worker once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from protocols.progress import Reporter
from protocols.shards.plan import ShardPlan
from protocols.shards.work import run_shard


def square(folder: str, index: int) -> dict[str, Any]:
    return run_shard(folder, index, _square)


def _square(plan: ShardPlan, index: int, out: Path, *, progress: Reporter) -> None:
    number = plan.shards[index]["number"]
    once = plan.folder / f"killed_{index}"
    if plan.shards[index].get("kills") and (plan.shards[index]["kills"] == "always" or not once.is_file()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise ValueError(f"the number {number}; expected 0 or more")
    progress("square", 1, 2)
    time.sleep(plan.shards[index].get("seconds", 0))
    out.write_text(str(number**2 + plan.common["plus"]), encoding="utf-8")
