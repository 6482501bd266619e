"""The files of an import, and the lists of numbers and names that a map takes from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import inside
from protocols.importing.containers import Container, Item, open_container

from .refusals import bad_value, files_differ, misfit, wrong_length
from .tables import SourceTable, Where

STORED = (
    *("_FillValue", "missing_value", "scale_factor", "add_offset"),
    *("valid_min", "valid_max", "valid_range", "_Unsigned"),
)
"""Attributes that say how numbers are stored (CF conventions)."""


class Files:
    """The files of an import by name, opened once each.

    Parameters
    ----------
    given : sequence of Path
        Those of the command line.
    folder : Path, optional
        That of the map: files that a map names may lie there, or beside the given ones.
    """

    def __init__(self, given: Sequence[Path], folder: Path | None = None) -> None:
        self.given = list(given)
        self.folders = list(dict.fromkeys([*([folder] if folder else []), *(p.parent for p in given)]))
        self.opened: dict[Path, Container] = {}
        self._closes = ExitStack()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *error: object) -> None:
        self._closes.close()

    def open(self, path: Path) -> Container:
        """The container of a file."""
        if path not in self.opened:
            self.opened[path] = self._closes.enter_context(open_container(path))
        return self.opened[path]

    def named(self, pattern: str) -> list[Path]:
        """Files of a name or pattern (``day*.mat``), sorted: given ones first, else beside the map or the given ones.

        Raises
        ------
        DataError
            A23: there is none; F02: the name leads elsewhere.
        """
        pattern = pattern.replace("\\", "/")
        matches = [p for p in self.given if _ends(p, pattern)]
        for folder in [] if matches else self.folders:
            if any(mark in pattern for mark in "*?[") and not inside(folder, pattern).is_file():
                inside(folder, pattern.replace("*", "x").replace("?", "x").replace("[", "x"))
                found = sorted(p for p in folder.glob(pattern) if p.is_file())
            else:
                candidate = inside(folder, pattern)
                found = [candidate] if candidate.is_file() else []
            matches = matches or found
        if not matches:
            raise files_differ(
                pattern,
                "no such file",
                "a file that is given on the command line, or lies beside the map or the given files",
                fix="give the file on the command line, or correct its name in the map",
            )
        return sorted(matches)


def _ends(path: Path, pattern: str) -> bool:
    """Whether the folders that a pattern names are those of the path."""
    parts = PurePosixPath(pattern).parts
    return len(path.parts) >= len(parts) and all(
        a == b or fnmatchcase(a, b) for a, b in zip(path.parts[-len(parts) :], parts, strict=True)
    )


@dataclass(frozen=True)
class Place:
    """A file of responses, among the other files of the import."""

    container: Container
    files: Files

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.container.path.name

    def item(self, source: SourceTable) -> tuple[Container, Item]:
        """The array that a source names, and the file that holds it."""
        home = self.container
        if source.file is not None:
            home = self.files.open(self.files.named(source.file)[0])
        name = source.array
        if isinstance(source.column, str):
            name = f"{name}/{source.column}" if name else source.column
        return home, home.item(name)

    def values(self, source: SourceTable, *, lengths: Sequence[int] = (), where: str = "") -> NDArray[Any]:
        """The list that a source means, one-dimensional.

        Parameters
        ----------
        source : SourceTable
        lengths : sequence of int
            The lengths that the list may have; () for any. ``value`` is repeated to the first.
        where : str
            The key of the map, for errors.

        Raises
        ------
        DataError
            A04 no such array; A20 a matrix where a list is meant; A21 another length.
        """
        if source.value is not None:
            return np.full(lengths[0] if lengths else 1, source.value)
        place = where
        if source.count is not None:
            array: NDArray[Any] = np.arange(source.count[0], source.count[1] + 1)
        elif source.values is not None or source.ranges is not None:
            pairs = source.ranges if source.ranges is not None else [(v, 1) for v in source.values or []]
            array = np.repeat(np.array([v for v, _ in pairs]), [n for _, n in pairs])
        else:
            home, item = self.item(source)
            place = f"{home.path.name} {item.name!r}"
            array = as_list(item, source, where=place, volumes=lengths)
            if array.dtype.kind not in "iufbU":
                raise bad_value(
                    place, f"elements of type {array.dtype}", "numbers or text", fix="save it as one of these"
                )
            if source.where is not None:
                array = array[_rows(source.where, home, len(array))]
        if lengths and len(array) not in lengths:
            expected = " or ".join(map(str, dict.fromkeys(lengths)))
            raise wrong_length(place, f"{len(array)} values for {where}", f"{expected} values")
        return array


def _rows(told: Where, home: Container, count: int) -> NDArray[np.bool_]:
    """Which rows of a table are meant, (count,)."""
    column = as_list(home.item(told.array), SourceTable(array=told.array), where=told.array)
    if len(column) != count:
        raise wrong_length(f"{home.path.name} {told.array!r}", f"{len(column)} values", f"{count} values")
    wanted = told.equals if column.dtype.kind in "iufb" else [str(v) for v in told.equals]
    return np.isin(column, np.array(wanted))


def as_list(item: Item, source: SourceTable, *, where: str, volumes: Sequence[int] = ()) -> NDArray[Any]:
    """An array as a list: its one long axis, the column that the source names, or a volume of one of the sizes."""
    if isinstance(source.column, int):
        if len(item.shape) != 2 or source.column > item.shape[1]:
            shape = " x ".join(map(str, item.shape))
            raise misfit(
                where,
                f"an array of {shape} and column = {source.column}",
                "a matrix with that many columns, counted from 1",
                fix="correct column, or name the array that holds the list",
            )
        array = item.read((slice(None), slice(source.column - 1, source.column)))
    else:
        array = item.read()
    if sum(n != 1 for n in array.shape) > 1 and not (array.ndim > 2 and array.size in volumes):
        raise misfit(
            where,
            f"an array of {' x '.join(map(str, array.shape))}",
            "a list",
            fix="name one of its columns, counted from 1: { array = ..., column = 1 }",
        )
    return unpacked(array.reshape(-1), item)


def unpacked(array: NDArray[Any], item: Item) -> NDArray[Any]:
    """Numbers as the file means them. See `meant`."""
    return meant(array, {name: item.attributes[name] for name in STORED if name in item.attributes})


def meant(array: NDArray[Any], declared: Mapping[str, Any]) -> NDArray[Any]:
    """Numbers as their declarations mean them: NaN where missing, scaled where they say so (CF conventions)."""
    if not declared or array.dtype.kind not in "iuf":
        return array
    out = array.astype(np.float64)
    for name in ("_FillValue", "missing_value"):
        for value in np.atleast_1d(declared.get(name, [])):
            out[array == value] = np.nan
    scale, offset = declared.get("scale_factor", 1.0), declared.get("add_offset", 0.0)
    if not np.isnan(out).any() and (scale, offset) == (1.0, 0.0):
        return array
    scaled: NDArray[Any] = out * scale + offset
    return scaled


def whole(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Numbers that count something, as integers; -1 where there is none (NaN).

    Raises
    ------
    DataError
        A26: text, or numbers with a fraction.
    """
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    numbers = array
    if array.dtype.kind == "f":
        known = np.isfinite(numbers)
        if np.all(numbers[known] == np.floor(numbers[known])) and np.all(np.abs(numbers[known]) < 2**53):
            return np.where(known, numbers, -1).astype(np.int64)
    bad = next(v for v in array.tolist() if not isinstance(v, float) or v != v // 1)
    raise bad_value(where, f"{bad!r}", "whole numbers", fix="name the array or column that holds positions")
