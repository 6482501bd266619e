"""MATLAB 7.3 files, which are HDF5 with MATLAB's classes: axes in MATLAB's order, text, cell arrays, structs.

HDF5 stores the last axis of MATLAB first: a matrix trials x sites lies in the file as sites x trials. Shapes and arrays
are given as MATLAB shows them. Cell arrays and struct arrays are references into the group ``#refs#`` of the same file.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.disk.hdf5_reading import check_size, open_hdf5
from protocols.errors import UNUSABLE, DataError
from protocols.recordings.readers.filters import check_filters

from .columns import text_array
from .container import Container, Item, Selection, held, plain, words
from .hdf5 import attributes_of, selected_of
from .refusals import not_numbers, unreadable

MOST_CELLS = 2000
"""Elements of a cell array that are listed one by one."""
_NUMBERS = frozenset(
    ["double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
)
_HELP = {
    "sparse": "in MATLAB: save full(x)",
    "table": "in MATLAB: save its columns, such as x.image, or writetable(x, 'x.csv')",
    "timetable": "in MATLAB: writetimetable(x, 'x.csv')",
    "string": "in MATLAB: save cellstr(x)",
    "categorical": "in MATLAB: save cellstr(x)",
    "datetime": "in MATLAB: save posixtime(x), in seconds",
    "duration": "in MATLAB: save seconds(x)",
    "function_handle": "leave it out",
}


def open_matlab73(path: Path) -> Container:
    """The variables of a MATLAB 7.3 file; fields of structs by ``struct/field``, elements of cells by ``cell{1}``."""
    closes = ExitStack()
    notes: list[str] = []
    try:
        file = closes.enter_context(open_hdf5(path))
        items: list[Item] = []
        for key in file:
            if key in ("#refs#", "#subsystem#"):
                continue
            if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                notes.append(f"{key} is a link and was not followed")
                continue
            items += _walk(path, key, file[key], depth=0)
    except DataError:
        closes.close()
        raise
    except UNUSABLE as error:
        closes.close()
        raise unreadable(path, error, what="a MATLAB 7.3 file") from error
    return Container(path, "MATLAB 7.3", items, notes=notes, matlab=True, closes=closes)


def class_of(node: Any) -> str:
    """MATLAB's class of a variable; "" where none is stated."""
    if "MATLAB_sparse" in node.attrs:
        return "sparse"
    return str(plain(node.attrs.get("MATLAB_class", "")))


def _walk(path: Path, name: str, node: Any, *, depth: int) -> list[Item]:
    kind = class_of(node)
    if isinstance(node, h5py.Group):
        if kind in ("struct", "") and depth < 8:
            inner = [key for key in node if isinstance(node.get(key, getlink=True), h5py.HardLink)]
            return [item for key in inner for item in _walk(path, f"{name}/{key}", node[key], depth=depth + 1)]
        return [_refused(path, name, kind or "object", shape=())]
    shape = tuple(int(n) for n in (node.shape or ())[::-1])
    if node.is_virtual or node.external:
        return [_refused(path, name, "array in another file", shape=shape)]
    if plain(node.attrs.get("MATLAB_empty", 0)):
        return [held(name, np.zeros((0,)))]
    if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
        return _cells(path, name, node, depth=depth)
    if "MATLAB_object_decode" in node.attrs or (kind not in _NUMBERS | {"char", ""}):
        return [_refused(path, name, kind, shape=shape)]
    if kind == "char":
        text = _characters(_whole(path, name, node))
        return [held(name, text, attributes=attributes_of(node))]
    if node.dtype.kind not in "iufb":
        found = "complex numbers" if node.dtype.names == ("real", "imag") else str(node.dtype)
        return [_refused(path, name, found, shape=shape)]
    return [_numbers(path, name, node, kind=kind)]


def _numbers(path: Path, name: str, dataset: Any, *, kind: str) -> Item:
    def load(selection: Selection) -> NDArray[Any]:
        check_filters(path, name, dataset)
        check_size(path, name, dataset, selected=selected_of(dataset.shape[::-1], selection))
        whole = [slice(None)] * dataset.ndim
        whole[: len(selection)] = selection
        try:
            array = np.asarray(dataset[tuple(whole[::-1])]).T
        except UNUSABLE as error:
            raise unreadable(path, error, what=f"the variable {name!r}") from error
        return array.astype(bool) if kind == "logical" else array

    return Item(
        name,
        tuple(int(n) for n in dataset.shape[::-1]),
        "bool" if kind == "logical" else words(dataset.dtype),
        load,
        attributes=attributes_of(dataset),
        dataset=dataset,
        reversed=True,
    )


def _cells(path: Path, name: str, dataset: Any, *, depth: int) -> list[Item]:
    """A cell array, or one field of a struct array: text or numbers as one array, others one by one."""
    references = _whole(path, name, dataset).T
    nodes: list[Any] = [dataset.file[r] if r else None for r in references.reshape(-1, order="F")]
    if all(n is None or isinstance(n, h5py.Dataset) for n in nodes) and nodes:
        found = {class_of(n) for n in nodes if n is not None}
        empty = [n is None or bool(plain(n.attrs.get("MATLAB_empty", 0))) for n in nodes]
        texts = {class_of(n) for n, e in zip(nodes, empty, strict=True) if not e} <= {"char"}
        if texts and "char" in found:
            text = [
                "" if e else "\n".join(_characters(_whole(path, name, n)).reshape(-1))
                for n, e in zip(nodes, empty, strict=True)
            ]
            return [held(name, text_array(path, text).reshape(references.shape, order="F"))]
        if found <= _NUMBERS and all(not e and n.size == 1 for n, e in zip(nodes, empty, strict=True)):
            numbers = np.array([_whole(path, name, n).reshape(-1)[0] for n in nodes])
            return [held(name, numbers.reshape(references.shape, order="F"))]
    if depth > 4 or len(nodes) > MOST_CELLS:
        return [_refused(path, name, f"a cell array of {len(nodes)} elements of several kinds", shape=references.shape)]
    items: list[Item] = []
    for number, node in enumerate(nodes, 1):
        if node is not None:
            items += _walk(path, f"{name}{{{number}}}", node, depth=depth + 1)
    return items


def _whole(path: Path, name: str, dataset: Any) -> NDArray[Any]:
    """All elements of a dataset, where they lie in the file and are no more than it can hold."""
    if dataset.is_virtual or dataset.external:
        raise not_numbers(path, name, "data that lie in another file", fix="copy the data into this file")
    check_size(path, name, dataset)
    return np.asarray(dataset[()])


def _characters(codes: NDArray[Any]) -> NDArray[np.str_]:
    """The rows of a MATLAB char array, stored as (columns, rows) of UTF-16 units."""
    rows = codes.T.reshape(-1, codes.shape[0]) if codes.ndim > 1 else codes.reshape(1, -1)
    text = [np.ascontiguousarray(row, dtype="<u2").tobytes().decode("utf-16-le", "replace").rstrip() for row in rows]
    return np.array(text, dtype=np.str_)


def _refused(path: Path, name: str, kind: str, *, shape: tuple[int, ...]) -> Item:
    def load(selection: Selection) -> NDArray[Any]:
        raise not_numbers(path, name, f"MATLAB's {kind}", fix=_HELP.get(kind, "in MATLAB: save it as a numeric array"))

    return Item(name, shape, kind, load)
