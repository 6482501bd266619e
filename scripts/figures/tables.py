"""Tables and printed text as records hold them, and the numbers in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RULE = re.compile(r"^\|[\s:|-]+\|$")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w.]*\w)")
INTERVAL = re.compile(r"[(\[]\s*([-+]?[\d.]+)\s*(?:-|,|to)\s*([-+]?[\d.]+)\s*[)\]]")


@dataclass(frozen=True)
class Table:
    """A table of Markdown.

    Attributes
    ----------
    columns : tuple of str
        Heads of the columns.
    rows : tuple of tuple of str
        Cells as the page shows them, one per column.
    align : tuple of str
        What stands under the heads, such as "---" and "---:".
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: tuple[str, ...] = ()

    def text(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, self.align or ("---",) * len(self.columns), *self.rows]
        return "\n".join(_line(cells, rule=i == 1) for i, cells in enumerate(lines))

    def cell(self, row: str | int, column: str | int) -> str:
        """The cell of a row and a column, each by its number or by what it is called; a row by its first cells, joined by " / "."""
        at = column if isinstance(column, int) else self.columns.index(column)
        if isinstance(row, int):
            return self.rows[row][at]
        ways = [row], row.split(" / ")
        found = [cells for cells in self.rows if any(list(cells[: len(way)]) == way for way in ways)]
        if len(found) != 1:
            raise KeyError(
                f"{len(found)} rows begin with {row!r}; expected one of {[cells[:2] for cells in self.rows]}"
            )
        return found[0][at]

    def column(self, column: int) -> list[str]:
        """The cells of a column."""
        return [row[column] for row in self.rows]

    def plain(self) -> dict[str, Any]:
        """The table as JSON has it."""
        return {"columns": list(self.columns), "align": list(self.align), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True)
class Printed:
    """Text as a program prints it, shown in a fence."""

    lines: tuple[str, ...]

    def text(self) -> str:
        """The text in a fence."""
        return "\n".join(["```", *self.lines, "```"])

    def plain(self) -> dict[str, Any]:
        """The text as JSON has it."""
        return {"printed": list(self.lines)}


Shown = Table | Printed


def _line(cells: tuple[str, ...], *, rule: bool) -> str:
    if rule:
        return f"|{'|'.join(cells)}|"
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def cells_of(line: str) -> tuple[str, ...]:
    r"""The cells of a line of a table; `\|` is no border."""
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|")))


def shown(plain: dict[str, Any]) -> Shown:
    """A table or text from JSON."""
    if "printed" in plain:
        return Printed(tuple(plain["printed"]))
    rows = tuple(tuple(row) for row in plain["rows"])
    return Table(tuple(plain["columns"]), rows, tuple(plain.get("align", ())))


def tables_in(text: str) -> Iterator[tuple[int, Table]]:
    """Every table of a Markdown text outside fences, with the number of its first line, from 0."""
    lines, fenced, i = text.splitlines(), False, 0
    while i < len(lines):
        if lines[i].lstrip().startswith("```"):
            fenced = not fenced
        if not fenced and lines[i].startswith("|") and i + 1 < len(lines) and RULE.match(lines[i + 1]):
            begin = i
            while i < len(lines) and lines[i].startswith("|"):
                i += 1
            body = [cells_of(line) for line in lines[begin:i]]
            yield begin, Table(body[0], tuple(body[2:]), body[1])
        else:
            i += 1


def fences_in(text: str) -> Iterator[tuple[int, str, Printed]]:
    """Every fence of a Markdown text: the number of its first line, its language and its lines."""
    lines, begin = text.splitlines(), -1
    for i, line in enumerate(lines):
        if line.startswith("```"):
            if begin < 0:
                begin = i
            else:
                yield begin, lines[begin][3:].strip(), Printed(tuple(lines[begin + 1 : i]))
                begin = -1


def numbers(text: str) -> list[float]:
    """The numbers in a text, in order."""
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def estimate(cell: str) -> tuple[float, float, float]:
    """Value, low and high of a cell such as "1.24 (1.20-1.29)" or "75 % [67, 82]"; without an interval all three are the value.

    Raises
    ------
    ValueError
        Where the cell holds no number.
    """
    found = numbers(cell)
    if not found:
        raise ValueError(f"no number in {cell!r}")
    match = INTERVAL.search(cell)
    return (found[0], float(match[1]), float(match[2])) if match else (found[0],) * 3
