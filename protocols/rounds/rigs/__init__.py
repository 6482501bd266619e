"""Files that rigs read, one module per rig. To add one: its module with a function `write` (see `rig.Write`), a row in
`RIGS`, its name in `protocols.project.config.rig.RigName`, and its page docs/rigs/NAME.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import files_below
from protocols.disk.toml import nearest
from protocols.errors import DataError
from protocols.rounds.order import Trial

from . import generic, monkeylogic, mworks, plain, presentation, psychopy, psychtoolbox
from .facts import require_plain_names
from .rig import ShownImage, Timing, Write

__all__ = ["RIGS", "ShownImage", "Timing", "Write", "check_rigs", "write_rigs"]

RIGS: dict[str, Write] = {
    "plain": plain.write,
    "psychopy": psychopy.write,
    "psychtoolbox": psychtoolbox.write,
    "monkeylogic": monkeylogic.write,
    "mworks": mworks.write,
    "presentation": presentation.write,
    "generic": generic.write,
}
"""Every rig by its name. The files of "plain" are in every outbox: the toolkit reads its order from them."""


def check_rigs(names: Sequence[str]) -> None:
    """Refuse a name that is no row of `RIGS`.

    Raises
    ------
    DataError
        J01
    """
    unknown = [name for name in names if name not in RIGS]
    if not unknown:
        return
    near = nearest(unknown[0], RIGS)
    raise DataError(
        "the presentation software",
        found=repr(unknown[0]),
        expected=f"one of {', '.join(RIGS)}",
        cause="a slip of the pen, or software that no files are written for",
        fix=f"did you mean {near}?" if near else 'take "generic" or order.csv, and write the rest by hand',
        code="J01",
    )


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
    DataError
        J02: the rig needs the refresh rate of the screen; J03: a name that software reads differently; J05: a duration
        is not a whole number of frames.
    """
    if set(rigs) - {"plain"}:
        require_plain_names(images)
    written: list[Path] = []
    for name in dict.fromkeys(("plain", *rigs)):
        before = {p: p.stat().st_mtime_ns for p in files_below(folder)}
        paths = RIGS[name](folder, order, images, timing=timing, manifest=manifest)
        there = set(files_below(folder))
        changed = [p for p, time_ns in before.items() if p not in there or p.stat().st_mtime_ns != time_ns]
        wrong = [p for p in paths if p not in there] or changed
        if wrong:
            raise ValueError(
                f"rig {name!r}: {wrong[0].name}; expected new files inside the outbox, and every other as it was"
            )
        written += paths
    return written
