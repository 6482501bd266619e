"""A plan of shards in a folder: what each piece of the work is made of, and which of them are done.

One folder holds ``plan.json`` (`ShardPlan`) and, per shard, ``shards/0007.h5`` (its result, of the plan's suffix) with
``0007.json`` (its record, written last), or ``0007.failed.json`` (why it failed). The name of the folder holds the
first digits of the plan's SHA-256, so that the same work is found again, on any machine that sees the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, sha256_bytes, sha256_file, write_json
from protocols.disk.foreign import read_text
from protocols.errors import DataError

__all__ = ["HOME", "ShardPlan", "ShardState"]

HOME = "shards"
"""Folder of plans, in the project's cache."""
SCHEMA = "shard_plan/1"
DIGITS = 12
"""Of the SHA-256 in the name of a plan's folder."""


@dataclass(frozen=True)
class ShardState:
    """How far the shards of a plan are.

    Attributes
    ----------
    done : sequence of int
    failed : dict of shard to what it said
    running : dict of shard to (units done, units in all)
        As the shards that run tell it, a few seconds late. A shard whose worker was lost stays here until it is run
        again.
    waiting : sequence of int
    """

    done: Sequence[int]
    failed: Mapping[int, str]
    running: Mapping[int, tuple[int, int]]
    waiting: Sequence[int]

    def __len__(self) -> int:
        return sum(map(len, (self.done, self.failed, self.running, self.waiting)))

    @property
    def share(self) -> float:
        """How much of the work has ended, in [0, 1]: shards, and the told part of those that run."""
        begun = sum(done / total for done, total in self.running.values() if total)
        return (len(self.done) + len(self.failed) + min(begun, len(self.running))) / max(len(self), 1)

    def words(self) -> str:
        """For people: how many shards are done, run and failed."""
        others = {"running": len(self.running), "failed": len(self.failed)}
        beside = "".join(f", {count} {what}" for what, count in others.items() if count)
        return f"{len(self.done)} of {len(self)} shards{beside}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "done": len(self.done),
            "running": len(self.running),
            "waiting": len(self.waiting),
            "failed": {str(index): text for index, text in self.failed.items()},
        }


@dataclass(frozen=True)
class ShardPlan:
    """Work that was divided.

    Attributes
    ----------
    folder : Path
        Of this plan alone.
    kind : str
        What the shards make, such as "images"; an id.
    common : dict
        JSON-able: what all shards share. The worker finds here all that it needs beside the files of `inputs`.
    shards : sequence of dict
        JSON-able: what each has for itself.
    inputs : dict of name to SHA-256
        What the shards are functions of: their results are of these inputs alone (`check_inputs`).
    suffix : str
        Of the results, such as ".h5".
    """

    folder: Path
    kind: str
    common: Mapping[str, Any]
    shards: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, str]
    suffix: str = ".h5"

    @classmethod
    def place(
        cls,
        home: Path,
        kind: str,
        *,
        common: Mapping[str, Any],
        shards: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, str],
        suffix: str = ".h5",
    ) -> ShardPlan:
        """The plan in its folder below `home`, written unless it is there.

        Several processes may place the same plan at once: they write the same bytes.
        """
        unplaced = cls(home, kind, common, shards, inputs, suffix)
        plan = cls(home / f"{kind}_{unplaced.digest[:DIGITS]}", kind, common, shards, inputs, suffix)
        if not plan.path.is_file():
            write_json(plan.path, plan._record())
        return plan

    @classmethod
    def load(cls, folder: Path) -> ShardPlan:
        """The plan in a folder.

        Raises
        ------
        DataError
            G02: there is none, or it was altered.
        """
        path = folder / "plan.json"
        if not path.is_file():
            raise _unusable(folder, "no plan.json")
        record = read_json(path)
        try:
            if record["schema"] != SCHEMA:
                raise _unusable(path, f"a plan of the schema {record['schema']!r}")
            plan = cls(
                folder,
                str(record["kind"]),
                dict(record["common"]),
                [dict(shard) for shard in record["shards"]],
                {str(k): str(v) for k, v in record["inputs"].items()},
                str(record["suffix"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unusable(path, f"a plan that lacks parts ({type(error).__name__}: {error})") from error
        if not folder.name.endswith(f"_{plan.digest[:DIGITS]}"):
            raise _unusable(path, "a plan that was altered: it is not the one that its folder is named after")
        return plan

    def _record(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "suffix": self.suffix,
            "inputs": dict(self.inputs),
            "common": dict(self.common),
            "shards": [dict(shard) for shard in self.shards],
        }

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of all but the folder."""
        return sha256_bytes(json.dumps(self._record(), sort_keys=True, allow_nan=False).encode())

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def path(self) -> Path:
        """The plan's own file."""
        return self.folder / "plan.json"

    def result(self, index: int) -> Path:
        """Where shard `index` puts what it made."""
        return self._at(index, self.suffix)

    def record(self, index: int) -> Path:
        """What says that shard `index` is done: seconds, device, SHA-256 of its result."""
        return self._at(index, ".json")

    def failure(self, index: int) -> Path:
        """Why shard `index` failed when it was run last."""
        return self._at(index, ".failed.json")

    def running(self, index: int) -> Path:
        """How far shard `index` is."""
        return self._at(index, ".running.json")

    def _at(self, index: int, ending: str) -> Path:
        return self.folder / "shards" / f"{index:04d}{ending}"

    def is_done(self, index: int) -> bool:
        """Whether the record and the result of a shard are there."""
        return self.record(index).is_file() and self.result(index).is_file()

    def missing(self) -> list[int]:
        """The shards that are not done."""
        return [index for index in range(len(self)) if not self.is_done(index)]

    def intact(self, index: int) -> bool:
        """Whether the result of a shard is the one that its record names."""
        try:
            return bool(read_json(self.record(index))["sha256"] == sha256_file(self.result(index)))
        except (DataError, OSError, KeyError, TypeError):
            return False

    def forget(self, index: int) -> None:
        """Take away what is left of a shard, so that it is run again."""
        for path in (self.record(index), self.result(index), self.failure(index), self.running(index)):
            with suppress(FileNotFoundError):
                path.unlink()

    def state(self) -> ShardState:
        """What the files say."""
        done, waiting = [], []
        failed, running = dict[int, str](), dict[int, tuple[int, int]]()
        for index in range(len(self)):
            if self.is_done(index):
                done.append(index)
            elif (told := _read(self.failure(index))) is not None:
                failed[index] = str(told.get("error", "unknown"))
            elif (told := _read(self.running(index))) is not None:
                running[index] = (int(told.get("done", 0)), int(told.get("total", 0)))
            else:
                waiting.append(index)
        return ShardState(done, failed, running, waiting)

    def check_inputs(self, now: Mapping[str, str]) -> None:
        """Refuse to go on where the inputs are others than when the plan was made.

        Raises
        ------
        DataError
            G03
        """
        changed = sorted(name for name in {*now, *self.inputs} if now.get(name) != self.inputs.get(name))
        if changed:
            raise DataError(
                str(self.folder),
                found=f"another {', '.join(changed)} than when the work was divided",
                expected="the project as it was then, until all shards are done",
                cause="project.toml, the photographs or the encoder changed in between",
                fix="give the same command again: the work is divided anew",
                code="G03",
            )


def _read(path: Path) -> dict[str, Any] | None:
    """A small file of a shard; None where it is not there, or is being replaced."""
    try:
        value = json.loads(read_text(path))
    except (OSError, ValueError, DataError):
        return None
    return value if isinstance(value, dict) else None


def _unusable(where: Path, found: str) -> DataError:
    return DataError(
        str(where),
        found=found,
        expected="a plan of shards as the command wrote it",
        cause="the folder was cleaned up, edited, or copied in part",
        fix="delete the folder and give the same command again: the work is divided anew",
        code="G02",
    )
