"""All rows of `python scripts/bench.py --peers`, in order, with what stands beside their numbers in the record."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from protocols.simulate import v4

from . import control, evolution, memory, regression, speed, verdicts, world
from .records import NotRun, Row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "v4_cowley2023"
SESSION = "201025"
GROUPS = {
    "speed": "time per gradient step",
    "control": "time to quality, and true control at equal gradient steps",
    "verdicts": "found control at equal presentations, and false verdicts",
    "ridge": "ridge: time and held-out r",
    "readout": "gradient-fitted readouts: time and held-out r",
    "evolution": "evolution at equal presentations",
    "memory": "peak memory",
}


@dataclass
class Bench:
    """The sizes of a run, and what several groups need, made once."""

    data: Path | None
    sizes: world.Sizes = field(default_factory=world.Sizes)
    load: speed.Load = field(default_factory=speed.Load)
    repeats: int = 5
    shares: float = 1.0
    experiments: int = 100
    evolved_sites: int = 6
    presentations: int = 800
    epochs: int = 30
    processes: int = 2

    @cached_property
    def world(self) -> world.World:
        """The hidden subject and its encoder."""
        return world.make(self.sizes, self.data)

    @cached_property
    def fits(self) -> regression.Data:
        """Features and responses for the fits: a V4 recording, else recordings of the simulated subject."""
        if self.data is None:
            return regression.make(self.world.images, self.world.measured, "simulated recording", size=self.sizes.size)
        images, averages = v4.read_images(self.data, SESSION), v4.read_averages(self.data, SESSION)
        return regression.make(images, averages, f"V4 recording {SESSION}")

    def rows(self, group: str) -> Iterator[Row | NotRun]:
        """The rows of one group."""
        makers: dict[str, Callable[[], Iterator[Row | NotRun]]] = {
            "speed": lambda: speed.rows(self.load, min(self.repeats, 3)),
            "control": lambda: control.rows(self.world, shares=self.shares),
            "verdicts": lambda: verdicts.rows(self.experiments),
            "ridge": lambda: regression.rows(self.fits, self.repeats),
            "readout": lambda: regression.readout_rows(self.fits, min(self.repeats, 3), epochs=self.epochs),
            "evolution": lambda: evolution.rows(self.world, sites=self.evolved_sites, presentations=self.presentations),
            "memory": lambda: memory.rows(repeats=self.processes),
        }
        yield from makers[group]()


def main(groups: list[str] | None, data: Path | None, repeats: int, path: Path | None) -> None:
    """Run `groups`, all without any, and keep the record in `path`."""
    record = measure(Bench(data_of(data), repeats=repeats), groups or list(GROUPS))
    if path is not None:
        save(record, path)


def data_of(given: Path | None) -> Path | None:
    """The folder of V4 models: as given, else ../shared/data beside the repository, else none."""
    if given is not None and not (given / "images").is_dir():
        raise SystemExit(f"{given}: no images here; pass the folder v4_cowley2023")
    return given or (DATA if (DATA / "images").is_dir() else None)


def measure(bench: Bench, groups: list[str]) -> dict[str, Any]:
    """Run the groups, one line per row as it comes: a record per group."""
    if bench.data is None:
        print(
            "no V4 models here (--data): control and evolution are of the package's own simulated subject, fits of its recordings"
        )
    return {group: measured(bench, group) for group in groups}


def measured(bench: Bench, group: str) -> dict[str, Any]:
    """One group: what was run with, its rows, and what was not run."""
    begin, found = time.process_time(), []
    for row in bench.rows(group):
        found.append(row)
        print(told(row), flush=True)
    return {
        "about": GROUPS[group],
        "subject": bench.world.about if group in ("control", "evolution") else None,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "cpu_seconds": round(time.process_time() - begin, 1),
        "rows": [asdict(r) | {"outcome": r.outcome} for r in found if isinstance(r, Row)],
        "not_run": [asdict(r) for r in found if isinstance(r, NotRun)],
    }


def told(row: Row | NotRun) -> str:
    """One line of text."""
    if isinstance(row, NotRun):
        return f"{row.group:<10}{row.peer:<18} NOT RUN: {row.why}"
    sign = "+.2f" if row.kind == "difference" else ".2f"
    ends = " - ".join("..." if end is None else f"{end:{sign}}" for end in (row.low, row.high))
    mark = {"at least": ">", "at most": "<", "": " "}[row.bound]
    return f"{row.group:<10}{row.peer:<28}{mark}{format(row.value, sign):>7}  ({ends})  {row.outcome:<7}{row.what}"


def save(record: dict[str, Any], path: Path) -> None:
    """The groups as JSON; groups that the file holds already and that were not run now are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    merged = {group: (kept | record)[group] for group in GROUPS if group in kept | record}
    path.write_text(json.dumps(merged, indent=1, allow_nan=False) + "\n", encoding="utf-8")
