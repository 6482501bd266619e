"""Tables of text on disk."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from .files import write_text


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """A comma-separated table with LF line ends, atomically."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(path, buffer.getvalue())
