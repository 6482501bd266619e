"""Excel workbooks (.xlsx): the stored values of every sheet, one array per column. No formula is computed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from protocols.disk.archives import open_zip
from protocols.errors import UNUSABLE, DataError

from .columns import typed
from .container import Container, Item, held
from .refusals import library_missing, not_numbers, unreadable

_PROLOG = 1 << 16


def open_xlsx(path: Path) -> Container:
    """The columns of every sheet: ``column`` where there is one sheet, else ``sheet/column``."""
    try:
        import openpyxl
    except ImportError as error:
        raise library_missing(path, "openpyxl", "tables") from error
    notes: list[str] = []
    try:
        with open_zip(path) as archive:
            _refuse_entities(archive)
        books = [openpyxl.load_workbook(path, read_only=True, data_only=stored) for stored in (True, False)]
    except DataError:
        raise
    except UNUSABLE as error:
        raise unreadable(path, error, what="a workbook") from error
    try:
        items = _sheets(path, books, notes)
    except DataError:
        raise
    except UNUSABLE as error:
        raise unreadable(path, error, what="a workbook") from error
    finally:
        for book in books:
            book.close()
    return Container(path, "Excel", items, notes=notes, is_table=True)


def _refuse_entities(archive: zipfile.ZipFile) -> None:
    """A workbook declares no entities: they stand for other files, or for more text than there is memory."""
    for member in archive.infolist():
        if member.filename.endswith((".xml", ".rels")):
            with archive.open(member) as file:
                head = file.read(_PROLOG).replace(b"\0", b"")  # UTF-16 too
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise ValueError(f"{member.filename} declares entities, which no workbook does")


def _sheets(path: Path, books: list[Any], notes: list[str]) -> list[Item]:
    items: list[Item] = []
    for sheet in books[0].worksheets:
        rows = list(sheet.iter_rows(values_only=True))
        _check_formulas(path, rows, books[1][sheet.title], notes=notes)
        items += _columns(path, rows, prefix=f"{sheet.title}/" if len(books[0].worksheets) > 1 else "")
    return items


def _check_formulas(path: Path, stored: list[tuple[Any, ...]], sheet: Any, *, notes: list[str]) -> None:
    """Tell of formulas, and refuse those whose value was never stored."""
    count = 0
    for number, row in enumerate(sheet.iter_rows()):
        for place, cell in enumerate(row):
            if getattr(cell, "data_type", "n") == "f":
                count += 1
                if stored[number][place] is None:
                    where = f"{sheet.title}!{cell.coordinate}"
                    fix = "open and save it in Excel or LibreOffice, or save the table as CSV"
                    raise not_numbers(path, where, "a formula whose value was never computed", fix=fix)
    if count:
        notes.append(f"{count} cells of {sheet.title!r} are formulas: the values that were stored with them were taken")


def _columns(path: Path, rows: list[tuple[Any, ...]], prefix: str) -> list[Item]:
    filled = [row for row in rows if any(v is not None for v in row)]
    if not filled:
        return []
    items = []
    for place, name in enumerate(filled[0]):
        cells = [row[place] for row in filled[1:]]
        if name is not None or any(v is not None for v in cells):
            title = str(name).strip() if name is not None else f"column {place + 1}"
            items.append(held(prefix + title, typed(path, [_cell(v) for v in cells])))
    return items


def _cell(value: Any) -> str:
    """A cell as text that `typed` reads back: whole floats are numbers that Excel stores as such."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)
