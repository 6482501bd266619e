"""The numbers of one file as presentations x sites (x time bins), whatever the order of the axes of its array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.importing.containers import Container, Item
from protocols.recordings.readers.declared import Item as Declared
from protocols.recordings.readers.declared import decode
from protocols.recordings.units import UNITS

from .exchanged import check_repeats, refuse_exchanged
from .refusals import bad_entries, misfit
from .sites import scaled, site_order, sites_together
from .slabs import Slabs, stays_in_file, written_slabs
from .sources import STORED, Place, meant
from .tables import Axis, ImportMap


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows x sites (x bins), and how the lists of the file become columns of them.

    Parameters
    ----------
    values : array of shape (T, U) or (T, U, B)
        In the stored type.
    images : int
        Length of the axis image; 0 without one.
    position : array of shape (T,), int
        Position on the axis image; the number of the row without one.
    row_lengths : tuple of int
        The lengths that lists of presentations may have.
    to_rows : callable
        ``to_rows(list, key) -> (T,)``
    site_lengths : tuple of int
    to_sites : callable
        ``to_sites(list, key) -> (U,)``
    site_names : array of shape (U,), text or numbers, optional
        Where the layout itself names the sites.
    stored : dict
        Attributes that say how the numbers are stored.
    slabs : Slabs, optional
        Where the numbers stay in the file: `values` is then a placeholder of their shape.
    """

    values: NDArray[Any]
    images: int
    position: Ints
    row_lengths: tuple[int, ...]
    to_rows: Callable[[NDArray[Any], str], NDArray[Any]]
    site_lengths: tuple[int, ...]
    to_sites: Callable[[NDArray[Any], str], NDArray[Any]]
    site_names: NDArray[Any] | None
    stored: dict[str, Any]
    slabs: Slabs | None = None


def read_grid(told: ImportMap, place: Place, notes: list[str]) -> Grid:
    """The array of one file as `Grid`.

    Raises
    ------
    DataError
        A04 no such array; A20 the axes do not fit; A21 lists of other lengths; A24 a long table with double rows.
    """
    table = told.responses
    assert table is not None
    if told.entries is not None:
        return _from_entries(told, place, notes)
    names = None
    axes: list[Axis] = list(table.axes)
    if table.arrays is not None:
        items = matching(place.container, table.arrays)
        values = _stacked(items, place.container, axes)
        names = np.array([item.name for item in items], dtype=np.str_)
        notes.append(f"{place.name}: {len(items)} arrays, one per site ({names[0]} to {names[-1]})")
        axes = [*axes, "site"]
        stored: dict[str, Any] = {}
    else:
        item = place.container.item(table.array)
        _check_type(item, place.container)
        if stays_in_file(item, axes):
            return _in_file(told, item, axes, place=place, notes=notes)
        values, stored = read_numbers(item, place.container, unit=told.unit or "au", notes=notes)
        values = fitted(values, axes, place.container, name=item.name, notes=notes)
        stored = scaled(told, item, stored, where=f"{place.name} {item.name!r}")
        values, axes = sites_together(values, [axis for axis in axes if axis != "one"])
        shown = " x ".join(f"{n} {axis}s" for n, axis in zip(values.shape, axes, strict=True))
        notes.append(f"{place.name}: {item.name!r} ({item.dtype}) was taken as {shown}")
    grid = _from_axes(values, axes, names=names, stored=stored)
    if grid.images and "repeat" in axes:
        cube = grid.values.reshape(grid.images, -1, *grid.values.shape[1:])
        refuse_exchanged(cube, place.name)
        check_repeats(meant(cube, stored), place.name, sure=table.axes_checked, notes=notes)
    order = site_order(told, place, grid.values.shape[1], notes=notes)
    if order is None:
        return grid
    site_names = None if grid.site_names is None else grid.site_names[order]
    return replace(grid, values=grid.values[:, order], site_names=site_names)


def _in_file(told: ImportMap, item: Item, axes: list[Axis], *, place: Place, notes: list[str]) -> Grid:
    """A large array of presentations x sites x bins, which is read when it is known what is taken of it."""
    slabs = written_slabs(item, axes, notes=notes)
    order = site_order(told, place, slabs.shape[1], notes=notes)
    declared = {name: item.attributes[name] for name in STORED if name in item.attributes}
    stored = scaled(told, item, declared, where=f"{place.name} {item.name!r}")
    shown = " x ".join(f"{n} {axis}s" for n, axis in zip(item.shape, axes, strict=True))
    notes.append(f"{place.name}: {item.name!r} ({item.dtype}) was taken as {shown}, and read in parts")
    grid = _grid(slabs.placeholder, stored=stored, names=None, position=np.arange(slabs.shape[0]))
    return replace(grid, slabs=replace(slabs, order=order))


def matching(container: Container, patterns: Sequence[str]) -> list[Item]:
    """The arrays that fit any of the patterns, in the order of the patterns and of the file."""
    found: dict[str, Item] = {}
    for pattern in patterns:
        fits = [item for name, item in container.items.items() if fnmatchcase(name, pattern)]
        if not fits:
            fits = [container.item(pattern)]  # a name with brackets or dots; A04 with the names that are there
        found |= {item.name: item for item in fits}
    return list(found.values())


def read_numbers(
    item: Item, container: Container, *, unit: str, notes: list[str]
) -> tuple[NDArray[Any], dict[str, Any]]:
    """All numbers of an array, and the attributes that say how they are stored.

    HDF5 says of its own numbers what was never written; these become NaN as the reader of responses makes them.
    """
    if item.dataset is None:
        declared = {name: item.attributes[name] for name in STORED if name in item.attributes}
        return item.read(), declared
    zero = UNITS[unit].zero if unit in UNITS else False
    item.read(tuple(slice(0, 1) for _ in item.shape))  # compression and links are checked there
    about = Declared(
        path=container.path,
        name=item.name,
        dataset=item.dataset,
        attributes={k: v for k, v in item.dataset.attrs.items() if not k.startswith("MATLAB")},
        zero_counts=zero,
        filled=True,
    )
    values = decode(about, notes)
    return (values.T if item.reversed else values), {}


def fitted(
    values: NDArray[Any], axes: list[Axis], container: Container, *, name: str, notes: list[str]
) -> NDArray[Any]:
    """The array with the axes that the map names, without those called "one".

    Axes of length 1 that the map does not name are left out, and MATLAB's files, which do not store them at the end,
    get them back.
    """
    where, shape = f"{container.path.name} {name!r}", values.shape
    told = " x ".join(map(str, shape))
    if len(axes) < len(shape):
        for _ in range(len(shape) - len(axes)):
            ones = [i for i, n in enumerate(values.shape) if n == 1]
            results = {values.shape[:i] + values.shape[i + 1 :] for i in ones}
            if len(results) != 1:
                break
            values = values.squeeze(axis=ones[0])
    elif len(axes) > len(shape) and container.matlab:
        values = values.reshape(shape + (1,) * (len(axes) - len(shape)))
    if values.ndim != len(axes):
        raise misfit(
            where,
            f"an array of {told}, which has {len(shape)} axes, and axes = {axes}",
            "one word per axis",
            fix="name every axis in the order in which --preview shows them",
        )
    if values.shape != shape:
        notes.append(f"{where} of {told} was taken as {' x '.join(map(str, values.shape))}")
    named_one = tuple(i for i, axis in enumerate(axes) if axis == "one")
    if any(values.shape[i] != 1 for i in named_one):
        raise misfit(
            where, f"an array of {told} and axes = {axes}", "length 1 where axes say one", fix="name that axis"
        )
    return values.squeeze(axis=named_one) if named_one else values


def _stacked(items: list[Item], container: Container, axes: list[Axis]) -> NDArray[Any]:
    for item in items:
        _check_type(item, container)
    parts = [fitted(item.read(), axes, container, name=item.name, notes=[]) for item in items]
    other = next((i for i, p in enumerate(parts) if p.shape != parts[0].shape), 0)
    if other:
        raise misfit(
            f"{container.path.name} {items[other].name!r}",
            f"{parts[other].shape} values, where {items[0].name!r} has {parts[0].shape}",
            "arrays of one shape, one per site",
            fix="name in arrays only those that hold responses",
        )
    return np.stack(parts, axis=-1)


def _check_type(item: Item, container: Container) -> None:
    if item.is_text:
        raise misfit(
            f"{container.path.name} {item.name!r}",
            "text",
            "numbers",
            fix="name the array that holds the responses; a column with words among its numbers is text",
        )


def _from_axes(values: NDArray[Any], axes: list[Axis], *, names: NDArray[Any] | None, stored: dict[str, Any]) -> Grid:
    """Turn the axes to (rows, sites, bins): of images x repeats, image by image."""
    axes = [axis for axis in axes if axis != "one"]
    rows: list[Axis] = [axis for axis in ("trial", "image", "repeat") if axis in axes]
    if "site" not in axes:
        values, axes = values[..., None], [*axes, "site"]
    behind: list[Axis] = ["site", *(["time"] if "time" in axes else [])]  # type: ignore[list-item]
    values = values.transpose([axes.index(axis) for axis in (*rows, *behind)])
    counts = values.shape[: len(rows)]
    images, repeats = (counts[0], counts[1] if len(counts) > 1 else 1) if "image" in axes else (0, 1)
    trials, sites = int(np.prod(counts)), values.shape[len(rows)]
    values = values.reshape(trials, *values.shape[len(rows) :])
    if not images:
        return _grid(values, stored=stored, names=names, position=np.arange(trials))

    def to_rows(column: NDArray[Any], key: str) -> NDArray[Any]:
        return np.repeat(column, repeats) if len(column) == images and repeats > 1 else column

    return Grid(
        values=values,
        images=images,
        position=np.repeat(np.arange(images), repeats),
        row_lengths=(images, trials),
        to_rows=to_rows,
        site_lengths=(sites,),
        to_sites=lambda column, key: column,
        site_names=names,
        stored=stored,
    )


def _grid(values: NDArray[Any], *, stored: dict[str, Any], names: NDArray[Any] | None, position: Ints) -> Grid:
    return Grid(
        values=values,
        images=0,
        position=position,
        row_lengths=(len(values),),
        to_rows=lambda column, key: column,
        site_lengths=(values.shape[1],),
        to_sites=lambda column, key: column,
        site_names=names,
        stored=stored,
    )


def _from_entries(told: ImportMap, place: Place, notes: list[str]) -> Grid:
    """A long table: presentations and sites in the order in which they come first."""
    assert told.entries is not None
    assert told.responses is not None
    item = place.container.item(told.responses.array)
    _check_type(item, place.container)
    raw, stored = read_numbers(item, place.container, unit=told.unit or "au", notes=notes)
    raw = raw.reshape(-1)
    keys = told.entries.trial if isinstance(told.entries.trial, list) else [told.entries.trial]
    lists = [place.values(k, lengths=(len(raw),), where="entries.trial") for k in keys]
    row, first_row = _groups(lists)
    site, first_site = _groups([place.values(told.entries.site, lengths=(len(raw),), where="entries.site")])
    where = f"{place.name} {item.name!r}"
    cell = row * len(first_site) + site
    taken, counts = np.unique(cell, return_counts=True)
    if counts.max(initial=1) > 1:
        entry = np.flatnonzero(cell == taken[counts > 1][0])
        raise bad_entries(
            where,
            f"{int((counts > 1).sum())} presentations and sites with several values, such as rows {entry[0] + 1} and "
            f"{entry[1] + 1} (without the header)",
            "one value per presentation and site",
            fix="name in [entries] trial every column that tells presentations apart",
        )
    lacking = len(first_row) * len(first_site) - len(raw)
    shape = (len(first_row), len(first_site))
    values: NDArray[Any] = np.full(shape, np.nan) if lacking else np.empty(shape, dtype=raw.dtype)
    values[row, site] = raw
    notes.append(f"{where}: {len(raw)} entries became {len(first_row)} presentations x {len(first_site)} sites")
    if lacking:
        notes.append(f"{where}: {lacking} presentations and sites have no entry: NaN")
    grid = _grid(values, stored=stored, names=_site_names(told, place, first_site), position=np.arange(len(values)))
    return Grid(
        **{
            **grid.__dict__,
            "row_lengths": (len(raw),),
            "site_lengths": (len(raw), len(first_site)),
            "to_rows": lambda column, key: _constant(column, (row, first_row), where, key=key, of="presentation"),
            "to_sites": lambda column, key: (
                column
                if len(column) == len(first_site)
                else _constant(column, (site, first_site), where, key=key, of="site")
            ),
        }
    )


def _site_names(told: ImportMap, place: Place, first: Ints) -> NDArray[Any]:
    assert told.entries is not None
    return place.values(told.entries.site)[first]


def _groups(lists: list[NDArray[Any]]) -> tuple[Ints, Ints]:
    """The number of the group of every entry, in the order of first appearance, and the first entry of each group."""
    codes = np.zeros(len(lists[0]), dtype=np.int64)
    for column in lists:
        _, inverse = np.unique(column, return_inverse=True)
        codes = codes * (int(inverse.max(initial=0)) + 1) + inverse
        _, codes = np.unique(codes, return_inverse=True)
    _, first = np.unique(codes, return_index=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[codes], first[order]


def _constant(column: NDArray[Any], groups: tuple[Ints, Ints], where: str, *, key: str, of: str) -> NDArray[Any]:
    group, first = groups
    chosen = column[first]
    differs = column != chosen[group]
    if column.dtype.kind == "f":
        differs &= ~(np.isnan(column) & np.isnan(chosen[group]))
    if differs.any():
        entry = int(np.flatnonzero(differs)[0])
        raise bad_entries(
            where,
            f"{key} = {column[entry]} in row {entry + 1} (without the header) and {chosen[group][entry]} in row "
            f"{first[group][entry] + 1}, which are one {of}",
            f"one {key} per {of}",
            fix=f"name in [entries] all columns that tell a {of} apart, or correct {key}",
        )
    return chosen
