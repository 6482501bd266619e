"""Arrays that numpy wrote: .npy and .npz, never with pickled objects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.foreign import open_regular
from protocols.disk.numpy_files import Header, NpzFile, UnreadableArray, load_npy, read_header
from protocols.disk.numpy_files import open_npz as open_archive
from protocols.errors import DataError

from .container import Container, Item, Selection, cut, words
from .refusals import unreadable, unsafe

_PICKLED = "in Python: np.save(name, array.astype(float)), or one array per column, with dtype other than object"


def open_npy(path: Path) -> Container:
    """A .npy file: one array, called "array", or one per field of a structured one; read from disk when asked for."""
    try:
        with open_regular(path) as handle:
            header = read_header(handle, path.stat().st_size)
    except UnreadableArray as error:
        raise unreadable(path, error, what="a .npy file") from error

    def whole() -> NDArray[Any]:
        try:
            return load_npy(path)
        except UnreadableArray as error:
            raise unreadable(path, error, what="a .npy file") from error

    return Container(path, "numpy", _items(path, "array", header, whole=whole))


def open_npz(path: Path) -> Container:
    """A .npz file: one array per member."""
    closes, items = ExitStack(), []
    try:
        archive = closes.enter_context(open_archive(path))
        for name in archive.members:
            items += _items(path, name, archive.header(name), whole=_member(path, archive, name))
    except UnreadableArray as error:
        closes.close()
        raise unreadable(path, error, what="a .npz file") from error
    except DataError:
        closes.close()
        raise
    return Container(path, "numpy archive", items, closes=closes)


def _member(path: Path, archive: NpzFile, name: str) -> Callable[[], NDArray[Any]]:
    def whole() -> NDArray[Any]:
        try:
            return archive[name]
        except UnreadableArray as error:
            raise unreadable(path, error, what="a .npz file") from error

    return whole


def _items(path: Path, name: str, header: Header, *, whole: Callable[[], NDArray[Any]]) -> list[Item]:
    shape, dtype = header.shape, header.dtype
    if dtype.names:
        fields = [(field, dtype[field]) for field in dtype.names]
        return [_item(path, f"{name}/{field}", (shape, t), whole=lambda f=field: whole()[f]) for field, t in fields]  # type: ignore[misc]
    return [_item(path, name, (shape, dtype), whole=whole)]


def _item(
    path: Path, name: str, kind: tuple[tuple[int, ...], np.dtype[Any]], *, whole: Callable[[], NDArray[Any]]
) -> Item:
    shape, dtype = kind

    def load(selection: Selection) -> NDArray[Any]:
        if dtype.hasobject:
            raise unsafe(path, f"the array {name!r} of pickled objects", _PICKLED)
        array = cut(whole(), selection)
        try:
            return np.char.decode(array, "utf-8") if dtype.kind == "S" else array
        except UnicodeDecodeError as error:
            raise unreadable(path, f"{name}: text that is not UTF-8", what="an array of text") from error

    return Item(name, shape + dtype.shape, "pickled objects" if dtype.hasobject else words(dtype.base), load)
