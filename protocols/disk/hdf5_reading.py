"""HDF5 files of anybody: opened for reading alone, and walked through before a library reads them by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .foreign import allowed, check_regular, check_unpacked

MOST_NODES = 200_000
_BLOCK = 4096  # entries of text that are read at once


def open_hdf5(path: Path) -> Any:
    """The file, read-only and without locks (they fail on network shares).

    Raises
    ------
    DataError
        F13: no regular file.
    OSError, RuntimeError
        What h5py raises for a file that is none of its own.
    """
    check_regular(path)
    return h5py.File(path, "r", locking=False)


def check_size(path: Path, name: str, dataset: Any, *, selected: int | None = None) -> None:
    """Refuse a dataset that would unpack to far more than is stored, or of which `selected` elements fill the memory.

    Raises
    ------
    DataError
        F14
    """
    dtype, shape = dataset.dtype, dataset.shape
    if shape is None:
        return
    chunk = int(np.prod(dataset.chunks, dtype=object)) if dataset.chunks else 0
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    stored = min(int(dataset.id.get_storage_size()), os.path.getsize(path))
    check_unpacked(path, repr(name), chunk * dtype.itemsize, stored=stored)
    if size > allowed(stored):
        check_unpacked(path, repr(name), size, stored=stored)
    elif selected is None or selected * dtype.itemsize < size:
        check_unpacked(path, repr(name), size if selected is None else selected * dtype.itemsize, stored=size)


def read_text_of(path: Path, name: str, dataset: Any, *, view: Any = None, selection: Any = ()) -> NDArray[Any]:
    """The entries of a dataset of text of any length, as bytes, or as `view` gives them (``dataset.asstr()``).

    Raises
    ------
    DataError
        F14: entries that share their letters, and are together far longer than the file.
    """
    view = dataset if view is None else view
    if dataset.ndim == 0 or selection != ():
        return np.asarray(view[selection], dtype=object)
    most, total, blocks = allowed(os.path.getsize(path)), 0, []
    step = max(1, _BLOCK // max(1, int(np.prod(dataset.shape[1:], dtype=object))))
    for start in range(0, dataset.shape[0], step):
        block = np.asarray(view[start : start + step], dtype=object)
        total += sum(len(v) for v in block.reshape(-1) if isinstance(v, bytes | str))
        if total > most:
            check_unpacked(path, repr(name), total, stored=os.path.getsize(path))
        blocks.append(block)
    return np.concatenate(blocks) if blocks else np.zeros(dataset.shape, dtype=object)


def links_outside(path: Path, file: Any) -> Iterator[tuple[str, str]]:
    """Item and target of every link to a file outside the folder of `path`, and of every dataset stored in raw files.

    Virtual datasets count as links to their sources. Datasets that unpack to far more than they hold are refused on the
    way (`check_size`), so that a library may then read the file by itself.
    """
    folder = path.resolve().parent

    def outside(name: str) -> bool:
        return name != "." and not Path(os.path.normpath(folder / name)).resolve().is_relative_to(folder)

    waiting, seen, count = [("", file)], set[Any](), 0
    while waiting:
        above, group = waiting.pop()
        if group.id in seen:
            continue
        seen.add(group.id)
        for name in group:
            count += 1
            if count > MOST_NODES:
                raise OSError(f"more than {MOST_NODES} items")
            place, link = f"{above}/{name}", group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                if outside(link.filename):
                    yield place, link.filename
                continue
            if isinstance(link, h5py.SoftLink):
                continue
            item = group.get(name)
            if isinstance(item, h5py.Group):
                waiting.append((place, item))
            elif isinstance(item, h5py.Dataset):
                sources = [s.file_name for s in item.virtual_sources()] if item.is_virtual else []
                raw = [str(name) for name, *_ in item.external or ()]
                yield from ((place, target) for target in raw + [s for s in sources if outside(s)])
                if not item.is_virtual:
                    check_size(path, place, item, selected=0)
