"""Sentences of README and docs that repeat measured numbers: each is written once in docs/measured/quoted.toml, with the cells that it repeats.

    [[sentence]]
    page = "docs/index.md"
    text = "from {rounds/stretch[refit / 1][above every natural image]!first} % to ..."

A place is RECORD/TABLE[ROW][COLUMN]; a row is named by its first cells, joined by " / ", or "#N" by its number. `!first` takes the first number of a
cell, `!interval` its interval, `!N` its Nth number from 0, nothing the whole cell; `*` is taken away. In a table of printed text, RECORD/TABLE[LINE][N]
is the Nth number behind the beginning of the first line that begins so, spaces taken together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .places import wanted
from .records import FOLDER, ROOT, Record
from .tables import INTERVAL, NUMBER, Printed

PLACE = re.compile(r"\{([\w/-]+)\[([^\]]*)\]\[([^\]]*)\](?:!(\w+))?\}")


@dataclass(frozen=True)
class Sentence:
    """A sentence with places for numbers.

    Attributes
    ----------
    page : str
        From the root.
    text : str
        With places.
    """

    page: str
    text: str

    def filled(self, every: Mapping[str, Record]) -> str:
        """The sentence with the numbers of the records."""
        return PLACE.sub(lambda m: _value(m, every), self.text)

    def pattern(self) -> re.Pattern[str]:
        """What finds the sentence in its page, whatever the numbers and line breaks are."""
        parts = PLACE.split(self.text)[::5]
        if not parts[0].strip():
            raise ValueError(
                f"{self.page}: a sentence of docs/measured/quoted.toml must begin with words, not with a place: {self.text[:90]}"
            )
        hole = r"(?:.|\n){1,60}?"
        spaced = [re.sub(r"(\\?\s)+", r"\\s+", re.escape(part)) for part in parts]
        return re.compile(rf"(?<!\S){hole.join(spaced)}(?!\S)")


def sentences(path: Path = FOLDER / "quoted.toml") -> list[Sentence]:
    """The sentences of the file."""
    return [Sentence(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("sentence", [])]


def _value(match: re.Match[str], every: Mapping[str, Record]) -> str:
    name, row, column, kind = match.groups()
    table = wanted(name, every)
    if isinstance(table, Printed):
        lines = [re.sub(r"\s+", " ", line) for line in table.lines]
        line = next((line for line in lines if line.startswith(row)), None)
        if line is None:
            raise KeyError(f"{name}: no line begins with {row!r}")
        return str(NUMBER.findall(line.removeprefix(row))[int(column.removeprefix("#"))])
    cell = table.cell(
        int(row[1:]) if row.startswith("#") else row, int(column[1:]) if column.startswith("#") else column
    )
    cell = cell.replace("*", "")
    if kind == "first":
        return str(NUMBER.findall(cell)[0])
    if kind == "interval":
        found = INTERVAL.search(cell)
        if found is None:
            raise KeyError(f"{name}[{row}][{column}]: {cell!r} has no interval")
        return found[0][1:-1]
    return str(NUMBER.findall(cell)[int(kind)]) if kind else cell


def requoted(text: str, some: list[Sentence], every: Mapping[str, Record]) -> str:
    """A page with its sentences as the records have them.

    Raises
    ------
    ValueError
        Where a sentence is not in the page, or twice.
    """
    for sentence in some:
        pattern = sentence.pattern()
        found = pattern.findall(text)
        if len(found) != 1:
            raise ValueError(
                f"{sentence.page}: the sentence of docs/measured/quoted.toml is there {len(found)} times, expected once: {sentence.text[:90]}"
            )
        filled, old = sentence.filled(every), found[0]
        text = text.replace(old, _broken(old, filled))
    return text


def _broken(old: str, filled: str) -> str:
    """The filled sentence with the line breaks of the old one."""
    words = iter(re.split(r"(\s+)", old)[1::2])
    return "".join(next(words, " ") if i % 2 else part for i, part in enumerate(re.split(r"(\s+)", filled)))


def of_page(page: Path, some: list[Sentence]) -> list[Sentence]:
    """The sentences of a page."""
    return [sentence for sentence in some if ROOT / sentence.page == page]
