"""What every import hands on: the raw table of a recording, as its file holds it, and what is known beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.hdf5_writing import write_hdf5

from .containers.refusals import unreadable


@dataclass(frozen=True)
class Psth:
    """Mean response against time: shows whether the response window is the right one.

    Of the used trials: all, or 2000 of them spread evenly (see `protocols.importing.windows.psth`).

    Parameters
    ----------
    edges_ms : array of shape (B + 1,)
        Bin edges relative to image onset.
    values : array of shape (U, B)
        Mean per bin and site: spikes/s for spikes, the unit of the recording else.
    halves : array of shape (2, U, B), optional
        The same of every other presentation, from the first and from the second on: what they share follows the onset.
    """

    edges_ms: Floats
    values: Floats
    halves: Floats | None = None


@dataclass(frozen=True)
class ImportedTable:
    """A recording as its files hold it, before any number is believed.

    Nothing is cleaned here: numbers keep the type in which they were stored, so that the reader of responses/1, which
    every import goes through, makes all of its checks on them.

    Parameters
    ----------
    values : array of shape (T, U) or (T, U, B)
        Rows are presentations (or averages), columns are sites, B are time bins; the stored type.
    image : array of shape (T,)
        Of text: the image shown, as the files name it (photographs by file name). Of integers: positions in the sorted
        list of photographs, counted from `index_base`.
    site_id : array of shape (U,), text
    unit : str
        One of `protocols.recordings.units.UNITS`.
    window_ms : (t0, t1) relative to image onset; None only for betas.
    index_base : 0 or 1
        Where `image` holds positions.
    time_bin_edges_ms : array of shape (B + 1,), where values have bins.
    trial : mapping of str to array of shape (T,)
        Columns of ``trial/`` of responses/1: block, rep, onset_s, valid, prev_image_id, averaged_over, on_ms.
    site : mapping of str to array of shape (U,)
        Columns of ``site/``: area, electrode, x_um, y_um, and what else is known of sites.
    baseline : array of shape (U,) or (T, U)
    attributes : mapping
        subject, session_id, silent_trials: what responses/1 knows.
    stored : mapping
        Attributes that say how the numbers are stored (CF: _FillValue, scale_factor, ...), written to `responses`.
    notes : tuple of str
        What the import decided, one sentence each.
    psth : Psth, optional
    images : mapping of str to (H, W) or (H, W, C) uint8 arrays, optional
        Pictures that the files themselves hold, by the name in `image`; loaded by a function where they are many.
    """

    values: NDArray[Any]
    image: NDArray[Any]
    site_id: NDArray[np.str_]
    unit: str
    window_ms: tuple[float, float] | None = None
    index_base: int = 0
    time_bin_edges_ms: Floats | None = None
    trial: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    site: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    baseline: NDArray[Any] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    psth: Psth | None = None
    images: Mapping[str, NDArray[np.uint8]] | None = None


def write_table(path: str | Path, table: ImportedTable) -> None:
    """Write `table` as a file of schema responses/1, atomically and in the stored types; equal tables, equal bytes.

    Raises
    ------
    DataError
        A03: a name or another text holds zero bytes, which no text of HDF5 can.
    """
    _refuse_zero_bytes(Path(path), table)
    write_hdf5(Path(path), lambda file: _write(file, table))


def _refuse_zero_bytes(path: Path, table: ImportedTable) -> None:
    columns: dict[str, Any] = {
        "image_id": table.image,
        "site_id": table.site_id,
        "units": [table.unit],
        **table.trial,
        **table.site,
    }
    columns |= {name: [value] for name, value in table.attributes.items() if isinstance(value, str)}
    for name, column in columns.items():
        if getattr(column, "dtype", np.dtype("U1")).kind in "OUST":
            broken = next((text for text in map(str, column) if "\0" in text), None)
            if broken is not None:
                raise unreadable(path, f"{name} holds a text with zero bytes, {broken[:40]!r}", what="a recording")


def _write(file: Any, table: ImportedTable) -> None:
    text = h5py.string_dtype("utf-8")
    options = {"compression": "gzip", "compression_opts": 4} if table.values.size else {}
    file.create_dataset("responses", data=table.values, **options)
    file["responses"].attrs.update(dict(table.stored))
    if table.image.dtype.kind in "iu":
        file.create_dataset("image_index", data=table.image)
        file.attrs["index_base"] = table.index_base
    else:
        file.create_dataset("image_id", data=[str(i) for i in table.image], dtype=text)
    file.create_dataset("site_id", data=[str(s) for s in table.site_id], dtype=text)
    for group, columns in (("trial", table.trial), ("site", table.site)):
        for name, column in columns.items():
            is_text = column.dtype.kind in "OUST"
            data = [str(v) for v in column] if is_text else column
            file.create_dataset(f"{group}/{name}", data=data, dtype=text if is_text else None)
    if table.time_bin_edges_ms is not None:
        file.create_dataset("time_bin_edges_ms", data=table.time_bin_edges_ms)
    if table.baseline is not None:
        file.create_dataset("baseline", data=table.baseline)
    file.attrs.update(schema="responses/1", writer="python", units=table.unit)
    if table.window_ms is not None:
        file.attrs["window_ms"] = np.asarray(table.window_ms, dtype=np.float64)
    file.attrs.update(dict(table.attributes))
