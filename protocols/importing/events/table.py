"""The event table that comes beside spikes or traces: one row per presentation, with its onset and its image.

It is a table of text (CSV or TSV), Parquet, or a structured numpy array. The unit of the onsets is never guessed.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocols.arrays import Floats
from protocols.disk.foreign import read_bytes
from protocols.disk.numpy_files import load_npy
from protocols.errors import UNUSABLE, DataError
from protocols.importing.containers.columns import with_points
from protocols.importing.containers.text_table import decoded, table_rows

from .image_numbers import MISSING, TEMPLATE, Numbered, names_by_number, positions

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".npy")
_YES = ("1", "1.0", "true", "yes", "good", "valid", "ok", "correct", "completed")
_NO = ("0", "0.0", "false", "no", "bad", "invalid", "aborted", "rejected", "excluded", "incorrect", "incomplete")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TRIAL = {"block": int, "rep": int, "valid": str, "averaged_over": int, "on_ms": float}


class EventColumns(BaseModel):
    """What the columns of an event table mean: the table ``[NAME.events]`` of map.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    onset_unit: Literal["s", "ms", "samples"] | None = Field(
        default=None, description="[unit] of the onsets, never guessed"
    )
    onset: str = Field(default="onset", description="[column] when the image came on")
    image: str = Field(default="image", description="[column] which image was shown: a name, or a number")
    block: str | None = Field(
        default=None, description="[column] block; absent: the column of this name, where there is one"
    )
    rep: str | None = Field(default=None, description="[column] repetition of the image")
    valid: str | None = Field(default=None, description="[column] 0 for an aborted presentation")
    averaged_over: str | None = Field(default=None, description="[column] presentations behind a row of averages")
    on_ms: str | None = Field(default=None, description="[column] how long the image was shown, ms")
    only: dict[str, list[str]] = Field(default={}, description="[column] rows to take: those with one of these words")
    index_base: Literal[0, 1] | None = Field(
        default=None, description="the image column counts the sorted photographs from it"
    )
    image_name: str | None = Field(
        default=None, description="[template] file name of image number n, such as nsd{:05d}.png"
    )
    ids_from: Literal[0, 1] | None = Field(default=None, description="the image column counts from it; with image_name")
    names_from: Literal[0, 1] | None = Field(default=None, description="the file names count from it; with image_name")
    first_sample: Literal[0, 1] = Field(default=0, description="number of the first sample of the clock (MATLAB: 1)")
    samples_per_s: float | None = Field(
        default=None, gt=0, description="[Hz] of onsets in samples; absent: that of the data"
    )
    clock_scale: float = Field(
        default=1.0, gt=0, description="time of the recording = onset x clock_scale + clock_offset_s"
    )
    clock_offset_s: float = Field(default=0.0, description="[s]")
    part_of_recording: bool = Field(default=False, description="images were shown in less than 5 % of the recording")

    @model_validator(mode="after")
    def _templates_count(self) -> EventColumns:
        if self.image_name is not None:
            if TEMPLATE.fullmatch(self.image_name) is None:
                raise ValueError("image_name holds {} or {:05d} once, for the number of the image")
            if self.ids_from is None or self.names_from is None:
                raise ValueError("image_name needs ids_from and names_from: 0 or 1, where each of them counts from")
            if self.index_base is not None:
                raise ValueError("image_name and index_base are two ways of naming an image: state one")
        elif self.ids_from is not None or self.names_from is not None:
            raise ValueError("ids_from and names_from go with image_name")
        return self


@dataclass(frozen=True)
class EventTable:
    """The rows of an event table that are used.

    Parameters
    ----------
    path : Path
        For errors.
    onset : array of shape (T,), float
        In the unit of the table, NaN where a row has none; all NaN where the table has no such column.
    image : array of shape (T,)
        Names, or positions among the sorted photographs.
    trial : mapping of str to array of shape (T,)
        Columns for ``trial/`` of responses/1.
    columns : mapping of str to list of T str
        Every column as text.
    notes : tuple of str
    """

    path: Path
    onset: Floats
    image: NDArray[Any]
    trial: Mapping[str, NDArray[Any]]
    columns: Mapping[str, list[str]]
    notes: tuple[str, ...] = ()

    def used(self) -> NDArray[np.bool_]:
        """Rows that are not marked invalid, (T,)."""
        column = self.trial.get("valid")
        if column is None:
            return np.ones(len(self.image), dtype=np.bool_)
        return np.array([str(v) != "0" for v in column], dtype=np.bool_)


def tables_among(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The event tables among the files, by their endings, and the others."""
    tables = [f for f in files if f.suffix.lower() in ENDINGS and not f.is_dir()]
    return tables, [f for f in files if f not in tables]


def read_events(files: Sequence[Path], columns: EventColumns, *, timed: bool = True) -> EventTable:
    """Read one event table and take what `columns` name.

    Parameters
    ----------
    files : sequence of Path
        The event tables that were given: one of them is expected.
    columns : EventColumns
    timed : bool
        False: the table needs no onsets (betas).

    Raises
    ------
    DataError
        H10: no table, several, or one that cannot be read; H11: a column is missing, or a cell is not what its column
        holds.
    """
    if len(files) != 1:
        names = ", ".join(f.name for f in files) or "none"
        raise _unread(files[0] if files else Path("events"), f"{len(files)} event tables ({names})", "one of them")
    path = files[0]
    read = read_columns(path)
    notes: list[str] = []
    read = _rows_wanted(path, read, columns, notes=notes)
    if timed and columns.onset_unit is None:
        raise _refused(
            path,
            f"onsets in the column {columns.onset!r} without a unit",
            expected="onset_unit: s, ms or samples",
            cause="times without a unit may be seconds, milliseconds or samples: a factor of 1000 or 30000",
            fix='state it: onset_unit = "s" in the table events of map.toml',
        )
    image = images_of(path, _column(path, read, columns.image), columns, notes=notes)
    onset = np.full(len(image), np.nan)
    if timed or columns.onset in read:
        onset = _numbers(path, columns.onset, _column(path, read, columns.onset))
    trial = {}
    for name, kind in _TRIAL.items():
        stated = getattr(columns, name)
        if stated is not None or name in read:
            trial[name] = _trial_column(path, stated or name, _column(path, read, stated or name), kind=kind)
    table = EventTable(path=path, onset=onset, image=image, trial=trial, columns=read, notes=tuple(notes))
    bare = int((table.used() & np.isnan(onset)).sum()) if timed else 0
    if bare:
        raise _refused(
            path,
            f"{bare} rows without an onset in the column {columns.onset!r}",
            expected="a time for every presentation",
            cause="rows of aborted presentations, or a table that was joined with another one",
            fix="fill in the times, or mark these rows in a column valid (0 = not to be used)",
        )
    return table


def read_columns(path: Path) -> dict[str, list[str]]:
    """Every column of a table as text, by its name; numbers keep all of their digits.

    Raises
    ------
    DataError
        H10: the table cannot be read, is empty, or has two columns of one name.
    """
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            table = _parquet(path)
        elif ending == ".npy":
            table = _structured(path)
        else:
            table = _text(path)
    except (*UNUSABLE, csv.Error, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise _unread(path, str(error).splitlines()[0] if str(error) else "nothing", _FORM) from error
    if not table or not len(next(iter(table.values()))):
        raise _unread(path, "no rows", _FORM)
    return table


_FORM = "a header, then one row per presentation (CSV, TSV, Parquet, or a structured .npy)"


def joined(tables: Sequence[EventTable]) -> EventTable:
    """Tables of several runs as one; a column that one of them lacks is left out and told."""
    first = tables[0]
    if len(tables) == 1:
        return first
    shared = [name for name in first.trial if all(name in t.trial for t in tables)]
    told = [f"the column {n} is not in every event table and was left out" for n in first.trial if n not in shared]
    common = [name for name in first.columns if all(name in t.columns for t in tables)]
    return replace(
        first,
        onset=np.concatenate([t.onset for t in tables]),
        image=np.concatenate([t.image for t in tables]),
        trial={n: np.concatenate([t.trial[n] for t in tables]) for n in shared},
        columns={n: [cell for t in tables for cell in t.columns[n]] for n in common},
        notes=(*dict.fromkeys(note for t in tables for note in t.notes), *told),
    )


def _text(path: Path) -> dict[str, list[str]]:
    rows, separator = table_rows(decoded(read_bytes(path)), [])
    header = [name.strip() for name in rows[0]] if rows else []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells in row {number}, below a header of {len(header)}")
    columns = [[row[n].strip() for row in rows[1:]] for n in range(len(header))]
    return _named(header, [with_points(cells) for cells in columns] if separator == ";" else columns)


def _structured(path: Path) -> dict[str, list[str]]:
    array = load_npy(path)
    names = array.dtype.names
    if names is None:
        raise ValueError(f"an array of {array.dtype} without named columns")
    array = np.atleast_1d(array.squeeze())
    return _named(list(names), [[_cell(v) for v in array[name]] for name in names])


def _parquet(path: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            path.name,
            found="a Parquet file, and no library that reads it",
            expected="the package pyarrow",
            cause="it is an optional part",
            fix="pip install 'stimsynth[tables]', or write the events as CSV",
            code="H10",
        ) from error
    table = parquet.ParquetFile(path).read()
    return _named(table.column_names, [[_cell(v) for v in column.to_pylist()] for column in table.columns])


def _named(header: Sequence[str], cells: Sequence[list[str]]) -> dict[str, list[str]]:
    twice = [name for name, number in Counter(header).items() if number > 1 or not name]
    if twice:
        raise ValueError(f"columns with one name or none: {', '.join(repr(n) for n in twice)}")
    return dict(zip(header, cells, strict=True))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if isinstance(value, float | np.floating):
        return repr(float(value))
    return str(value).strip()


def _column(path: Path, read: Mapping[str, list[str]], name: str) -> list[str]:
    if name not in read:
        raise _refused(
            path,
            f"no column {name!r}; there are {', '.join(read)}",
            expected=f"a column {name!r}",
            cause="the table names it otherwise",
            fix='name the column in the table events of map.toml, such as image = "stim_file" or onset = "start"',
        )
    return read[name]


def _rows_wanted(
    path: Path, read: dict[str, list[str]], columns: EventColumns, *, notes: list[str]
) -> dict[str, list[str]]:
    keep = np.ones(len(next(iter(read.values()))), dtype=np.bool_)
    for name, words in columns.only.items():
        keep &= np.isin(np.array(_column(path, read, name)), words)
        if not keep.any():
            found = ", ".join(sorted(set(read[name]))[:6])
            raise _refused(
                path,
                f"no row with {name} = {' or '.join(words)}; there are {found}",
                expected="rows of images",
                cause="the words of this column are others",
                fix="correct `only` in the table events of map.toml",
            )
    if not keep.all():
        notes.append(f"{int(keep.sum())} of {len(keep)} rows of {path.name} were taken, by {', '.join(columns.only)}")
    return {name: [cell for cell, kept in zip(cells, keep, strict=True) if kept] for name, cells in read.items()}


def images_of(path: Path, cells: list[str], columns: EventColumns, *, notes: list[str]) -> NDArray[Any]:
    """The image of each row, (T,): names, or positions where they count the photographs.

    Raises
    ------
    DataError
        H11: numbers with a point, which are no names; H13: see `image_numbers`.
    """
    cells = ["" if cell.lower() in MISSING else cell for cell in cells]
    named = [cell for cell in cells if cell]
    broken = [c for c in named if re.fullmatch(r"[+-]?\d+\.\d*|[+-]?\d+(\.\d*)?[eE][+-]?\d+", c)]
    if broken and len(broken) == len(named):
        raise _refused(
            path,
            f"images such as {broken[0]} in the column {columns.image!r}: numbers with a point",
            expected="names, or whole numbers",
            cause="a program made floating-point numbers of a column of whole numbers with gaps (missing values)",
            fix="write the images as text or whole numbers, with empty cells where there is none",
        )
    if columns.image_name is not None and columns.ids_from is not None and columns.names_from is not None:
        rule = Numbered(columns.image_name, columns.ids_from, columns.names_from)
        return names_by_number(path, columns.image, cells, rule=rule, notes=notes)
    if columns.index_base is not None:
        return positions(path, columns.image, cells, base=columns.index_base)
    return np.array(cells, dtype=np.str_)


def _numbers(path: Path, name: str, cells: list[str]) -> Floats:
    strange = [c for c in cells if c.lower() not in MISSING and _NUMBER.fullmatch(c) is None]
    if strange:
        comma = "," in strange[0]
        raise _refused(
            path,
            f"{strange[0]!r} in the column {name!r}",
            expected="numbers, such as 12.5",
            cause="numbers with a decimal comma" if comma else "the column holds something else, or clock times",
            fix="write numbers with a point" if comma else "name another column in the table events of map.toml",
        )
    return np.array([np.nan if c.lower() in MISSING else float(c) for c in cells], dtype=np.float64)


def _trial_column(path: Path, name: str, cells: list[str], *, kind: type) -> NDArray[Any]:
    if kind is str:
        words = [c.lower() for c in cells]
        known = all(w in _YES or w in _NO for w in words)
        return np.array([int(w in _YES) for w in words]) if known else np.array(cells, dtype=np.str_)
    numbers = _numbers(path, name, cells)
    exact = np.all(np.isfinite(numbers)) and not np.any(numbers % 1)
    return numbers.astype(np.int64) if kind is int and exact else numbers


def _unread(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="an event table is not there, or was written by another program",
        fix="give the folder or files of the recording and one table: onset, image, and block, rep, valid where known",
        code="H10",
    )


def _refused(path: Path, found: str, *, expected: str, cause: str, fix: str) -> DataError:
    return DataError(path.name, found=found, expected=expected, cause=cause, fix=fix, code="H11")
