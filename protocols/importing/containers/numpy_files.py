"""Arrays that numpy wrote: .npy and .npz, never with pickled objects."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import UNUSABLE

from .container import Container, Item, Selection, cut, words
from .refusals import unreadable, unsafe

_PICKLED = "in Python: np.save(name, array.astype(float)), or one array per column, with dtype other than object"


def open_npy(path: Path) -> Container:
    """A .npy file: one array, called "array", or one per field of a structured one; read from disk when asked for."""
    with open(path, "rb") as handle:
        shape, dtype, begin = _header(path, handle)
    size = begin + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not dtype.hasobject and path.stat().st_size < size:
        raise unreadable(path, f"{path.stat().st_size} bytes of {size}", what="a .npy file")

    def whole() -> NDArray[Any]:
        mapped: NDArray[Any] = np.load(
            path, allow_pickle=False, mmap_mode="r" if dtype.itemsize and np.prod(shape) else None
        )
        return mapped

    return Container(path, "numpy", _items(path, "array", (shape, dtype), whole=whole))


def open_npz(path: Path) -> Container:
    """A .npz file: one array per member."""
    closes, items = ExitStack(), []
    try:
        archive = closes.enter_context(zipfile.ZipFile(path))
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as handle:
                    shape, dtype, _ = _header(path, handle)
                items += _items(
                    path, member.filename[:-4], (shape, dtype), whole=_member(path, archive, member.filename)
                )
    except (zipfile.BadZipFile, EOFError) as error:
        closes.close()
        raise unreadable(path, error, what="a .npz file") from error
    return Container(path, "numpy archive", items, closes=closes)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Callable[[], NDArray[Any]]:
    def whole() -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        except (*UNUSABLE, zipfile.BadZipFile) as error:
            raise unreadable(path, error, what="a .npz file") from error
        return array

    return whole


def _header(path: Path, handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    try:
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(handle)
    except UNUSABLE as error:
        raise unreadable(path, error, what="a .npy array") from error
    return shape, dtype, handle.tell()


def _items(
    path: Path, name: str, kind: tuple[tuple[int, ...], np.dtype[Any]], *, whole: Callable[[], NDArray[Any]]
) -> list[Item]:
    shape, dtype = kind
    if dtype.names:
        fields = [(field, dtype[field]) for field in dtype.names]
        return [_item(path, f"{name}/{field}", (shape, t), whole=lambda f=field: whole()[f]) for field, t in fields]  # type: ignore[misc]
    return [_item(path, name, kind, whole=whole)]


def _item(
    path: Path, name: str, kind: tuple[tuple[int, ...], np.dtype[Any]], *, whole: Callable[[], NDArray[Any]]
) -> Item:
    shape, dtype = kind

    def load(selection: Selection) -> NDArray[Any]:
        if dtype.hasobject:
            raise unsafe(path, f"the array {name!r} of pickled objects", _PICKLED)
        array = cut(whole(), selection)
        return np.char.decode(array, "utf-8") if dtype.kind == "S" else array

    return Item(name, shape + dtype.shape, "pickled objects" if dtype.hasobject else words(dtype.base), load)
