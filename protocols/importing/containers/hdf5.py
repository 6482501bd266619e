"""HDF5 and netCDF 4: every dataset inside the file itself, read when it is asked for.

No link that leads out of the file is followed, and no type that could hold pickled objects is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.disk.hdf5_reading import check_size, read_text_of
from protocols.disk.hdf5_reading import open_hdf5 as open_file
from protocols.errors import UNUSABLE, DataError
from protocols.recordings.readers.filters import check_filters

from .columns import text_array
from .container import Container, Item, Selection, plain, words
from .refusals import not_numbers, unreadable

MOST_ITEMS = 50_000
_INNER = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def open_hdf5(path: Path) -> Container:
    """The datasets of an HDF5 or netCDF 4 file, by their path."""
    closes = ExitStack()
    notes: list[str] = []
    try:
        file = closes.enter_context(open_file(path))
        items = [item_of(path, name, dataset) for name, dataset in datasets(file, notes)]
        attributes = attributes_of(file)
        netcdf = "_NCProperties" in file.attrs or any(item.axes for item in items)
    except DataError:
        closes.close()
        raise
    except UNUSABLE as error:
        closes.close()
        raise unreadable(path, error, what="an HDF5 file") from error
    kind = "netCDF 4" if netcdf else "HDF5"
    return Container(path, kind, items, attributes=attributes, notes=notes, closes=closes)


def datasets(file: Any, notes: list[str], *, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every dataset inside the file and its path; links to elsewhere are told and not followed."""
    waiting, seen, count = [("", file)], {_address(file)}, 0
    while waiting:
        above, group = waiting.pop(0)
        for key in group:
            name = f"{above}/{key}".strip("/")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                notes.append(f"{name} is a link and was not followed")
                continue
            node = group[key]
            if name in skip or _address(node) in seen:
                continue
            count += 1
            if count > MOST_ITEMS:
                notes.append(f"the file holds more than {MOST_ITEMS} items: the others were not listed")
                return
            if isinstance(node, h5py.Group):
                seen.add(_address(node))
                waiting.append((name, node))
            elif isinstance(node, h5py.Dataset) and not plain(node.attrs.get("NAME", "")).startswith(_NO_VARIABLE):
                yield name, node


def _address(node: Any) -> tuple[int, int]:
    about = h5py.h5o.get_info(node.id)
    return int(about.fileno), int(about.addr)


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes that are text or numbers."""
    found = {}
    for name in node.attrs:
        try:
            value = node.attrs[name]
        except (OSError, TypeError, ValueError):
            continue
        kind = getattr(np.asarray(value).dtype, "kind", "O") if not isinstance(value, str | bytes) else "U"
        if name not in _INNER and (kind in "iufbSU" or isinstance(np.asarray(value).reshape(-1)[:1].tolist()[:1], str)):
            found[name] = plain(value)
    return found


def item_of(path: Path, name: str, dataset: Any) -> Item:
    """A dataset as it is stored."""
    kind, problem = type_of(dataset)
    inside = not (dataset.is_virtual or dataset.external)

    def load(selection: Selection) -> NDArray[Any]:
        if not inside:
            raise not_numbers(path, name, "data that lie in another file", fix="copy the data into this file")
        if problem:
            raise not_numbers(path, name, problem, fix="write it as an array of numbers or of text")
        check_filters(path, name, dataset)
        check_size(path, name, dataset, selected=selected_of(dataset.shape, selection))
        try:
            return read_values(path, name, dataset, selection=selection)
        except DataError:
            raise
        except UNUSABLE as error:
            raise unreadable(path, error, what=f"the array {name!r}") from error

    shape = tuple(int(n) for n in dataset.shape or ())
    return Item(
        name,
        shape,
        kind,
        load,
        axes=_axes(dataset),
        attributes=attributes_of(dataset),
        dataset=dataset if inside else None,
    )


def type_of(dataset: Any) -> tuple[str, str]:
    """The name of the type of a dataset, and what is wrong with it ("" where it can be read)."""
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError) as error:
        return "unknown", f"elements of an unknown type ({str(error)[:80]})"
    if dataset.shape is None:
        return "empty", "an item without elements"
    if h5py.check_string_dtype(dtype) is not None or (h5py.check_enum_dtype(dtype) is not None and dtype.kind != "b"):
        return "text", ""
    if dtype.kind in "iufb":
        return words(dtype), ""
    return ("table", "a compound type") if dtype.names else ("objects", f"elements of type {dtype}")


def selected_of(shape: Sequence[int], selection: Selection) -> int:
    """How many elements a selection cuts out."""
    lengths = [len(range(*s.indices(n))) for s, n in zip(selection, shape, strict=False)]
    return math.prod([*lengths, *shape[len(lengths) :]])


def read_values(path: Path, name: str, dataset: Any, *, selection: Selection) -> NDArray[Any]:
    """Numbers, or text, of a dataset or a part of it; enumerations by their names."""
    part = selection or ()
    if h5py.check_string_dtype(dataset.dtype) is not None:
        raw = read_text_of(path, name, dataset, selection=part)
        text = [_text(v) for v in raw.reshape(-1)]
        return text_array(path, text).reshape(raw.shape)
    array: NDArray[Any] = np.asarray(dataset[part])
    names = h5py.check_enum_dtype(dataset.dtype)
    if names is not None and array.dtype.kind != "b":
        by_number = {number: name for name, number in names.items()}
        return np.array([by_number.get(int(v), str(v)) for v in array.reshape(-1)], dtype=np.str_).reshape(array.shape)
    return array


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0")


def _axes(dataset: Any) -> tuple[str, ...]:
    """Names of the axes, where any is stated (dimension scales, labels)."""
    names = []
    for dimension in dataset.dims:
        try:
            scale = dimension[0].name.rsplit("/", 1)[-1] if len(dimension) else ""
        except (OSError, RuntimeError, ValueError):
            scale = ""
        names.append(scale or dimension.label)
    if dataset.ndim == 1 and plain(dataset.attrs.get("CLASS", "")) == "DIMENSION_SCALE":
        names = [dataset.name.rsplit("/", 1)[-1]]
    return tuple(names) if any(names) else ()
