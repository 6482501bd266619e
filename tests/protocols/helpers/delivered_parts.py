"""A rig that delivers its answer in parts, and what becomes of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from protocols.project.folder import Round

BLOCKS, REPEATS = 4, 8


def export(round_: Round, lab: SimpleNamespace, **changed: Any) -> Round:
    """An exported round of 8 images in four blocks of 18 presentations."""
    protocol = lab.protocol.model_copy(update={"repeats": REPEATS, "blocks": BLOCKS})
    lab.export(round_, **{"config": protocol, "repeats": REPEATS, **changed})
    return round_


def deliver(round_: Round, name: str, answer: Any, layout: str = "python", *, done: bool = True) -> Path:
    """Write a part into the inbox as a rig does: under another name, renamed, then its ``.done`` file."""
    path = round_.inbox / name
    os.replace(answer.write(path.with_name(f"{name}.part"), layout), path)
    if done:
        path.with_name(f"{name}.done").touch()
    return path


def blocks_of(answer: Any) -> dict[str, Any]:
    """The parts of an answer, one per block, by name."""
    return {f"responses_block_{b:02d}.h5": answer.rows(np.flatnonzero(answer.block == b)) for b in range(BLOCKS)}


def deliver_blocks(round_: Round, answer: Any, *, but: tuple[int, ...] = (), layout: str = "python") -> None:
    """Deliver every block of an answer, but for some."""
    for number, (name, part) in enumerate(blocks_of(answer).items()):
        if number not in but:
            deliver(round_, name, part, layout)


def contents(round_: Round) -> str:
    """Hash over all files of a round but those of the inbox."""
    total = hashlib.sha256()
    for path in sorted(p for p in round_.folder.rglob("*") if p.is_file() and p.parent.name != "inbox"):
        total.update(path.relative_to(round_.folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()
