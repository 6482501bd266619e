"""netCDF 3 (classic and 64-bit offset), through scipy."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.foreign import check_regular
from protocols.errors import UNUSABLE, DataError

from .container import Container, Item, Selection, cut, plain, words
from .refusals import unreadable


def open_netcdf3(path: Path) -> Container:
    """The variables of a netCDF 3 file, with the names of their dimensions."""
    from scipy.io import netcdf_file

    closes = ExitStack()
    try:
        check_regular(path)
        file: Any = closes.enter_context(netcdf_file(path, "r", mmap=False, maskandscale=False))
        items = [_item(name, variable) for name, variable in file.variables.items()]
        attributes = {name: plain(value) for name, value in file._attributes.items()}
    except DataError:
        closes.close()
        raise
    except UNUSABLE as error:
        closes.close()
        raise unreadable(path, error, what="a netCDF 3 file") from error
    return Container(path, "netCDF 3", items, attributes=attributes, closes=closes)


def _item(name: str, variable: Any) -> Item:
    array = np.asarray(variable.data)
    axes = tuple(variable.dimensions)
    if array.dtype.kind == "S" and array.ndim:  # text is stored letter by letter
        array, axes = _joined(array), axes[:-1]
    else:
        array = array.astype(array.dtype.newbyteorder("="))
    attributes = {key: plain(value) for key, value in variable._attributes.items()}

    def load(selection: Selection) -> NDArray[Any]:
        return cut(array, selection)

    return Item(name, tuple(array.shape), words(array.dtype), load, axes=axes, attributes=attributes)


def _joined(letters: NDArray[Any]) -> NDArray[np.str_]:
    """Rows of single letters (..., N) as text (...)."""
    flat = np.ascontiguousarray(letters).reshape(-1, letters.shape[-1])
    text = [b"".join(row.tolist()).decode("utf-8", "replace").strip("\0 ") for row in flat]
    return np.array(text, dtype=np.str_).reshape(letters.shape[:-1])
