"""Tables of text on disk, comma-separated."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .files import write_text


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one line for the `header` and one per row, as UTF-8 with LF line ends, atomically."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(path, buffer.getvalue())


def parse_table(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """The header of a comma-separated table, and its rows as dicts of column to text (None where a line is too
    short).
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return list(reader.fieldnames or ()), list(reader)


def read_table(path: str | Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a comma-separated file in UTF-8, with or without a byte order mark; see `parse_table`.

    Raises
    ------
    OSError, UnicodeDecodeError
        The file cannot be read, or is not UTF-8.
    """
    return parse_table(Path(path).read_bytes().decode("utf-8-sig"))
