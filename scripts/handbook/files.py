"""A file of a project as its schema sees it: what is validated against docs/schemas/."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def seen(path: Path) -> Iterator[Any]:
    """The objects of a file that are validated one by one: each row of a table, else the whole."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    elif path.suffix == ".toml":
        yield tomllib.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".json":
        yield json.loads(path.read_text(encoding="utf-8"))
    else:
        yield hdf5(path)


def hdf5(path: Path) -> dict[str, Any]:
    """Items (type and shape) and root attributes of an HDF5 file."""
    items: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            text = h5py.check_string_dtype(node.dtype) is not None
            items[name] = {"dtype": "text" if text else str(node.dtype), "shape": list(node.shape)}

    with h5py.File(path) as file:
        file.visititems(note)
        attributes = {name: plain(value) for name, value in file.attrs.items()}
    return {"items": items, "attributes": attributes}


def plain(value: Any) -> Any:
    """An attribute as JSON has it; MATLAB's 1 x N as a list of N."""
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    return value.item() if isinstance(value, np.generic) else value
