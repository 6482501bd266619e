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
    if not hasattr(indexed, "target"):  # one value per row, without an index
        return [np.atleast_1d(v) for v in np.asarray(indexed.data[:])]
    values, ends = np.asarray(indexed.target.data[:]), np.asarray(indexed.data[:], dtype=np.int64)
    return np.split(values, ends[:-1]) if len(ends) else []


def note_choice(path: Path, table: Any, options: NwbOptions, *, kept_rows: int, notes: list[str]) -> None:
    """Tell how many rows of units or ROIs were kept, or by which column they could be chosen."""
    rows = len(table.id)
    if options.keep_sites:
        notes.append(f"{kept_rows} of {rows} rows of {table.name} were kept, as keep_sites says")
        return
    for name in QUALITY:
        if name in table.colnames and not hasattr(table[name], "target"):
            labels, counts = np.unique(texts(path, column(path, table, "keep_sites", named=name)), return_counts=True)
            if 1 < len(labels) <= 12:
                told = ", ".join(f"{label or 'none'}: {n}" for label, n in zip(labels, counts, strict=True))
                notes.append(
                    f"all {rows} rows of {table.name} were taken, whatever {name} says ({told}); see keep_sites"
                )


def site_names(path: Path, table: Any, options: NwbOptions, *, keep: NDArray[np.intp], prefix: str) -> NDArray[np.str_]:
    """`prefix` and the id of each row, or the text of the column that `site_id_column` names."""
    if options.site_id_column:
        return texts(path, [column(path, table, "site_id_column", named=options.site_id_column)[u] for u in keep])
    return np.array([f"{prefix}_{table.id[int(u)]}" for u in keep], dtype=np.str_)


def _unit_columns(
    path: Path, nwb: Any, options: NwbOptions, *, keep: NDArray[np.intp], notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Area, electrode and place of each unit, from its electrode; of several, the area that all of them have."""
    table, columns = nwb.units, {}
    electrodes = nwb.electrodes
    if "electrodes" in table.colnames and electrodes is not None:
        listed = ragged(table["electrodes"])
        columns = _electrode_columns(path, electrodes, [np.asarray(listed[u], dtype=np.int64).tolist() for u in keep])
        several = sum(len(listed[u]) > 1 for u in keep)
        if several:
            notes.append(
                f"{several} units have several electrodes: none of them is taken for the place of the unit, "
                "and an area only where all of them have it"
            )
    elif "peak_channel_id" in table.colnames and electrodes is not None:
        row_of = {str(int(e)): r for r, e in enumerate(electrodes.id[:])}
        channels = column(path, table, "peak_channel_id", named="peak_channel_id")
        known = [row_of.get(str(channels[u]).removesuffix(".0"), -1) for u in keep]
        columns = _electrode_columns(path, electrodes, [[row] if row >= 0 else [] for row in known])
    elif "electrode_group" in table.colnames:
        groups = [table["electrode_group"].data[int(u)] for u in keep]
        columns = {"area": texts(path, [g.location for g in groups]), "probe": texts(path, [g.name for g in groups])}
    if options.area_column:
        columns["area"] = texts(path, [column(path, table, "area_column", named=options.area_column)[u] for u in keep])
    return columns


def _electrode_columns(path: Path, electrodes: Any, rows: list[list[int]]) -> dict[str, NDArray[Any]]:
    """Columns of ``site/`` from the rows of the electrodes table that each unit has; "" or none where it is not one."""

    def shared(entries: list[list[str]]) -> NDArray[np.str_]:
        return texts(path, [each[0] if len(set(each)) == 1 else "" for each in entries])

    groups = electrodes["group"].data if "group" in electrodes.colnames else [None] * len(electrodes.id)
    places = electrodes["location"].data if "location" in electrodes.colnames else [""] * len(electrodes.id)
    columns: dict[str, NDArray[Any]] = {
        "electrode": shared([[str(electrodes.id[r]) for r in each] for each in rows]),
        "area": shared([[_area(places[r], groups[r]) for r in each] for each in rows]),
        "probe": shared([[getattr(groups[r], "name", "") for r in each] for each in rows]),
    }
    for names in (("rel_x", "rel_y"), ("x", "y")):
        if all(n in electrodes.colnames for n in names) and all(len(each) == 1 for each in rows):
            place = np.array([[electrodes[n].data[r] for r, *_ in rows] for n in names], dtype=np.float64)
            if np.all(np.isfinite(place)) and np.any(place != place[:, :1]):
                columns |= {"x_um": place[0], "y_um": place[1]}
                break
    return {name: values for name, values in columns.items() if np.any(values != "")}


def _area(location: Any, group: Any) -> str:
    """The location of an electrode, or of its group where that is not known."""
    known = str(location).lower() not in ("", "unknown", "n/a", "nan")
    return str(location) if known else str(getattr(group, "location", None) or "")
