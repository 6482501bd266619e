"""From files and a map to one table of presentations x sites: every decision is a sentence in its notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.progress import Reporter

from .containers import Container
from .contract import ImportedTable
from .mapping.columns import shown_images, site_columns, site_ids, taken, trial_columns
from .mapping.grid import Grid, fitted, read_grid, read_numbers
from .mapping.join import join_parts
from .mapping.refusals import nothing_left
from .mapping.sources import Files, Place
from .mapping.tables import ImportMap, SourceTable
from .mapping.times import bins_of

__all__ = ["assemble", "used_files"]


def assemble(
    told: ImportMap,
    given: Sequence[Path],
    *,
    folder: Path | None = None,
    names: Sequence[str] | None = None,
    progress: Reporter | None = None,
) -> ImportedTable:
    """The recording in `given` as `told` says.

    Parameters
    ----------
    told : ImportMap
        Without a format of its own.
    given : sequence of Path
        Files of the command line.
    folder : Path, optional
        That of the map, where files that it names may lie.
    names : sequence of str, optional
        Sorted file names of the photographs.
    progress : callable, optional

    Raises
    ------
    DataError
        A01 to A07, A20 to A26, F02.
    """
    assert told.responses is not None
    with Files(given, folder) as files:
        paths = response_files(told, files)
        parts = []
        for number, path in enumerate(paths, 1):
            parts.append(_part(told, Place(files.open(path), files), names))
            if progress is not None:
                progress("reading", number, len(paths))
        opened = [note for container in files.opened.values() for note in container.notes]
        return join_parts(parts, told, opened)


def used_files(told: ImportMap, given: Sequence[Path], folder: Path | None) -> list[Path]:
    """Every file that a map takes something from, those beside it too."""
    with Files(given, folder) as files:
        paths = response_files(told, files) if told.responses is not None else []
        paths += [path for source in _sources(told) if source.file for path in files.named(source.file)[:1]]
        if told.pictures is not None and told.pictures.file is not None:
            paths += files.named(told.pictures.file)[:1]
    return list(dict.fromkeys([*given, *paths]))


def response_files(told: ImportMap, files: Files) -> list[Path]:
    """The files that hold responses: those that the map names, else all given ones that it names for nothing else."""
    assert told.responses is not None
    if told.responses.files is not None:
        return list(dict.fromkeys(p for pattern in told.responses.files for p in files.named(pattern)))
    used = {path for source in _sources(told) if source.file for path in files.named(source.file)}
    rest = [path for path in files.given if path not in used]
    return rest or files.given


def _sources(value: Any) -> list[SourceTable]:
    """All sources of a map."""
    if isinstance(value, SourceTable):
        return [value]
    if isinstance(value, dict):
        return [s for v in value.values() for s in _sources(v)]
    if isinstance(value, list | tuple):
        return [s for v in value for s in _sources(v)]
    if hasattr(type(value), "model_fields"):
        return [s for name in type(value).model_fields for s in _sources(getattr(value, name))]
    return []


def _part(told: ImportMap, place: Place, names: Sequence[str] | None) -> ImportedTable:
    """The table of one file."""
    notes: list[str] = []
    grid = read_grid(told, place, notes)
    rows = _rows_with_values(told, grid, notes)
    rows &= taken(told.trial.rows, grid, place, of="presentation")
    images, named, base = shown_images(told, grid, place, names=names, notes=notes)
    rows &= named
    sites = taken(told.site.rows, grid, place, of="site")
    for kept, of in ((rows, "presentation"), (sites, "site")):
        if not kept.any():
            raise nothing_left(place.name, f"no {of} of {len(kept)} that rows take")
        if not kept.all():
            notes.append(f"{place.name}: {int(kept.sum())} of {len(kept)} {of}s were taken")
    trial = {k: v[rows] for k, v in trial_columns(told, grid, place, notes=notes).items()}
    site = {k: v[sites] for k, v in site_columns(told, grid, place).items()}
    values, edges, psth = bins_of(told, grid, place, rows=rows, sites=sites, notes=notes)
    return ImportedTable(
        values=values,
        image=images[rows],
        index_base=base,
        site_id=site_ids(told, grid, place, notes=notes)[sites],
        unit=str(told.unit),
        window_ms=told.window_ms,
        time_bin_edges_ms=edges,
        trial=trial,
        site=site,
        baseline=_baseline(told, grid, place.container, rows=rows, sites=sites, notes=notes),
        stored=grid.stored,
        notes=tuple(notes),
        psth=psth,
    )


def _rows_with_values(told: ImportMap, grid: Grid, notes: list[str]) -> NDArray[np.bool_]:
    """Rows that are no padding: images that were shown less often are padded with NaN along the axis repeat."""
    rows = np.ones(len(grid.values), dtype=np.bool_)
    assert told.responses is not None
    if "repeat" not in told.responses.axes or told.responses.padding == "keep" or grid.values.dtype.kind != "f":
        return rows
    rows = np.array(~np.isnan(grid.values.reshape(len(rows), -1)).all(axis=1))
    if not rows.all():
        counts = np.bincount(grid.position[rows], minlength=grid.images)
        notes.append(
            f"{int((~rows).sum())} of {len(rows)} repeats are NaN at every site and were left out as padding: "
            f"{counts.min()} to {counts.max()} presentations per image"
        )
    return rows


def _baseline(
    told: ImportMap,
    grid: Grid,
    container: Container,
    *,
    rows: NDArray[np.bool_],
    sites: NDArray[np.bool_],
    notes: list[str],
) -> NDArray[Any] | None:
    if told.baseline is None:
        return None
    item = container.item(told.baseline.array)
    values, _ = read_numbers(item, container, unit=str(told.unit), notes=notes)
    axes: list[Any] = list(told.baseline.axes)
    values = fitted(values, axes, container, name=item.name, notes=notes)
    axes = [axis for axis in axes if axis != "one"]
    if axes == ["site"]:
        listed = SourceTable(values=values.tolist())
        return Place(container, Files([])).values(listed, lengths=(len(sites),), where="baseline")[sites]
    values = values if axes.index("site") == 1 else values.T
    return np.stack([grid.to_rows(column, "baseline") for column in values.T], axis=1)[rows][:, sites]
