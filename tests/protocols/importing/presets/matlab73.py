"""MAT files of version 7.3 as MATLAB writes them: HDF5 behind a header of 512 bytes, dimensions reversed, classes stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."


class StructArray:
    """A struct array of 1 x N: every field holds N references."""

    def __init__(self, **fields: list[Any]) -> None:
        self.fields = fields


def save73(path: Path, **variables: Any) -> Path:
    """Arrays are given as MATLAB shows them; a list is a cell of N x 1, a str is char, a dict a struct."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _put(file, file, name, value)
    with path.open("r+b") as stream:
        stream.write(HEADER.ljust(116, b" ") + bytes(8) + b"\x00\x02IM")
    return path


def _put(file: h5py.File, parent: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, (dict, StructArray)):
        group = parent.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        fields = value if isinstance(value, dict) else value.fields
        for key, entry in fields.items():
            if isinstance(value, dict):
                _put(file, group, key, entry)
            else:
                group.create_dataset(key, data=_references(file, entry)[:, None])
    elif isinstance(value, list):
        cell = parent.create_dataset(name, data=_references(file, value)[None, :])
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
    else:
        _array(parent, name, value)


def _array(parent: h5py.Group, name: str, value: Any) -> h5py.Dataset:
    if isinstance(value, str):
        data = parent.create_dataset(name, data=np.array([[ord(c)] for c in value], np.uint16))
        data.attrs["MATLAB_class"] = np.bytes_("char")
        data.attrs["MATLAB_int_decode"] = np.int32(2)
        return data
    array = np.atleast_2d(value)
    data = parent.create_dataset(name, data=array.T, compression="gzip", compression_opts=1)
    kinds = {"f8": "double", "f4": "single", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "i8": "int64"}
    data.attrs["MATLAB_class"] = np.bytes_(kinds[array.dtype.str[1:]])
    return data


def _references(file: h5py.File, values: list[Any]) -> np.ndarray:
    store = file.require_group("#refs#")
    first = len(store)
    made = np.empty(len(values), dtype=h5py.ref_dtype)
    for i, value in enumerate(values):
        made[i] = _array(store, f"r{first + i}", value).ref
    return made
