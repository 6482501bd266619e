"""CSV, TSV and text files: one array per column, or one matrix where there is no header, or a list of names."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np

from protocols.disk.foreign import read_bytes
from protocols.errors import DataError

from .columns import is_number, typed, with_points
from .container import Container, Item, held
from .refusals import unreadable

SEPARATORS = (",", ";", "\t")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def open_text(path: Path) -> Container:
    """A table with a header (items: its columns), one of numbers alone (item "table"), or a list (item "lines")."""
    notes: list[str] = []
    try:
        text = decoded(read_bytes(path))
    except DataError:
        raise
    except ValueError as error:
        raise unreadable(path, str(error), what="text") from error
    if path.suffix.lower() == ".txt" and not any(mark in text.partition("\n")[0] for mark in (";", "\t")):
        lines = [line.strip() for line in text.splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return Container(path, "text", [held("lines", typed(path, lines))])
    try:
        rows, separator = table_rows(text, notes)
    except ValueError as error:
        raise unreadable(path, str(error), what="a table") from error
    if not rows:
        raise unreadable(path, "no lines", what="a table")
    header = [cell.strip() for cell in rows[0]]
    if all(is_number(cell) for cell in header):
        return Container(path, "CSV", [_matrix(path, rows, separator)], notes=[*notes, "the table has no header"])
    return Container(path, "CSV", _columns(path, header, rows[1:], separator=separator), notes=notes, is_table=True)


def decoded(data: bytes) -> str:
    """The text of a file, by its byte order mark, else UTF-8; ValueError says why it is none."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"not {encoding}: {error}; save it as CSV UTF-8") from error
    if "\0" in text:
        raise ValueError("zero bytes: UTF-16 without its mark, or no text at all")
    return text


def table_rows(text: str, notes: list[str]) -> tuple[list[list[str]], str]:
    """The cells of every line that is not empty, and the separator; comments at the top are told in `notes`.

    ValueError names the line where a quotation mark is missing.
    """
    asked = re.match(r"sep=(.)\r?\n?", text, re.IGNORECASE)
    text = text[asked.end() :] if asked else text
    while text.startswith("#") and "\n" in text:
        comment, _, text = text.partition("\n")
        notes.append(f"the line {comment.strip()[:80]!r} was not read")
    marks = (asked[1],) if asked else SEPARATORS
    head = text.splitlines()[0] if text else ""
    try:
        separator = max(marks, key=lambda mark: len(next(csv.reader([head], delimiter=mark), [])))
    except csv.Error as error:
        raise ValueError(f"the first line: {error}; it is no header of a table") from error
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return [cells for cells in lines if any(cell.strip() for cell in cells)], separator
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}; a quotation mark is missing") from error


def _columns(path: Path, header: list[str], rows: list[list[str]], *, separator: str) -> list[Item]:
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise unreadable(path, f"two columns are called {twice[0]!r}; rename one", what="a table")
    long = next((n for n, cells in enumerate(rows, 2) if any(c.strip() for c in cells[len(header) :])), 0)
    short = next((n for n, cells in enumerate(rows, 2) if len(cells) < len(header)), 0)
    if long or short:
        than = "more" if long else "fewer"
        raise unreadable(path, f"row {long or short} has {than} cells than the header", what="a table")
    items = []
    for place, name in enumerate(header):
        cells = [row[place] for row in rows]
        if name or any(cell.strip() for cell in cells):
            items.append(
                held(name or f"column {place + 1}", typed(path, with_points(cells) if separator == ";" else cells))
            )
    return items


def _matrix(path: Path, rows: list[list[str]], separator: str) -> Item:
    width = len(rows[0])
    uneven = next((number for number, cells in enumerate(rows, 1) if len(cells) != width), 0)
    if uneven:
        raise unreadable(path, f"row {uneven} has {len(rows[uneven - 1])} cells and not {width}", what="a table")
    table = np.array([typed(path, with_points(row) if separator == ";" else row) for row in rows])
    return held("table", table)
