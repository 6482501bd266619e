"""How far the plans of a project are, while processes anywhere work on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.errors import DataError

from .array import MERGED
from .plan import ShardPlan, ShardState

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["PlanLook", "look", "record", "table"]

SILENT_S = 600.0
"""Seconds from which on a running shard is told as silent: its worker may be lost."""
SHOWN = 4
"""Running shards that are named."""


@dataclass(frozen=True)
class PlanLook:
    """One plan.

    Attributes
    ----------
    name : str
        Of its folder.
    state : ShardState or None
        None where the plan cannot be read, or its shards were put together and removed.
    silent : dict of shard to seconds
        Since a running shard told how far it is.
    note : str
        What is wrong with the plan, or that it was put together.
    """

    name: str
    state: ShardState | None
    silent: dict[int, float]
    note: str = ""

    @property
    def ended(self) -> bool:
        """Whether no shard runs or waits."""
        return self.state is None or not (self.state.running or self.state.waiting)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        told: dict[str, Any] = {"plan": self.name, "note": self.note}
        if self.state is None:
            return told
        running = {
            str(index + 1): round(done / total, 3) if total else 0.0
            for index, (done, total) in self.state.running.items()
        }
        failed = {str(index + 1): text for index, text in self.state.failed.items()}
        counts = {"shards": len(self.state), "done": len(self.state.done), "waiting": len(self.state.waiting)}
        return told | counts | {"running": running, "failed": failed, "share": round(self.state.share, 4)}


def look(home: Path) -> list[PlanLook]:
    """The plans in a folder, by name; shards are counted from 1 for people."""
    found = []
    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            plan = ShardPlan.load(folder)
        except DataError as error:
            if folder.exists():  # it may have been put together just now
                found.append(PlanLook(folder.name, None, {}, f"not to be read: {error.found}"))
            continue
        state, silent = plan.state(), dict[int, float]()
        if (folder / MERGED).is_file() and not (state.done or state.running or state.failed):
            found.append(PlanLook(folder.name, None, {}, "put together"))
            continue
        for index in state.running:
            with suppress(OSError):
                silent[index] = max(time.time() - plan.running(index).stat().st_mtime, 0.0)
        found.append(PlanLook(folder.name, state, silent))
    return found


def record(plans: Sequence[PlanLook]) -> dict[str, Any]:
    """One look, JSON-able; the time is in UTC."""
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "plans": [plan.to_dict() for plan in plans]}


def table(plans: Sequence[PlanLook]) -> Table:
    """One line per plan."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("plan", "done", "running", "waiting", "failed"):
        made.add_column(name, overflow="fold")
    for plan in plans:
        cells = [plan.name, plan.note, "", "", ""] if plan.state is None else [plan.name, *_cells(plan, plan.state)]
        made.add_row(*(Text(cell) for cell in cells))
    return made


def _cells(plan: PlanLook, state: ShardState) -> list[str]:
    running = [_running(index, told, plan.silent.get(index, 0.0)) for index, told in state.running.items()]
    more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
    failed = ""
    if state.failed:
        first, text = min(state.failed.items())
        lines = text.strip().splitlines() or ["unknown"]
        failed = (
            f"{len(state.failed)}; shard {first + 1}: {lines[-1] if lines[0].startswith('Traceback') else lines[0]}"
        )
    done = f"{len(state.done)} of {len(state)}"
    return [done, ", ".join(running[:SHOWN]) + more or "0", str(len(state.waiting)), failed or "0"]


def _running(index: int, told: tuple[int, int], silent: float) -> str:
    done, total = told
    percent = f" at {100 * done // total} %" if total else ""
    return f"shard {index + 1}{percent}" + (f", silent for {silent / 60:.0f} min" if silent > SILENT_S else "")
