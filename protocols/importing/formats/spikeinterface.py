"""SpikeInterface: a folder of a sorting or a SortingAnalyzer, read as numbers and text; no class is loaded from it.

The library itself loads such folders by the class that a JSON file names, and properties of units by pickle. Nothing of
either happens here: the layout is read directly, and properties that are Python objects are left out and told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from protocols.arrays import Floats, Ints
from protocols.disk.foreign import read_text
from protocols.disk.numpy_files import open_npz
from protocols.errors import DataError
from protocols.importing.contract import ImportedTable
from protocols.importing.events import Sorted, SpikeOptions, read_events, spike_table, tables_among

from .arrays import load_npy

CLASSES = (
    "spikeinterface.core.sortingfolder.NumpyFolderSorting",
    "spikeinterface.core.sortingfolder.NpzFolderSorting",
    "spikeinterface.core.npzsortingextractor.NpzSortingExtractor",
    "spikeinterface.core.npzfolder.NpzFolderSorting",
)
"""Classes whose layout is read here."""
_SAVE = 'save it again in Python: sorting.save(folder="sorted", format="numpy_folder")'
_JSON_LIMIT = 50_000_000
_AREA = ("brain_area", "location", "area")


class SpikeinterfaceOptions(SpikeOptions):
    """The table ``[spikeinterface]`` of map.toml."""

    segment: int | None = Field(
        default=None, ge=0, description="[index] which segment of the recording; needed where several"
    )
    keep: dict[str, list[str]] = Field(
        default={}, description="[property] units to take: those with one of these words"
    )


@dataclass(frozen=True)
class _Sorting:
    """A sorting as the files hold it: sample and unit of every spike of one segment."""

    samples: Ints
    units: Ints
    unit_ids: list[str]
    rate: float
    properties: dict[str, NDArray[Any]] = field(default_factory=dict)


def read_spikeinterface(files: Sequence[Path], options: SpikeinterfaceOptions, /) -> ImportedTable:
    """Counts of the units of a saved sorting, one row per presentation of the event table.

    Parameters
    ----------
    files : sequence of Path
        The folder (of a sorting or a SortingAnalyzer) or the .npz file, and the event table.
    options : SpikeinterfaceOptions

    Raises
    ------
    DataError
        H20: no saved sorting, or one that is damaged; H21: a folder that only Python code could load; H22: which
        segment or units are meant is not known; H10 to H13: see `events`; H01 to H05: see
        `protocols.importing.windows`.
    """
    tables, others = tables_among(files)
    if len(others) != 1:
        raise _none(others[0] if others else Path("files"), f"{len(others)} folders", "one folder of a sorting")
    folder = others[0] / "sorting" if (others[0] / "sorting").is_dir() else others[0]
    analyzer = others[0] if folder != others[0] else None
    events = read_events(tables, options.events)
    notes: list[str] = []
    sorting = _sorting(folder, options, notes)
    sites = sorting.properties | (_locations(analyzer, len(sorting.unit_ids), notes) if analyzer else {})
    kept = _kept(folder, sorting, options, notes=notes)
    notes.insert(0, f"spikes are samples at {sorting.rate:.9g} Hz from the first sample of the recording")
    spikes = Sorted(
        path=others[0],
        trains=_trains(sorting, kept),
        site_id=[f"unit_{sorting.unit_ids[u]}" for u in kept],
        site={name: column[kept] for name, column in sites.items()},
        samples_per_s=sorting.rate,
        observed_s=_observed(analyzer, sorting.rate, options.segment or 0),
        notes=notes,
    )
    return spike_table(spikes, events, options)


def _sorting(folder: Path, options: SpikeinterfaceOptions, notes: list[str]) -> _Sorting:
    """The sorting in a folder of numpy or npz files, or in one npz file."""
    if folder.suffix == ".npz" and folder.is_file():
        return _npz(folder, options)
    _only_known(folder)
    if (folder / "numpysorting_info.json").is_file():
        sorting = _numpy_folder(folder, options)
    elif (folder / "sorting_cached.npz").is_file():
        sorting = _npz(folder / "sorting_cached.npz", options)
    else:
        raise _none(folder, _what(folder), "numpysorting_info.json and spikes.npy, or sorting_cached.npz")
    return _Sorting(
        sorting.samples,
        sorting.units,
        sorting.unit_ids,
        sorting.rate,
        _properties(folder, len(sorting.unit_ids), notes),
    )


def _only_known(folder: Path) -> None:
    """H21 where the folder names a class that is not known, or holds nothing but a pickle."""
    about = folder / "si_folder.json"
    known = _json(about).get("class") if about.is_file() else None
    pickles = [p.name for p in folder.glob("*") if p.suffix in (".pkl", ".pickle")] if folder.is_dir() else []
    data = [n for n in ("numpysorting_info.json", "sorting_cached.npz") if (folder / n).is_file()]
    if (known is None or known in CLASSES) and (data or not pickles):
        return
    raise DataError(
        folder.name,
        found=f"a folder that is loaded by the class {str(known)[:80]}"
        if known is not None
        else f"the pickle {pickles[0]}",
        expected="a sorting saved as numpy_folder",
        cause="such a folder runs Python code when it is loaded, which is never done here",
        fix=_SAVE,
        code="H21",
    )


def _what(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    if folder.suffix == ".zarr" or (folder / ".zattrs").exists() or (folder / "zarr.json").exists():
        return "a sorting in Zarr"
    inside = sorted(p.name for p in folder.iterdir())[:6] if folder.is_dir() else [folder.name]
    return f"a folder with {', '.join(inside) or 'nothing'}"


def _numpy_folder(folder: Path, options: SpikeinterfaceOptions) -> _Sorting:
    info = _json(folder / "numpysorting_info.json")
    spikes = load_npy(folder / "spikes.npy", expected="the spikes of all units", code="H20")
    names = spikes.dtype.names or ()
    ids, rate, segments = info.get("unit_ids"), info.get("sampling_frequency"), info.get("num_segments")
    if not {"sample_index", "unit_index", "segment_index"} <= set(names) or not isinstance(ids, list):
        raise _none(folder, f"spikes of the columns {', '.join(names) or spikes.dtype.name}", "sample, unit, segment")
    if not isinstance(segments, int):
        raise _none(folder, f"num_segments = {segments!r}", "a whole number in numpysorting_info.json")
    which = _segment(folder, segments, options)
    inside = np.asarray(spikes["segment_index"]) == which
    samples, units = (np.asarray(spikes[n][inside], dtype=np.int64) for n in ("sample_index", "unit_index"))
    return _checked(folder, samples, units, ids=ids, rate=rate)


def _npz(path: Path, options: SpikeinterfaceOptions) -> _Sorting:
    """The layout of NpzSortingExtractor: spike_indexes_segN and spike_labels_segN."""
    try:
        with open_npz(path) as file:
            ids, rate = file["unit_ids"].tolist(), float(file["sampling_frequency"].reshape(-1)[0])
            which = _segment(path, int(file["num_segment"].reshape(-1)[0]), options)
            samples, labels = file[f"spike_indexes_seg{which}"], file[f"spike_labels_seg{which}"].tolist()
    except (ValueError, IndexError, OSError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        text = "Python objects (pickled)" if "pickle" in str(error) else str(error)[:80] or "nothing"
        raise _none(path, f"a file that is not read ({text})", "unit_ids, sampling_frequency and spikes") from error
    position = {unit: n for n, unit in enumerate(ids)}
    units = np.array([position.get(unit, -1) for unit in labels], dtype=np.int64)
    if samples.dtype.kind not in "iu":
        raise _none(path, f"spikes of {samples.dtype}", "whole numbers: samples")
    return _checked(path, samples.astype(np.int64), units, ids=ids, rate=rate)


def _checked(path: Path, samples: Ints, units: Ints, *, ids: list[Any], rate: Any) -> _Sorting:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 100 <= rate <= 1e6:
        raise _none(path, f"sampling_frequency = {rate!r}", "a sampling rate in Hz, such as 30000.0")
    if samples.shape != units.shape or samples.ndim != 1 or not len(samples):
        raise _none(path, f"{samples.shape} samples and {units.shape} units", "one unit per spike, and some spikes")
    if samples.min() < 0 or units.min() < 0 or units.max() >= len(ids):
        raise _none(path, "spikes before the first sample, or of units that are not listed", "those of unit_ids")
    if len({str(i) for i in ids}) != len(ids):
        raise _none(path, "units with one id", "one id per unit")
    return _Sorting(samples, units, [str(i) for i in ids], float(rate))


def _segment(path: Path, segments: int, options: SpikeinterfaceOptions) -> int:
    which = options.segment if options.segment is not None else 0
    if which < segments and (segments == 1 or options.segment is not None):
        return which
    raise DataError(
        path.name,
        found=f"{segments} segments" + (f", and segment = {which}" if options.segment is not None else ""),
        expected="one segment, 0 to " + str(segments - 1),
        cause="each segment has its own clock, which the event table must share",
        fix="state segment in [spikeinterface] of map.toml, and give the events of this segment",
        code="H22",
    )


def _properties(folder: Path, units: int, notes: list[str]) -> dict[str, NDArray[Any]]:
    """One entry per unit of each property that is numbers or text; others are named in a note."""
    found, left = {}, []
    for path in sorted((folder / "properties").glob("*.npy")):
        try:
            column = np.asarray(load_npy(path, expected="a property", code="H20"))
        except DataError:
            left.append(path.stem)
            continue
        if column.shape != (units,) or column.dtype.kind not in "fiubUS" or not re.fullmatch(r"\w{1,60}", path.stem):
            left.append(path.stem)
            continue
        text = column.dtype.kind in "US"
        found[path.stem] = (
            column.astype(np.str_) if text else column.astype(float) if column.dtype.kind == "b" else column
        )
    if left:
        notes.append(f"properties not read, since they are not one number or text per unit: {', '.join(left[:8])}")
    area = next((name for name in _AREA if name in found and found[name].dtype.kind == "U"), None)
    return found | ({"area": found[area]} if area else {})


def _locations(analyzer: Path, units: int, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Position of each unit (um), where the analyzer estimated it."""
    path = analyzer / "extensions" / "unit_locations" / "unit_locations.npy"
    if not path.is_file():
        return {}
    where = np.asarray(load_npy(path, expected="the positions of the units", code="H20"))
    if where.ndim != 2 or len(where) != units or where.dtype.kind != "f":
        notes.append(f"positions of the units were not read: {where.shape} for {units} units")
        return {}
    return {name: where[:, n].astype(np.float64) for n, name in enumerate(("x_um", "y_um", "z_um")[: where.shape[1]])}


def _observed(analyzer: Path | None, rate: float, segment: int) -> list[tuple[float, float]]:
    """From when to when the recording lasted, where an analyzer keeps its length."""
    path = analyzer / "recording_info" / "recording_attributes.json" if analyzer else None
    samples = _json(path).get("num_samples") if path and path.is_file() else None
    if not isinstance(samples, list) or segment >= len(samples) or not isinstance(samples[segment], int):
        return []
    return [(0.0, samples[segment] / rate)]


def _kept(folder: Path, sorting: _Sorting, options: SpikeinterfaceOptions, *, notes: list[str]) -> list[int]:
    keep = np.ones(len(sorting.unit_ids), dtype=np.bool_)
    for name, words in options.keep.items():
        column = sorting.properties.get(name)
        told = sorted(set(column.astype(str).tolist()))[:6] if column is not None else sorted(sorting.properties)
        keep &= np.isin(column.astype(str), words) if column is not None else False
        if not keep.any():
            raise DataError(
                folder.name,
                found=f"no unit with {name} = {' or '.join(words)}; there are {', '.join(told) or 'no properties'}",
                expected="units to keep",
                cause="the property has another name or other words",
                fix="correct keep in [spikeinterface] of map.toml, or leave it out to take all units",
                code="H22",
            )
    if options.keep:
        notes.append(f"{int(keep.sum())} of {len(keep)} units were taken, by {', '.join(options.keep)}")
    return np.flatnonzero(keep).tolist()


def _trains(sorting: _Sorting, kept: list[int]) -> list[Floats]:
    order = np.argsort(sorting.units, kind="stable")
    bounds = np.searchsorted(sorting.units[order], np.arange(len(sorting.unit_ids) + 1))
    seconds = sorting.samples[order].astype(np.float64) / sorting.rate
    return [np.sort(seconds[bounds[u] : bounds[u + 1]]) for u in kept]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, most=_JSON_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise _none(path, f"a file that is not JSON ({str(error)[:60]})", "what spikeinterface wrote") from error
    return found if isinstance(found, dict) else {}


def _none(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="another folder was named, or it was copied in part",
        fix=f"name the folder that spikeinterface saved, or {_SAVE}",
        code="H20",
    )
