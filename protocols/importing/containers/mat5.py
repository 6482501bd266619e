"""MATLAB files up to version 7 (and version 4), through scipy: numbers when asked for, structs and cells at once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import UNUSABLE, DataError

from .columns import text_array
from .container import Container, Item, Selection, cut, held
from .mat5_scan import check_mat5
from .matlab73 import _HELP, MOST_CELLS
from .refusals import not_numbers, unreadable

_DTYPES = {"double": "float64", "single": "float32", "logical": "bool", "char": "text"}
_WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def open_mat5(path: Path) -> Container:
    """The variables of a MATLAB file; fields of structs by ``struct/field``, elements of cells by ``cell{1}``."""
    from scipy.io import whosmat
    from scipy.io.matlab import MatReadError

    items: list[Item] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy tells of objects, which are refused by name below
            check_mat5(path)
            for name, shape, kind in whosmat(str(path)):
                if kind in ("struct", "cell"):
                    items += _walk(path, name, _load(path, name), depth=0)
                elif kind in _DTYPES or kind in _WHOLE:
                    items.append(_lazy(path, name, (tuple(shape), kind)))
                else:
                    items.append(_refused(path, name, kind, shape=tuple(shape)))
    except DataError:
        raise
    except (*UNUSABLE, MatReadError) as error:
        raise unreadable(path, error, what="a MATLAB file") from error
    return Container(path, "MATLAB 7 or earlier", items, matlab=True)


def _load(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loadmat(str(path), variable_names=[name], chars_as_strings=True, mat_dtype=False)[name]


def _lazy(path: Path, name: str, about: tuple[tuple[int, ...], str]) -> Item:
    shape, kind = about
    if kind == "char":
        shape = shape[:1]

    def load(selection: Selection) -> NDArray[Any]:
        try:
            array = np.asarray(_load(path, name))
        except UNUSABLE as error:
            raise unreadable(path, error, what=f"the variable {name!r}") from error
        if array.dtype.kind == "c":
            raise not_numbers(path, name, "complex numbers", fix="in MATLAB: save abs(x), or real(x)")
        array = array.astype(bool) if kind == "logical" else array
        if kind == "double" and array.dtype != np.float64:
            array = array.astype(np.float64)  # MATLAB packs whole doubles into small types
        return cut(_stripped(array) if kind == "char" else array, selection)

    return Item(name, shape, _DTYPES.get(kind, kind), load)


def _walk(path: Path, name: str, value: Any, *, depth: int) -> list[Item]:
    array = np.asarray(value)
    if array.dtype.names and depth < 8:  # a struct, or an array of structs
        return [
            item for f in array.dtype.names for item in _walk(path, f"{name}/{f}", _field(array, f), depth=depth + 1)
        ]
    if array.dtype.kind in "iufb":
        return [held(name, array)]
    if array.dtype.kind == "U":
        return [held(name, _stripped(array))]
    if array.dtype.kind == "O" and type(value).__name__ in ("ndarray",):
        return _cells(path, name, array, depth=depth)
    kind = "sparse" if hasattr(value, "tocsc") else "complex numbers" if array.dtype.kind == "c" else "object"
    return [_refused(path, name, kind, shape=array.shape)]


def _field(structs: NDArray[Any], field: str) -> Any:
    values = structs[field]
    return values.reshape(-1)[0] if values.size == 1 else values


def _cells(path: Path, name: str, cells: NDArray[Any], *, depth: int) -> list[Item]:
    elements = [np.asarray(v) for v in cells.reshape(-1, order="F")]
    if elements and all(e.dtype.kind == "U" or not e.size for e in elements):
        text = ["\n".join(_stripped(e).reshape(-1)) if e.size else "" for e in elements]
        return [held(name, text_array(path, text).reshape(cells.shape, order="F"))]
    if elements and all(e.dtype.kind in "iufb" and e.size == 1 for e in elements):
        return [held(name, np.array([e.reshape(-1)[0] for e in elements]).reshape(cells.shape, order="F"))]
    if depth > 4 or len(elements) > MOST_CELLS:
        return [_refused(path, name, f"a cell array of {len(elements)} elements of several kinds", shape=cells.shape)]
    found: list[Item] = []
    for number, element in enumerate(cells.reshape(-1, order="F"), 1):
        found += _walk(path, f"{name}{{{number}}}", element, depth=depth + 1)
    return found


def _stripped(text: NDArray[Any]) -> NDArray[np.str_]:
    rows = [str(v).rstrip() for v in text.reshape(-1)]
    return np.array(rows, dtype=np.str_).reshape(text.shape)


def _refused(path: Path, name: str, kind: str, *, shape: tuple[int, ...]) -> Item:
    def load(selection: Selection) -> NDArray[Any]:
        raise not_numbers(path, name, f"MATLAB's {kind}", fix=_HELP.get(kind, "in MATLAB: save it as a numeric array"))

    return Item(name, shape, kind, load)
