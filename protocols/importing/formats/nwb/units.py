"""The units of an NWB file: spike times, observed intervals, and what is known of each unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats

from .choices import column, kept, texts, undecided
from .options import NwbOptions

QUALITY = ("quality", "label", "group", "KSLabel", "ks_labels", "is_good", "sorting_quality", "Accepted", "accepted")
"""Columns by which units are usually chosen; told where they were not."""


@dataclass(frozen=True)
class Units:
    """Units that were kept.

    Parameters
    ----------
    site_id : array of shape (U,)
    spike_times_s : list of U arrays
    observed_s : list of U arrays of shape (N, 2), or None where the file does not say
    columns : mapping of str to array of shape (U,)
        Columns of ``site/``.
    """

    site_id: NDArray[np.str_]
    spike_times_s: list[NDArray[Any]]
    observed_s: list[Floats] | None = None
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


def units(path: Path, nwb: Any, options: NwbOptions, *, notes: list[str]) -> Units:
    """The units that `keep_sites` lets through, in the order of the file (H07: no spike times)."""
    table = nwb.units
    if "spike_times" not in table.colnames:
        raise undecided(
            path,
            found=f"units with the columns {', '.join(table.colnames) or 'none'}",
            expected="a column spike_times",
            fix="name a RoiResponseSeries as responses, or sort the spikes first",
        )
    rows = len(table.id)
    keep = np.nonzero(kept(path, table, "keep_sites", wanted=options.keep_sites, rows=rows))[0]
    note_choice(path, table, options, kept_rows=len(keep), notes=notes)
    spikes = ragged(table["spike_times"])
    if options.spike_seconds != 1:
        spikes = [s * options.spike_seconds for s in spikes]
        notes.append(f"spike times were multiplied by {options.spike_seconds:g}, as spike_seconds says")
    observed = None
    if "obs_intervals" in table.colnames:
        every = [np.reshape(o, (-1, 2)) * options.spike_seconds for o in ragged(table["obs_intervals"])]
        observed = [every[u] for u in keep] if any(o.size for o in every) else None
        if observed is None:
            notes.append("obs_intervals of the units are empty: the recording lasts from the first to the last spike")
    return Units(
        site_id=site_names(path, table, options, keep=keep, prefix="unit"),
        spike_times_s=[spikes[u] for u in keep],
        observed_s=observed,
        columns=_unit_columns(path, nwb, options, keep=keep, notes=notes),
    )


def ragged(indexed: Any) -> list[NDArray[Any]]:
    """Every entry of a ragged column, read in one go."""
    values, ends = np.asarray(indexed.target.data[:]), np.asarray(indexed.data[:], dtype=np.int64)
    return np.split(values, ends[:-1]) if len(ends) else []


def note_choice(path: Path, table: Any, options: NwbOptions, *, kept_rows: int, notes: list[str]) -> None:
    """Tell how many rows of units or ROIs were kept, or by which column they could be chosen."""
    rows = len(table.id)
    if options.keep_sites:
        notes.append(f"{kept_rows} of {rows} rows of {table.name} were kept, as keep_sites says")
        return
    for name in QUALITY:
        if name in table.colnames:
            labels, counts = np.unique(texts(column(path, table, "keep_sites", named=name)), return_counts=True)
            if 1 < len(labels) <= 12:
                told = ", ".join(f"{label or 'none'}: {n}" for label, n in zip(labels, counts, strict=True))
                notes.append(
                    f"all {rows} rows of {table.name} were taken, whatever {name} says ({told}); see keep_sites"
                )


def site_names(path: Path, table: Any, options: NwbOptions, *, keep: NDArray[np.intp], prefix: str) -> NDArray[np.str_]:
    """`prefix` and the id of each row, or the text of the column that `site_id_column` names."""
    if options.site_id_column:
        return texts([column(path, table, "site_id_column", named=options.site_id_column)[u] for u in keep])
    return np.array([f"{prefix}_{table.id[int(u)]}" for u in keep], dtype=np.str_)


def _unit_columns(
    path: Path, nwb: Any, options: NwbOptions, *, keep: NDArray[np.intp], notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Area, electrode and place of each unit, from the first of its electrodes."""
    table, columns = nwb.units, {}
    electrodes = nwb.electrodes
    if "electrodes" in table.colnames and electrodes is not None:
        listed = ragged(table["electrodes"])
        row = np.array([int(listed[u][0]) if len(listed[u]) else -1 for u in keep], dtype=np.int64)
        several = sum(len(listed[u]) > 1 for u in keep)
        if several:
            notes.append(f"{several} units have several electrodes: area, electrode and place are those of the first")
        columns = _electrode_columns(electrodes, row)
    elif "peak_channel_id" in table.colnames and electrodes is not None:
        row_of = {int(e): r for r, e in enumerate(electrodes.id[:])}
        channels = column(path, table, "peak_channel_id", named="peak_channel_id")
        columns = _electrode_columns(electrodes, np.array([row_of.get(int(channels[u]), -1) for u in keep]))
    elif "electrode_group" in table.colnames:
        groups = [table["electrode_group"].data[int(u)] for u in keep]
        columns = {"area": texts([g.location for g in groups]), "probe": texts([g.name for g in groups])}
    if options.area_column:
        columns["area"] = texts([column(path, table, "area_column", named=options.area_column)[u] for u in keep])
    return columns


def _electrode_columns(electrodes: Any, row: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Columns of ``site/`` from rows of the electrodes table (-1: no electrode)."""

    def entries(name: str) -> list[Any]:
        data = electrodes[name].data
        return [data[int(r)] if r >= 0 else "" for r in row]

    columns: dict[str, NDArray[Any]] = {"electrode": texts([electrodes.id[int(r)] if r >= 0 else "" for r in row])}
    group = entries("group") if "group" in electrodes.colnames else [""] * len(row)
    location = list(texts(entries("location"))) if "location" in electrodes.colnames else [""] * len(row)
    known = [
        (place if str(place).lower() not in ("", "unknown", "n/a") else getattr(g, "location", None) or "")
        for place, g in zip(location, group, strict=True)
    ]
    columns["area"] = texts(known)
    columns["probe"] = texts([getattr(g, "name", "") for g in group])
    for names in (("rel_x", "rel_y"), ("x", "y")):
        if all(n in electrodes.colnames for n in names) and np.all(row >= 0):
            place = np.array([entries(n) for n in names], dtype=np.float64)
            if np.all(np.isfinite(place)) and np.any(place != place[:, :1]):
                columns |= {"x_um": place[0], "y_um": place[1]}
                break
    return {name: values for name, values in columns.items() if np.any(values != "")}
