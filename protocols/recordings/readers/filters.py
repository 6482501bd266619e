"""Whether the compression of an item can be undone here."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from .finished import reader_error

# Registered filters that rigs use (https://portal.hdfgroup.org, "Registered filter plugins").
NAMES = {
    **{4: "SZIP", 307: "bzip2", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP"},
    **{32015: "Zstandard", 32017: "SZ", 32026: "Blosc2"},
}
# The package that brings most of them. It is no requirement of ours: it is loaded where it is installed and needed.
_PLUGINS = "hdf5plugin"


def check_filters(path: Path, name: str, dataset: Any) -> None:
    """R23: the item `name` is compressed with a filter that is not at hand."""
    created = dataset.id.get_create_plist()
    filters = [created.get_filter(n) for n in range(created.get_nfilters())]
    if any(not h5py.h5z.filter_avail(number) for number, *_ in filters):
        with suppress(ImportError):
            importlib.import_module(_PLUGINS)
    for number, _, _, stated in filters:
        if h5py.h5z.filter_avail(number) or _readable(dataset):  # a writer may have left its chunks as they are
            continue
        called = NAMES.get(number) or stated.decode("utf-8", "replace").strip() or "unknown"
        raise reader_error(
            path,
            found=f"'{name}' compressed with the filter {called} (number {number}), which is not installed here",
            expected="no compression, or one that every HDF5 reads (gzip)",
            cause="the rig writes with a compression plugin; the file itself may be whole",
            fix=f"`pip install {_PLUGINS}` and run the same command again; or write it anew with gzip (Python: "
            "compression='gzip'; MATLAB: h5create(..., 'ChunkSize', ..., 'Deflate', 4); a finished file, where the "
            "plugin is: h5repack -f GZIP=4 in.h5 out.h5)",
            code="R23",
        )


def _readable(dataset: Any) -> bool:
    try:
        dataset[()]
    except OSError:
        return False
    return True
