"""ROI responses of an NWB file: fluorescence, dF/F or deconvolved traces, and what is known of each ROI."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.importing.windows import frame_times
from protocols.recordings.units import UNITS

from .choices import choose, column, kept, texts, undecided
from .options import NwbOptions
from .units import note_choice, site_names

DECONVOLVED = ("deconv", "spks", "spike", "event")


@dataclass(frozen=True)
class Rois:
    """ROIs that were kept.

    Parameters
    ----------
    site_id : array of shape (U,)
    traces : array of shape (F, U)
    frame_times_s : array of shape (F,)
    unit : str
    columns : mapping of str to array of shape (U,)
    """

    site_id: NDArray[np.str_]
    traces: NDArray[Any]
    frame_times_s: Floats
    unit: str
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


def series_of(nwb: Any) -> dict[str, Any]:
    """Every RoiResponseSeries by its name, or by its container and name where two have the same name."""
    found = [o for o in nwb.objects.values() if type(o).__name__ == "RoiResponseSeries"]
    names = [o.name for o in found]
    return {o.name if names.count(o.name) == 1 else f"{o.parent.name}/{o.name}": o for o in found}


def rois(path: Path, series: Any, options: NwbOptions, *, notes: list[str]) -> Rois:
    """The ROIs of one series that `keep_sites` lets through (H07: the unit or the frame times cannot be known)."""
    region, table = np.asarray(series.rois.data[:], dtype=np.int64), series.rois.table
    data = series.data[:] if len(series.data.shape) == 2 else np.asarray(series.data[:])[:, None]
    data, times = _oriented(path, series, data, sites=len(region), notes=notes)
    keep_rows = kept(path, table, "keep_sites", wanted=options.keep_sites, rows=len(table.id))
    keep = np.nonzero(keep_rows[region])[0]
    if not keep.size:
        raise undecided(
            path,
            found=f"no ROI of {series.name} that keep_sites lets through",
            expected="ROIs to import",
            fix="correct keep_sites",
        )
    note_choice(path, table, options, kept_rows=len(keep), notes=notes)
    traces = data[:, keep]
    scale, offset = float(series.conversion or 1.0), float(series.offset or 0.0)
    if scale != 1 or offset:
        traces = traces * scale + offset
        notes.append(f"{series.name} was multiplied by {scale:g} (conversion), and {offset:g} was added (offset)")
    rows = region[keep]
    columns = {}
    location = getattr(getattr(table, "imaging_plane", None), "location", None)
    if options.area_column:
        columns["area"] = texts(path, [column(path, table, "area_column", named=options.area_column)[r] for r in rows])
    elif location:
        columns["area"] = texts(path, [location] * len(rows))
    return Rois(
        site_id=site_names(path, table, options, keep=rows, prefix="roi"),
        traces=traces,
        frame_times_s=times * options.spike_seconds,
        unit=_unit(path, series, options, notes=notes),
        columns=columns,
    )


def _oriented(
    path: Path, series: Any, data: NDArray[Any], *, sites: int, notes: list[str]
) -> tuple[NDArray[Any], Floats]:
    """The data as frames x ROIs, with the time of each frame (H07 where the shape fits neither way)."""
    stamps = None if series.timestamps is None else np.asarray(series.timestamps[:], dtype=np.float64)
    frames = data.shape[0] if stamps is None else len(stamps)
    if data.shape == (frames, sites):
        pass
    elif data.shape[0] == sites and (stamps is None or data.shape[1] == frames):
        data = data.T
        frames = len(data)
        notes.append(f"{series.name} is stored as ROIs x frames: transposed")
    else:
        raise undecided(
            path,
            found=f"{series.name} of shape {'x'.join(map(str, data.shape))}, with {sites} ROIs and {frames} times",
            expected="frames x ROIs",
            fix="correct the series, or name another one as responses",
        )
    if stamps is not None:
        return data, stamps
    if not series.rate:
        raise undecided(
            path,
            found=f"{series.name} without timestamps and without a rate",
            expected="the time of each frame",
            fix="write timestamps or rate into the file",
        )
    return data, frame_times(frames, float(series.rate), float(series.starting_time or 0.0))


def _unit(path: Path, series: Any, options: NwbOptions, *, notes: list[str]) -> str:
    """The unit that the options name, or that the container and name of the series say."""
    if options.unit:
        return choose(path, dict(zip(UNITS, UNITS, strict=True)), "unit", named=options.unit, what="units", notes=notes)
    name = series.name.lower()
    if type(series.parent).__name__ == "DfOverF":
        unit, why = "dff", "it stands in a DfOverF"
    elif any(word in name for word in DECONVOLVED):
        unit, why = "deconvolved", "as its name says"
    elif "dff" in name or "df_f" in name or "dfoverf" in name:
        unit, why = "dff", "as its name says"
    else:
        unit, why = "au", "raw fluorescence has no unit"
    notes.append(f"the unit of {series.name} is {unit}: {why} (unit = ... names another)")
    return unit
