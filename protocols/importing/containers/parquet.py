"""Parquet tables, through pyarrow: one array per column, read when it is asked for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.foreign import check_regular, check_unpacked
from protocols.errors import UNUSABLE, DataError

from .columns import text_array
from .container import Container, Item, Selection, cut, words
from .refusals import library_missing, not_numbers, unreadable


def open_parquet(path: Path) -> Container:
    """The columns of a Parquet file; lists of one length become a matrix."""
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise library_missing(path, "pyarrow", "tables") from error
    closes = ExitStack()
    try:
        check_regular(path)
        file = closes.enter_context(parquet.ParquetFile(path))
        _check_size(path, file.metadata)
        fields, rows = list(file.schema_arrow), file.metadata.num_rows
    except DataError:
        closes.close()
        raise
    except UNUSABLE as error:
        closes.close()
        raise unreadable(path, error, what="a Parquet file") from error
    items = [_item(path, file, field, rows=rows, types=types) for field in fields]
    return Container(path, "Parquet", items, is_table=True, closes=closes)


def _check_size(path: Path, about: Any) -> None:
    """Few bytes may stand for many equal values (F14)."""
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    values = sum(max(int(c.num_values), 0) * 8 + max(int(c.total_uncompressed_size), 0) for c in columns)
    check_unpacked(path, "a table", values, stored=path.stat().st_size)


def _item(path: Path, file: Any, field: Any, *, rows: int, types: Any) -> Item:
    kind = field.type
    inner = kind.value_type if types.is_dictionary(kind) else kind
    listed = types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind)
    text = types.is_string(inner) or types.is_large_string(inner)

    def load(selection: Selection) -> NDArray[Any]:
        try:
            column = file.read(columns=[field.name]).column(0).combine_chunks()
        except UNUSABLE as error:
            raise unreadable(path, error, what=f"the column {field.name!r}") from error
        if text:
            return cut(text_array(path, ["" if v is None else str(v) for v in column.to_pylist()]), selection)
        if listed:
            return cut(_matrix(path, field.name, column), selection)
        if types.is_timestamp(kind) or types.is_temporal(kind):
            raise not_numbers(path, field.name, f"times ({kind})", fix="write them as a number of seconds")
        array = column.to_numpy(zero_copy_only=False)
        if array.dtype.kind not in "iufb":
            raise not_numbers(path, field.name, f"elements of type {kind}", fix="write numbers or text")
        return cut(array, selection)

    if listed:
        width = kind.list_size if types.is_fixed_size_list(kind) else len(load(())[0]) if rows else 0
        return Item(field.name, (rows, width), words(np.dtype(kind.value_type.to_pandas_dtype())), load)
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    dtype = "text" if text else words(np.dtype(kind.to_pandas_dtype())) if plain else str(kind)
    return Item(field.name, (rows,), dtype, load)


def _matrix(path: Path, name: str, column: Any) -> NDArray[Any]:
    rows = column.to_pylist()
    lengths = {len(row) if row is not None else -1 for row in rows}
    if len(lengths) > 1 or -1 in lengths:
        raise not_numbers(
            path, name, f"lists of {min(lengths)} to {max(lengths)} elements", fix="write lists of one length"
        )
    return np.asarray(rows)
