"""Records: what a study printed, with the command, its inputs and its cost, in docs/measured/NAME.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .tables import Shown, shown

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "measured"
SCHEMA = "measured/1"
INPUTS = {
    "none": "nothing but the package",
    "demo": "the demo, which the command makes",
    "recordings": "recordings in the folder that is given as `--data`",
    "study": "what a study of hours left",
}
HOW = {
    "rerun": "the runner filled it from the command's output",
    "in part": "the runner filled what the command gives; other rows, columns or tables were taken from the page once",
    "transcribed": "taken from the page once, when records were introduced; the command fills it when it is run again",
}


@dataclass(frozen=True)
class Record:
    """What a study printed.

    Attributes
    ----------
    name : str
        Name of the file, without its ending.
    commands : tuple of str
        What makes it, as typed.
    inputs : str
        A key of `INPUTS`.
    cost : str
        Time, as it was stated or seen.
    measured : str
        Day, and what else is known of the version that was measured.
    how : str
        A key of `HOW`.
    tables : dict of str to Table or Printed
        By name.
    """

    name: str
    commands: tuple[str, ...]
    inputs: str
    cost: str
    measured: str
    how: str
    tables: dict[str, Shown]

    def text(self) -> str:
        """The file: one row of a table per line, so that changes can be read."""
        head = {
            "schema": SCHEMA,
            "commands": list(self.commands),
            "inputs": self.inputs,
            "cost": self.cost,
            "measured": self.measured,
            "how": self.how,
        }
        lines = [f" {_json(key)}: {_json(value)}," for key, value in head.items()]
        tables = [f"  {_json(name)}: {_table(table.plain())}" for name, table in self.tables.items()]
        return "\n".join(["{", *lines, ' "tables": {', ",\n".join(tables), " }", "}"]) + "\n"

    def save(self, folder: Path = FOLDER) -> Path:
        """Write the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(self.text(), encoding="utf-8")
        return path


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _table(plain: dict[str, list[object]]) -> str:
    parts = []
    for key, values in plain.items():
        if key in ("rows", "printed"):
            parts.append(f"   {_json(key)}: [\n" + ",\n".join(f"    {_json(value)}" for value in values) + "\n   ]")
        else:
            parts.append(f"   {_json(key)}: {_json(values)}")
    return "{\n" + ",\n".join(parts) + "\n  }"


def load(path: Path) -> Record:
    """Read a record.

    Raises
    ------
    ValueError
        Where the file is of another schema, or says what no record says.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("schema") != SCHEMA:
        raise ValueError(f"{path.name}: found schema {found.get('schema')!r}, expected {SCHEMA!r}")
    if found["inputs"] not in INPUTS or found["how"] not in HOW:
        raise ValueError(
            f"{path.name}: inputs {found['inputs']!r} or how {found['how']!r} is not among those of scripts/figures/records.py"
        )
    tables = {name: shown(table) for name, table in found["tables"].items()}
    head = (tuple(found["commands"]), found["inputs"], found["cost"], found["measured"], found["how"])
    return Record(path.stem, *head, tables)


@cache
def records() -> dict[str, Record]:
    """Every committed record that this program reads, by name; files of other schemas are left to those who wrote them."""
    every = {}
    for path in sorted(FOLDER.glob("*.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("schema") == SCHEMA:
            every[path.stem] = load(path)
    return every
