"""Files that rigs read, one module per rig. To add one: its module with a function `write` (see `rig.Write`), and a row
in `RIGS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import is_litter
from protocols.rounds.order import Trial

from . import plain
from .rig import ShownImage, Timing, Write

__all__ = ["RIGS", "ShownImage", "Timing", "Write", "check_rigs", "write_rigs"]

RIGS: dict[str, Write] = {"plain": plain.write}
"""Every rig by its name. The files of "plain" are in every outbox: the toolkit reads its order from them."""


def check_rigs(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is no row of `RIGS`."""
    unknown = [name for name in names if name not in RIGS]
    if unknown:
        raise ValueError(f"rig {unknown[0]!r}; expected one of {', '.join(RIGS)}")


def write_rigs(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
    rigs: Sequence[str] = (),
) -> list[Path]:
    """Write the plain files and those of `rigs` into an outbox; returns their paths.

    Raises
    ------
    ValueError
        A rig that changed a file which was there, or whose file is missing or lies outside the outbox.
    """
    written: list[Path] = []
    for name in dict.fromkeys(("plain", *rigs)):
        before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and not is_litter(p.name)}
        paths = RIGS[name](folder, order, images, timing=timing, manifest=manifest)
        changed = [p for p, time_ns in before.items() if not p.is_file() or p.stat().st_mtime_ns != time_ns]
        wrong = [p for p in paths if not p.is_file() or not p.is_relative_to(folder)] or changed
        if wrong:
            raise ValueError(
                f"rig {name!r}: {wrong[0].name}; expected new files inside the outbox, and every other as it was"
            )
        written += paths
    return written
