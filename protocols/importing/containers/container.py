"""A file as named arrays: what each is called, how large it is, and how to read it or a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .refusals import missing_item

Selection = tuple[slice, ...]
"""One slice per axis; axes that it leaves out are read whole."""


@dataclass(frozen=True)
class Item:
    """One array of a file, not read yet.

    Parameters
    ----------
    name : str
        Path inside the file, groups and fields with ``/`` between.
    shape : tuple of int
        In the order of the program that wrote it: MATLAB's variables as MATLAB shows them.
    dtype : str
        "float64", "uint16", "text", "bool", or what it is that cannot be read.
    load : callable
        ``load(selection)`` reads a part, ``load(())`` all of it.
    axes : tuple of str
        Names of the axes where the file states them (netCDF, dimension scales), "" where not.
    attributes : mapping
    dataset : h5py.Dataset, optional
        Behind the array where the file is HDF5: for what it says of its own numbers.
    reversed : bool
        The file stores the axes in the opposite order.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[Selection], NDArray[Any]]
    axes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dataset: Any = None
    reversed: bool = False

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.dtype == "text"

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers, or true and false."""
        return self.dtype.startswith(("int", "uint", "float", "bool"))

    def read(self, selection: Selection = ()) -> NDArray[Any]:
        """The array, or the part of it that `selection` (one slice per axis) cuts out. Raises `DataError` A02, A05."""
        return self.load(selection)


class Container:
    """An open file: its arrays by name. Close it, or use it in a ``with`` statement.

    Attributes
    ----------
    path : Path
    kind : str
        "HDF5", "MATLAB 7.3", "netCDF 4", "CSV" ..., for people.
    items : dict of str to Item
    attributes : dict
        Those of the whole file.
    notes : list of str
        What was decided or left out on opening.
    is_table : bool
        Columns of one length with a header: one item per column.
    matlab : bool
        Axes of length 1 at the end are not stored.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        items: list[Item],
        *,
        attributes: Mapping[str, Any] | None = None,
        notes: list[str] | None = None,
        is_table: bool = False,
        matlab: bool = False,
        closes: ExitStack | None = None,
    ) -> None:
        self.path, self.kind = path, kind
        self.items = {item.name: item for item in items}
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.notes = list(notes or [])
        self.is_table, self.matlab = is_table, matlab
        self._closes = closes or ExitStack()

    def item(self, name: str | None = None) -> Item:
        """The array `name` (also with dots between the fields of a struct), or the only one where no name is given.

        Raises
        ------
        DataError
            A04
        """
        if name is None:
            if len(self.items) == 1:
                return next(iter(self.items.values()))
            raise missing_item(self.path, "", self.items)
        for spelling in (name, name.strip("/"), name.replace(".", "/")):
            if spelling in self.items:
                return self.items[spelling]
        raise missing_item(self.path, name, self.items)

    def close(self) -> None:
        """Close the file; arrays that were not read yet cannot be read any more."""
        self._closes.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def cut(array: NDArray[Any], selection: Selection) -> NDArray[Any]:
    """The part of an array in memory that a selection cuts out."""
    return array[selection] if selection else array


def words(dtype: np.dtype[Any]) -> str:
    """The name of a type: "text" for strings of any kind."""
    return "text" if dtype.kind in "UST" else dtype.newbyteorder("=").name if dtype.kind in "iufb" else str(dtype)


def held(name: str, array: NDArray[Any], **more: Any) -> Item:
    """An item whose array is in memory already."""
    return Item(name, tuple(array.shape), words(array.dtype), lambda selection: cut(array, selection), **more)


def plain(value: Any) -> Any:
    """An attribute as text, a number, or a list of numbers."""
    if isinstance(value, np.ndarray):
        return plain(value.reshape(-1)[0]) if value.size == 1 else [plain(v) for v in value.reshape(-1)[:64]]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    return value.item() if isinstance(value, np.generic) else value
