"""Anybody's own array job: each process runs every n-th shard, and a last one puts them together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from protocols.disk.files import read_json, sha256_file, write_json
from protocols.errors import DataError

from .plan import ShardPlan

__all__ = ["MERGED", "Merge", "MergedBefore", "Part", "PartDone", "part_of"]


@dataclass(frozen=True)
class Part:
    """Every `of`-th shard from the `number`-th on, counted from 1, one after the other in this process.

    `run_plan` ends with `PartDone`: the shards are put together elsewhere.
    """

    number: int
    of: int
    name: str = "a part of an array job"

    def shards(self, plan: ShardPlan) -> list[int]:
        """Those of a plan."""
        return list(range(self.number - 1, len(plan), self.of))

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """The process that calls."""
        from .engines import Serial

        with Serial().open(shards) as executor:
            yield executor


@dataclass(frozen=True)
class Merge:
    """Runs nothing: the shards of a plan must be there.

    Attributes
    ----------
    plans : list of Path
        Folders of the plans that were put together, which are kept until what was made of them is written.
    """

    name: str = "merging"
    plans: list[Path] = field(default_factory=list)

    def shards(self, plan: ShardPlan) -> list[int]:
        """None of a plan."""
        return []

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        """Nothing."""
        raise RuntimeError("merging runs no shard")

    def finish(self, file: Path) -> None:
        """Say in the plans' folders that `file` was made of them, and remove their shards."""
        for folder in self.plans:
            write_json(folder / MERGED, {"sha256": sha256_file(file)})
            _empty(folder)


def _empty(folder: Path) -> None:
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.rmtree(inner, ignore_errors=True)


MERGED = "merged.json"
"""File of a plan whose shards were put together and removed."""


class MergedBefore(Exception):
    """The shards were put together earlier; not an error where the file is still there.

    Attributes
    ----------
    plan : ShardPlan
    """

    def __init__(self, plan: ShardPlan) -> None:
        super().__init__("put together before")
        self.plan = plan

    def made(self, file: Path) -> bool:
        """Whether `file` is what was made of them; what the plan placed anew is removed then."""
        try:
            same = bool(read_json(self.plan.folder / MERGED)["sha256"] == sha256_file(file))
        except (DataError, OSError, KeyError, TypeError):
            return False
        if same:
            _empty(self.plan.folder)
        return same


class PartDone(Exception):
    """A part of an array job has run; not an error.

    Attributes
    ----------
    plan : ShardPlan
    shards : sequence of int
        Those of the part.
    """

    def __init__(self, plan: ShardPlan, shards: Sequence[int]) -> None:
        super().__init__(f"{len(shards)} of {len(plan)} shards")
        self.plan, self.shards = plan, shards


def part_of(text: str) -> Part:
    """The part that ``i/n`` names.

    Raises
    ------
    ValueError
        The text is none.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise ValueError(f"{text!r}; expected i/n with 1 <= i <= n, such as 3/20")
    return Part(number, of)
