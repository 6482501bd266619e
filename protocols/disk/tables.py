"""Tables of text on disk, comma-separated."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from protocols.errors import DataError

from .files import write_text
from .foreign import read_bytes

SEPARATORS = (",", ";", "\t")
CUT_CELL = "a cell with a separator in it lost its quotation marks"
_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)$")
_FORMULA = re.compile(r"'*[=+\-@\t\r].")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one line for the `header` and one per row, as UTF-8 with LF line ends, atomically."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(header)
    table.writerows([harmless(cell) for cell in row] for row in rows)
    write_text(path, buffer.getvalue())


def harmless(cell: Any) -> Any:
    """A cell as it is written: text that a spreadsheet would compute stands behind an apostrophe.

    File names and words of others may begin with =, +, - or @. `read_table` takes the apostrophe off; numbers stay.
    """
    if not isinstance(cell, str) or _FORMULA.match(cell) is None:
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def parse_table(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """The header of a comma-separated table, and its rows as dicts of column to text (None where a line is too
    short).
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return list(reader.fieldnames or ()), list(reader)


def read_table(path: str | Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a table that people edit, as spreadsheets write it; see `parse_table`.

    UTF-8 with or without a byte order mark, UTF-16 with one; any line ends; columns separated by commas, semicolons or
    tabs, as the header shows; a first line such as ``sep=;``. Lines and columns that are empty throughout are left out.
    In a table with semicolons, a cell such as ``1,5`` is the number 1.5, since spreadsheets use semicolons where the
    comma is the decimal sign.

    Raises
    ------
    DataError
        F11: not text of these encodings, two columns of one name, a line with more cells than the header, or each line
        within one cell.
    OSError
        The file cannot be read.
    """
    path = Path(path)
    text = _text(path, read_bytes(path))
    lines, separator = _cells(path, text)
    if not lines:
        return [], []
    header = [name.strip() for name in lines[0][1]]
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise _unreadable(path, f"the column {twice[0]!r} twice", "a column was copied")
    named = [name for name in header if name]
    if len(named) == 1 and any(mark in named[0] for mark in SEPARATORS):
        raise _unreadable(path, f"one column named {named[0][:60]!r}", "a spreadsheet put each line into one cell")
    rows, marked = [], "'" in text
    places = [(i, name) for i, name in enumerate(header) if name]
    for number, cells in lines[1:]:
        if (len(cells) > len(header) or len(places) < len(header)) and any(
            cell.strip() for i, cell in enumerate(cells) if i >= len(header) or not header[i]
        ):
            raise _unreadable(path, f"line {number} with more cells than the header", CUT_CELL)
        if separator == ";":
            cells = [_DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in cells]
        if marked:
            cells = [cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell for cell in cells]
        rows.append({name: cells[i] if i < len(cells) else None for i, name in places})
    return named, rows  # type: ignore[return-value]


def _text(path: Path, data: bytes) -> str:
    """The text of a file by its byte order mark; UTF-8 without one."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        kind = "not UTF-8" if encoding.startswith("utf-8") else f"not whole {encoding.upper()}"
        raise _unreadable(
            path, f"text that is {kind} ({error})", "a spreadsheet saved it in an older encoding"
        ) from error
    if "\0" in text:
        raise _unreadable(path, "text with zero bytes (UTF-16 without its mark, or no text at all)", "another program")
    return text


def _cells(path: Path, text: str) -> tuple[list[tuple[int, list[str]]], str]:
    """Number and cells of every line that is not empty, and the separator."""
    asked = re.match(r"sep=(.)\r?\n?", text, re.IGNORECASE)
    text = text[asked.end() :] if asked else text
    try:
        found: dict[str, list[tuple[int, list[str]]]] = {}
        for mark in (asked[1],) if asked else SEPARATORS:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=False)
            found[mark] = [(lines.line_num, cells) for cells in lines if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise _unreadable(path, f"a line that cannot be taken apart ({error})", "a missing quotation mark") from error
    best = max(found, key=lambda mark: len(found[mark][0][1]) if found[mark] else 0)
    return found[best], best


def _unreadable(path: Path, found: str, cause: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected="a table with one header line, its columns separated by commas",
        cause=cause,
        fix="save it again as CSV UTF-8 (in Excel: Save as, CSV UTF-8), or take the file as it was before",
        code="F11",
    )
