"""Opening an HDF5 file that a rig wrote: what it is, what it holds, which way round its matrices lie."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.disk.foreign import open_regular
from protocols.disk.hdf5_reading import check_size, open_hdf5
from protocols.errors import DataError
from protocols.recordings.units import UNITS

from .declared import Item, decode
from .filters import check_filters
from .finished import check_finished, reader_error

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_file(path: Path) -> Iterator[File]:
    """The checked file, read-only and without locks (they fail on network shares)."""
    check_kind(path)
    try:
        with open_hdf5(path) as handle:
            yield File(path, handle)
    except (OSError, RuntimeError, KeyError) as error:
        raise reader_error(
            path,
            found=f"an HDF5 file that cannot be read ({str(error)[:120]})",
            expected="a complete file",
            cause="it is still being written or copied, or the copy was cut short",
            fix="wait until it is complete (write it as .part, rename it, then make the .done file), or copy it again",
            code="R03",
        ) from error


def check_kind(path: Path) -> None:
    """Refuse what is no finished HDF5 file by its name and first bytes: R14, R16 (`check_finished`), R01, R02."""
    check_finished(path)
    with open_regular(path) as handle:
        head = handle.read(520)
        blocks = [0, *(2**k for k in range(9, 16))]  # a user block of any size may stand before the file itself
        found = any(handle.seek(begin) == begin and handle.read(8) == _SIGNATURE for begin in blocks)
    mat = head.startswith(b"MATLAB 7.3 MAT-file")
    if mat or head.startswith(b"MATLAB 5.0 MAT-file"):
        raise reader_error(
            path,
            found=f"a MATLAB {'7.3' if mat else '5'} MAT-file",
            expected="an HDF5 file of the schema responses/1",
            cause="the variables were saved with `save`, which keeps neither units nor attributes",
            fix="write it with h5create, h5write and h5writeatt, as README.txt in the outbox shows",
            code="R02",
        )
    if not found:
        raise reader_error(
            path,
            found="no content" if not head else f"a file that begins with {head[:8]!r}",
            expected="an HDF5 file",
            cause="the file is still being written" if not head else "a table or MAT-file was renamed to .h5",
            fix="write it with h5py or MATLAB's h5write, as README.txt in the outbox shows",
            code="R01",
        )


class File:
    """An open file: items by name, strings of every kind, matrices turned to (trial, site).

    Nothing outside the file is ever followed: external links, external storage and virtual datasets are refused, and so
    is every type that could hold pickled objects.
    """

    def __init__(self, path: Path, handle: Any) -> None:
        self.path, self.handle = path, handle
        self.notes: list[str] = []

    def _find(self, name: str) -> Any:
        """The object `name` inside this file, None where there is none; no link to another place is followed."""
        node = self.handle
        for part in name.split("/"):
            link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self.refused(name, f"a link ({type(link).__name__})", "the data themselves")
            node = node[part]
        return node

    def members(self, group: str) -> list[str]:
        """Names of the items directly inside `group` ("/": the root), sorted; empty where there is no such group."""
        found = self.handle if group == "/" else self._find(group)
        return sorted(found) if isinstance(found, h5py.Group) else []

    def has(self, name: str) -> bool:
        """Whether the item is there."""
        return self._find(name) is not None

    def is_group(self, name: str) -> bool:
        """Whether the item is a group."""
        return isinstance(self._find(name), h5py.Group)

    def is_dimension(self, name: str) -> bool:
        """Whether the item is a dimension or a coordinate of netCDF, which holds no data of its own."""
        link = self.handle.get(name, getlink=True)
        return isinstance(link, h5py.HardLink) and self.handle[name].attrs.get("CLASS") == b"DIMENSION_SCALE"

    def dataset(self, name: str) -> Any:
        """The dataset `name`; R04 where it is missing, R05 where it is none, or leads out of the file."""
        node = self._find(name)
        if node is None:
            raise self._missing(name)
        if not isinstance(node, h5py.Dataset):
            raise self.refused(name, "a group", "a dataset")
        return self.inside(name, node)

    def inside(self, name: str, dataset: Any) -> Any:
        """The dataset, where its elements lie in this file, have a known type and can be decompressed (R05, R23)."""
        if dataset.is_virtual or dataset.external:
            raise self.refused(name, "data that lie in another file", "the data themselves")
        try:
            _ = dataset.dtype
        except (TypeError, ValueError) as error:
            raise self.refused(name, f"elements of an unknown type ({error})", "numbers or strings") from error
        if dataset.shape is None:
            raise self.refused(name, "an item without elements", "numbers or strings")
        try:
            check_size(self.path, name, dataset)
        except DataError as error:
            raise self.refused(name, error.found, f"a recording that fits into memory: {error.expected}") from error
        check_filters(self.path, name, dataset)
        return dataset

    def array(self, name: str, *, enumerated: bool = False) -> NDArray[Any]:
        """The whole dataset of numbers as the file means them (`decode`): unpacked, NaN where it declares them missing.

        Enumerations are refused (R05) unless `enumerated`: then their numbers are returned.
        """
        dataset = self.dataset(name)
        if dataset.dtype.kind not in "fiub":
            raise self.refused(name, f"elements of type {dataset.dtype}", "numbers")
        if h5py.check_enum_dtype(dataset.dtype) is not None and not enumerated:
            raise self.refused(name, "an enumeration", "numbers")
        recorded = name in ("responses", "baseline")
        attributes = dict(dataset.attrs)
        if recorded:  # units and window_ms stand at the root: what stands beside them speaks of the responses
            attributes = dict(self.handle.attrs) | attributes
        from_root = frozenset(attributes) - frozenset(dataset.attrs)
        unit = UNITS.get(str(self.attribute("units")))
        zero_counts = recorded and unit is not None and unit.zero
        item = Item(
            path=self.path,
            name=name,
            dataset=dataset,
            attributes=attributes,
            zero_counts=zero_counts,
            from_root=from_root,
            filled=recorded,
        )
        return decode(item, self.notes)

    def attribute(self, name: str, of: str = "/") -> Any:
        """An attribute of the root, or of the item `of`: text as str, one element as a number, others as arrays; None
        where missing.
        """
        attributes = self.handle.attrs if of == "/" else self.dataset(of).attrs
        if name not in attributes:
            return None
        try:
            value = attributes[name]
        except (TypeError, ValueError) as error:
            raise self.refused(name, f"an attribute of an unknown type ({error})", "a string or numbers") from error
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace").strip("\0 ")
        if isinstance(value, np.generic):
            return value.item() if not isinstance(value, np.bytes_) else value.decode("utf-8", "replace")
        if isinstance(value, h5py.Empty):
            return None
        return value.strip() if isinstance(value, str) else value

    def oriented(self, name: str, lengths: tuple[int, ...], names: tuple[str, ...]) -> NDArray[Any]:
        """The array `name` with the axes `names` of the given `lengths`, whichever way round it was written."""
        shape = tuple(int(n) for n in self.dataset(name).shape)
        writer = self.attribute("writer")
        python, matlab = shape == lengths, shape == lengths[::-1]
        if not python and not matlab:
            raise self._misfit(name, shape, lengths, names=names)
        if python and matlab and max(shape) > 1:
            if writer not in ("python", "matlab"):
                raise self.ambiguous(name, shape, "rows and columns")
            matlab, python = writer == "matlab", writer == "python"
            self.notes.append(
                f"{name}: {' x '.join(map(str, shape))} taken in the {writer} layout, as the attribute writer says"
            )
        elif matlab and not python:
            self.notes.append(f"{name} was transposed: the file has {' x '.join(names[::-1])} (MATLAB order)")
        values = self.array(name)
        return values if python else values.transpose()

    def refused(self, name: str, found: str, expected: str) -> DataError:
        """R05: an item of a kind that is not read."""
        return reader_error(
            self.path,
            found=f"'{name}' with {found}",
            expected=expected,
            cause="the item was written as an object, a table or a link",
            fix=f"write '{name}' as a plain array of numbers or strings, as README.txt in the outbox shows",
            code="R05",
        )

    def _missing(self, name: str) -> DataError:
        present = sorted(self.handle)
        near = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
        return reader_error(
            self.path,
            found=f"the items {', '.join(present[:12]) or 'none'}" + (f" (nearest: {near[0]!r})" if near else ""),
            expected=f"also '{name}'",
            cause="another name" if near else "the item was left out",
            fix=f"rename {near[0]!r} to '{name}'" if near else f"write '{name}', as README.txt in the outbox shows",
            code="R04",
        )

    def _misfit(
        self, name: str, shape: tuple[int, ...], lengths: tuple[int, ...], *, names: tuple[str, ...]
    ) -> DataError:
        wanted = ", ".join(f"{n} {what}" for n, what in zip(lengths, names, strict=True))
        return reader_error(
            self.path,
            found=f"'{name}' is {' x '.join(map(str, shape))}",
            expected=f"{' x '.join(map(str, lengths))} or its reverse ({wanted})",
            cause="image_id or site_id belong to another table, or rows were removed from one item only",
            fix=f"write '{name}', image_id and site_id from the same table",
            code="R06",
        )

    def ambiguous(self, name: str, shape: tuple[int, ...], what: str) -> DataError:
        """R07: an item whose dimensions may lie either way."""
        return reader_error(
            self.path,
            found=f"'{name}' is {' x '.join(map(str, shape))}, so {what} cannot be told apart",
            expected="different lengths, or the attribute writer",
            cause="there are as many trials as sites (or time bins)",
            fix="add h5writeatt(p,'/','writer','matlab') (or file.attrs['writer'] = 'python') and run again",
            code="R07",
        )
