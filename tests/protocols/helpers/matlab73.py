"""Files as MATLAB 7.3 writes them: HDF5 behind a header of 512 bytes, axes reversed, text as UTF-16 units, cells as references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def savemat73(path: Path, variables: Mapping[str, Any]) -> None:
    """Write arrays, text, lists of text (cells), lists of arrays (cells) and dicts (structs) as MATLAB's ``save -v7.3``."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, name, value)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2024 HDF5 schema 1.00 ."
    with open(path, "r+b") as handle:
        handle.write(header.ljust(116) + b" " * 8 + b"\x00\x02IM")


def _write(group: Any, name: str, value: Any) -> Any:
    if isinstance(value, dict):
        inner = group.create_group(name)
        inner.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, item in value.items():
            _write(inner, key, item)
        return inner
    if isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le"), dtype=np.uint16).reshape(-1, 1)
        node = group.create_dataset(name, data=codes)
        node.attrs["MATLAB_class"] = np.bytes_("char")
        node.attrs["MATLAB_int_decode"] = np.int32(2)
        return node
    if isinstance(value, list):  # a column of cells
        kept = group.file.require_group("#refs#")
        nodes = [_write(kept, f"r{len(kept)}", item) for item in value]
        references = np.array([[n.ref for n in nodes]], dtype=h5py.ref_dtype)
        node = group.create_dataset(name, data=references, dtype=h5py.ref_dtype)
        node.attrs["MATLAB_class"] = np.bytes_("cell")
        return node
    array = np.atleast_2d(np.asarray(value))
    logical = array.dtype.kind == "b"
    node = group.create_dataset(name, data=(array.astype(np.uint8) if logical else array).T)
    names = {"float64": "double", "float32": "single"}
    node.attrs["MATLAB_class"] = np.bytes_("logical" if logical else names.get(array.dtype.name, array.dtype.name))
    return node
