"""Responses that were computed before the file was written: a table with one row per presentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.recordings.units import UNITS

from .choices import column, kept, take, texts, undecided
from .options import NwbOptions
from .presentations import Presentations
from .units import note_choice


@dataclass(frozen=True)
class Computed:
    """Responses as a table of the file holds them.

    Parameters
    ----------
    site_id : array of shape (U,)
    values : array of shape (T, U)
        In the stored type; NaN for presentations without a row.
    unit : str
    columns : mapping of str to array of shape (U,)
    """

    site_id: NDArray[np.str_]
    values: NDArray[Any]
    unit: str
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


def response_tables(nwb: Any) -> dict[str, Any]:
    """Every table under ``processing`` with a column of numbers that has one entry per site."""
    tables = [t for module in (nwb.processing or {}).values() for t in module.data_interfaces.values()]
    return {t.name: t for t in tables if hasattr(t, "colnames") and _matrices(t)}


def _matrices(table: Any) -> list[str]:
    found = []
    for name in table.colnames:
        data = getattr(table[name], "data", None)
        if len(getattr(data, "shape", ())) == 2 and getattr(data, "dtype", np.dtype("O")).kind in "iuf":
            found.append(name)
    return found


def computed(path: Path, table: Any, options: NwbOptions, *, shown: Presentations, notes: list[str]) -> Computed:
    """The responses of a table, in the order of the presentations (H07: rows, sites, unit or window do not fit)."""
    names = _matrices(table)
    if len(names) != 1:
        raise _unfit(path, f"{table.name} with the columns {', '.join(names)}", "one column of responses")
    values = np.asarray(table[names[0]].data[:])
    values = _by_presentation(path, table, values, shown=shown)
    sites = next((t for n, t in table.parent.data_interfaces.items() if n == "sites" and hasattr(t, "colnames")), None)
    if sites is None:
        notes.append(f"{table.name} does not name its sites: they are numbered from 0")
        if options.keep_sites or options.site_id_column or options.area_column:
            raise _unfit(path, f"no table of sites beside {table.name}", "a table `sites` with one row per site")
        ids = np.array([f"site_{u}" for u in range(values.shape[1])])
        return Computed(ids, values, _unit(path, table.name, options, stated=set()))
    if len(sites.id) != values.shape[1]:
        raise _unfit(path, f"{len(sites.id)} rows of sites and {values.shape[1]} responses per row", "one row per site")
    keep = np.nonzero(kept(path, sites, "keep_sites", wanted=options.keep_sites, rows=len(sites.id)))[0]
    note_choice(path, sites, options, kept_rows=len(keep), notes=notes)
    plain = [n for n in sites.colnames if getattr(sites[n].data, "ndim", 1) == 1 and not hasattr(sites[n], "target")]
    entries = {n: [column(path, sites, "keep_sites", named=n)[u] for u in keep] for n in plain}
    window = {
        tuple(w) for w in zip(entries.get("window_start_ms", []), entries.get("window_stop_ms", []), strict=False)
    }
    if window and window != {tuple(options.window_ms)}:
        raise _unfit(path, f"responses in the windows {sorted(window)}", f"window_ms = {list(options.window_ms)}")
    named = options.site_id_column or ("site_id" if "site_id" in entries else "id")
    ids = texts(path, entries[named] if named in entries else column(path, sites, "site_id_column", named=named))
    area = (
        take(path, entries, "area_column", named=options.area_column, what="columns of sites")
        if options.area_column
        else None
    )
    columns = {n: np.asarray(c) for n, c in entries.items() if n not in (named, "source_site_id", "unit")}
    columns = {n: texts(path, c.tolist()) if c.dtype.kind not in "biuf" else c for n, c in columns.items()}
    columns |= {"area": texts(path, area)} if area is not None else {}
    unit = _unit(path, table.name, options, stated=set(texts(path, entries.get("unit", [])).tolist()))
    return Computed(ids, values[:, keep], unit, columns)


def _by_presentation(path: Path, table: Any, values: NDArray[Any], *, shown: Presentations) -> NDArray[Any]:
    """The rows of `values` in the order of the presentations, by the column that points to their table."""
    if shown.table is None:
        raise _unfit(path, f"{table.name}, and presentations of an IndexSeries", "the table that its rows belong to")
    regions = [n for n in table.colnames if getattr(table[n], "table", None) is shown.table]
    row = np.asarray(table[regions[0]].data[:], dtype=np.int64) if regions else np.arange(len(values))
    if not regions and len(values) != len(shown.table.id):
        raise _unfit(path, f"{len(values)} rows of {table.name}", f"{len(shown.table.id)}, as in {shown.table.name}")
    if len(set(row.tolist())) < len(row):
        raise _unfit(path, f"{table.name} with several rows for one presentation", "one row per presentation")
    at = np.full(len(shown.table.id), -1)
    at[row] = np.arange(len(row))
    at = at[shown.row]
    found: NDArray[Any] = values[at]
    return np.where((at < 0)[:, None], np.nan, found) if np.any(at < 0) else found


def _unit(path: Path, name: str, options: NwbOptions, *, stated: set[str]) -> str:
    if options.unit:
        take(path, UNITS, "unit", named=options.unit, what="units")
        return options.unit
    if len(stated) == 1:
        return stated.pop()
    raise _unfit(path, f"{name}, which does not say its unit", "unit = ... under [nwb]")


def _unfit(path: Path, found: str, expected: str) -> Exception:
    fix = "correct the map, or name units or a RoiResponseSeries as responses"
    return undecided(path, found=found, expected=expected, fix=fix)
