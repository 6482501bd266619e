"""An assembly of BrainIO (presentation x neuroid x time_bin) -> the raw table of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats
from protocols.disk.hdf5_reading import links_outside, open_hdf5
from protocols.errors import UNUSABLE, DataError
from protocols.importing.containers.columns import text_array
from protocols.importing.containers.refusals import unreadable
from protocols.importing.contract import ImportedTable, Psth
from protocols.importing.windows import window_doubt

from .options import BrainioOptions, Wanted
from .stimuli import stimulus_files

DIMENSIONS = ("presentation", "neuroid", "time_bin")
STIMULUS = ("stimulus_id", "image_id")
STORED = ("_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max", "valid_range")
TRIAL = {"repetition": "rep", "block": "block", "valid": "valid", "onset_s": "onset_s"}
"""Coordinates of presentations that become columns of ``trial/``."""
PLAIN = "biufOUS"


@dataclass(frozen=True)
class Assembly:
    """The responses of a file, with their dimensions in order, and the coordinates along each.

    Parameters
    ----------
    values : array of shape (T, U, B)
        In the stored type; B = 1 where there are no time bins.
    along : mapping of dimension to mapping of coordinate to array
    attributes : mapping
        Of the variable and of the file.
    """

    values: NDArray[Any]
    along: Mapping[str, Mapping[str, NDArray[Any]]]
    attributes: Mapping[str, Any]

    def kept(self, presentations: Bools, neuroids: Bools) -> Assembly:
        """The assembly with some of its rows and sites."""
        keep = {"presentation": presentations, "neuroid": neuroids}
        along = {
            dim: {name: column[keep[dim]] if dim in keep else column for name, column in columns.items()}
            for dim, columns in self.along.items()
        }
        return Assembly(self.values[presentations][:, neuroids], along, self.attributes)


def read_brainio(files: Sequence[Path], options: BrainioOptions, /) -> ImportedTable:
    """Read one assembly (``.nc``), with the table (``.csv``) and the pictures (``.zip``) of its stimulus set, if given.

    Raises
    ------
    DataError
        H08: the assembly cannot be read, or lacks what is needed; H09: the stimulus set does not fit.
    """
    path = _assembly_file(files)
    notes: list[str] = []
    assembly = _chosen(path, _open(path, options), options, notes=notes)
    presentation, neuroid = (assembly.along[d] for d in DIMENSIONS[:2])
    window, edges, values = _window(path, assembly, options, notes=notes)
    name = options.stimulus_id or next((n for n in STIMULUS if n in presentation), STIMULUS[0])
    stimuli = _coordinate(path, assembly, "presentation", named=name, option="stimulus_id")
    image, images = stimulus_files(files, _texts(path, stimuli, name, notes=notes), path=path, notes=notes)
    trial = _trial(presentation, notes)
    if options.averaged_over is not None:
        trial["averaged_over"] = np.full(len(values), options.averaged_over)
    unit = options.unit or _stated_unit(path, assembly)
    psth = _psth(assembly, values, edges, unit=unit)
    if psth is not None and window is not None and (doubt := window_doubt(psth, window)):
        notes.append(doubt)
    return ImportedTable(
        values=values,
        image=image,
        site_id=_texts(
            path,
            _coordinate(path, assembly, "neuroid", named=options.site_id, option="site_id"),
            options.site_id,
            notes=notes,
        ),
        unit=unit,
        window_ms=window,
        time_bin_edges_ms=edges,
        trial=trial,
        site=_site_columns(neuroid, options),
        attributes=_session(neuroid),
        stored={n: v for n, v in assembly.attributes.items() if n in STORED},
        notes=tuple(notes),
        psth=psth,
        images=images,
    )


def _assembly_file(files: Sequence[Path]) -> Path:
    found = [f for f in files if f.suffix.lower() not in (".csv", ".zip")]
    if len(found) != 1:
        raise _unusable(
            files[0] if files else Path("."),
            found=f"{len(found)} assemblies among {', '.join(f.name for f in files) or 'no files'}",
            expected="one assembly in netCDF, and the CSV and zip of its stimulus set",
            fix="import each assembly into a file of its own",
        )
    return found[0]


def _open(path: Path, options: BrainioOptions) -> Assembly:
    """The responses of a netCDF file with dimensions in order; nothing is decoded (H08)."""
    try:
        import xarray as xr
    except ImportError as error:
        raise _unusable(
            path,
            found="an assembly, and no xarray to read it",
            expected="the packages xarray and h5netcdf",
            fix="pip install 'stimsynth[brainio]'",
        ) from error
    try:
        with open_hdf5(path) as file:
            for item, target in links_outside(path, file):
                raise _unusable(
                    path,
                    found=f"{item} in another file, {target!r}",
                    expected="an assembly that holds its numbers itself",
                    fix="write the assembly again with its numbers",
                )
        # Fill values and scales stay numbers and attributes, for the reader of responses.
        with xr.open_dataset(
            path,
            engine="h5netcdf",
            mask_and_scale=False,
            decode_times=False,
            decode_coords=False,
            phony_dims="sort",
        ) as dataset:
            return _taken(path, dataset, options)
    except DataError:
        raise
    except UNUSABLE as error:
        missing = isinstance(error, ImportError) or "unrecognized engine" in str(error)
        raise _unusable(
            path,
            found="an assembly, and no h5netcdf to read it"
            if missing
            else f"a file that xarray cannot read: {(str(error) or type(error).__name__).splitlines()[0][:200]}",
            expected="an assembly in netCDF-4",
            fix="pip install 'stimsynth[brainio]'"
            if missing
            else "copy it again; netCDF-3 and other HDF5 files are read by a map (docs/import.md)",
        ) from error


def _taken(path: Path, dataset: Any, options: BrainioOptions) -> Assembly:
    among = {str(n): v for n, v in dataset.variables.items() if {"presentation", "neuroid"} <= set(v.dims)}
    chosen = [options.variable] if options.variable else sorted(among)
    if len(chosen) != 1 or chosen[0] not in among:
        told = "; ".join(f"{n} ({' x '.join(map(str, v.dims))})" for n, v in dataset.variables.items() if v.ndim > 1)
        raise _unusable(
            path,
            found=f"arrays {told or 'of one dimension alone'}" + (f", no {chosen[0]!r}" if options.variable else ""),
            expected="one array with the dimensions presentation and neuroid",
            fix="name it under [brainio]: variable = ..."
            if len(among)
            else "describe the file by a map (docs/import.md)",
        )
    variable = among[chosen[0]]
    extra = [str(d) for d, n in zip(variable.dims, variable.shape, strict=True) if d not in DIMENSIONS and n > 1]
    if extra:
        raise _unusable(
            path,
            found=f"{chosen[0]} with the dimensions {', '.join(map(str, variable.dims))}",
            expected="presentation, neuroid and time_bin",
            fix=f"stack or select {', '.join(extra)} before writing the file",
        )
    variable = variable.squeeze([d for d in variable.dims if d not in DIMENSIONS])
    values = variable.transpose(*(d for d in DIMENSIONS if d in variable.dims)).values
    along = {
        dim: {
            str(n): np.asarray(v.values)
            for n, v in dataset.variables.items()
            if v.dims == (dim,) and v.dtype.kind in PLAIN and n != dim
        }
        for dim in DIMENSIONS
    }
    attributes = {str(n): a for n, a in (dataset.attrs | variable.attrs).items()}
    return Assembly(values if values.ndim == 3 else values[..., None], along, attributes)


def _chosen(path: Path, assembly: Assembly, options: BrainioOptions, *, notes: list[str]) -> Assembly:
    """The presentations and neuroids that the options keep (H08: nothing is left)."""
    keep = []
    for dim, option, wanted in (
        ("presentation", "keep_presentations", options.keep_presentations),
        ("neuroid", "keep_sites", options.keep_sites),
    ):
        count = assembly.values.shape[DIMENSIONS.index(dim)]
        kept = np.ones(count, dtype=np.bool_)
        for name, value in wanted.items():
            kept &= _equal(_coordinate(path, assembly, dim, named=name, option=option), value)
        if not kept.any():
            raise _unusable(
                path,
                found=f"no {dim} that {option} lets through" if count else f"no {dim}",
                expected="responses to import",
                fix=f"correct {option}" if count else "take an assembly that is not empty",
            )
        if wanted:
            notes.append(f"{int(kept.sum())} of {count} along {dim} were kept, as {option} says")
        keep.append(kept)
    return assembly.kept(*keep) if options.keep_sites or options.keep_presentations else assembly


def _equal(column: NDArray[Any], wanted: Wanted) -> Bools:
    listed = wanted if isinstance(wanted, list) else [wanted]
    if column.dtype.kind in "biuf" and not any(isinstance(w, str) for w in listed):
        return np.isin(column.astype(np.float64), np.array([float(w) for w in listed]))
    return np.isin(column.astype(np.str_), [str(w) for w in listed])


def _coordinate(path: Path, assembly: Assembly, dim: str, *, named: str, option: str) -> NDArray[Any]:
    if named in assembly.along[dim]:
        return assembly.along[dim][named]
    raise _unusable(
        path,
        found=f"coordinates of {dim}: {', '.join(sorted(assembly.along[dim])) or 'none'}",
        expected=f"the coordinate {named!r}",
        fix=f"name one of them under [brainio] ({option})",
    )


def _texts(path: Path, column: NDArray[Any], name: str, *, notes: list[str]) -> NDArray[np.str_]:
    """Names as text; whole real numbers lose their ``.0``, which is told."""
    if column.dtype.kind == "f" and np.all(np.isfinite(column)) and not np.any(column % 1):
        notes.append(f"{name} holds real numbers that are all whole: read as whole numbers")
        column = column.astype(np.int64)
    try:
        cells = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in column.tolist()]
    except UnicodeDecodeError as error:
        raise unreadable(path, f"{name}: text that is not UTF-8", what="an assembly") from error
    return text_array(path, cells)


def _window(
    path: Path, assembly: Assembly, options: BrainioOptions, *, notes: list[str]
) -> tuple[tuple[float, float] | None, Floats | None, NDArray[Any]]:
    """Response window, edges of the time bins (None: no bins) and the values, (T, U) or (T, U, B) (H08)."""
    bins, values = assembly.along["time_bin"], assembly.values
    stated = options.window_ms
    names = ("time_bin_start", "time_bin_end")
    if not all(n in bins for n in names):
        if values.shape[2] == 1:
            return stated, None, values[..., 0]
        raise _unusable(
            path,
            found=f"{values.shape[2]} time bins without the coordinates {' and '.join(names)}",
            expected="begin and end of each bin in ms",
            fix="write both coordinates into the assembly, or select one bin",
        )
    begin, end = (bins[n].astype(np.float64) for n in names)
    same = [b for b in range(len(begin)) if stated is not None and np.allclose((begin[b], end[b]), stated)]
    if values.shape[2] == 1:
        window = (float(begin[0]), float(end[0]))
        if not np.all(np.isfinite(window)):
            return stated, None, values[..., 0]
        if stated is not None and not same:
            raise _unusable(
                path,
                found=f"window_ms = {list(stated)} for one time bin of {list(window)}",
                expected="the window of the bin",
                fix="leave window_ms out",
            )
        return window, None, values[..., 0]
    if same:
        notes.append(f"the time bin of {begin[same[0]]:g} to {end[same[0]]:g} ms was taken, of {len(begin)}")
        return stated, None, values[..., same[0]]
    told = ", ".join(f"{b:g} to {e:g}" for b, e in list(zip(begin, end, strict=True))[:8])
    if stated is None or np.any(np.abs(begin[1:] - end[:-1]) > 1e-6):
        raise _unusable(
            path,
            found=f"{len(begin)} time bins: {told} ms"
            + ("" if stated is None else ", which do not follow one another"),
            expected="one of the bins, named by window_ms, or bins that follow one another",
            fix=f"write window_ms = [{begin[0]:g}, {end[0]:g}] or another bin under [brainio]",
        )
    return stated, np.append(begin, end[-1]), values


def _psth(assembly: Assembly, values: NDArray[Any], edges: Floats | None, *, unit: str) -> Psth | None:
    """The mean over presentations per bin, where the bins follow one another; counts as spikes/s."""
    if (
        edges is None
        or len(values) < 2
        or values.dtype.kind not in "iuf"
        or any(n in assembly.attributes and not _is_nan(assembly.attributes[n]) for n in STORED)
    ):
        return None
    seconds = np.diff(edges) / 1000 if unit == "spikes" else 1.0
    halves = np.stack([values[h::2].mean(axis=0, dtype=np.float64) / seconds for h in (0, 1)])
    return Psth(edges, values.mean(axis=0, dtype=np.float64) / seconds, halves)


def _is_nan(value: Any) -> bool:
    """Whether a fill value is NaN, which means do not need to know of."""
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _stated_unit(path: Path, assembly: Assembly) -> str:
    stated = str(assembly.attributes.get("units", assembly.attributes.get("unit", "")))
    if stated:
        return stated
    raise _unusable(
        path,
        found="an assembly that does not say its unit",
        expected="the unit of the responses",
        fix="write unit = ... under [brainio]: spikes, spikes/s, zscore, au, ... (normalised responses: zscore or au)",
    )


def _trial(presentation: Mapping[str, NDArray[Any]], notes: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of ``trial/``; what is no number is left out and told, but for `valid`, which the reader must judge."""
    trial = {}
    for name, column in TRIAL.items():
        if name not in presentation:
            continue
        values = presentation[name]
        whole = values.dtype.kind == "f" and bool(np.all(np.isfinite(values))) and not np.any(values % 1)
        values = values.astype(np.int64) if whole and column != "onset_s" else values
        if values.dtype.kind in ("biu" if column != "onset_s" else "iuf"):
            trial[column] = values.astype(np.uint8) if values.dtype.kind == "b" else values
        elif column == "valid":
            trial[column] = np.array(
                [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values.tolist()]
            )
        else:
            notes.append(f"the coordinate {name} was not taken as trial/{column}: it holds no whole numbers")
    return trial


def _site_columns(neuroid: Mapping[str, NDArray[Any]], options: BrainioOptions) -> dict[str, NDArray[Any]]:
    """Every coordinate of the neuroids but the id; the area under its own name."""
    columns = {n: c for n, c in neuroid.items() if n not in (options.site_id, "neuroid", "source_id")}
    if options.area in columns and "area" not in columns:
        columns["area"] = columns.pop(options.area)
    return {n.replace("/", "_"): c.astype(np.uint8) if c.dtype.kind == "b" else c for n, c in columns.items()}


def _session(neuroid: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """The subject, where all neuroids are of one."""
    for name in ("animal", "subject", "subject_id"):
        if name in neuroid and len(subjects := np.unique(neuroid[name].astype(np.str_))) == 1:
            return {"subject": str(subjects[0])}
    return {}


def _unusable(path: Path, *, found: str, expected: str, fix: str) -> DataError:
    """H08: the assembly cannot be read, or lacks what is needed."""
    return DataError(
        str(path),
        found=found,
        expected=expected,
        cause="an assembly is written by whoever packages it, and says as much as they knew",
        fix=fix,
        code="H08",
    )
