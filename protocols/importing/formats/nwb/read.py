"""An NWB file -> the raw table of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools
from protocols.importing.contract import ImportedTable, Psth
from protocols.importing.windows import (
    Windowed,
    counts_in_window,
    means_in_window,
    psth_of_spikes,
    psth_of_traces,
    window_doubt,
)

from .choices import choose, undecided
from .computed import computed, response_tables
from .file import open_nwb
from .options import NwbOptions
from .presentations import Presentations, presentations
from .rois import rois, series_of
from .units import units


def read_nwb(files: Sequence[Path], options: NwbOptions, /) -> ImportedTable:
    """Read one NWB file.

    Raises
    ------
    DataError
        H01 to H05: clocks and windows, as `protocols.importing.windows` says; H06: the file cannot be opened; H07: what
        is needed is not in the file, or several things could be meant.
    """
    if len(files) != 1:
        raise undecided(
            files[0] if files else Path("."),
            found=f"{len(files)} files",
            expected="one NWB file, which is one session",
            fix="import each session into a file of its own",
        )
    path = files[0]
    notes: list[str] = []
    with open_nwb(path) as nwb:
        shown = presentations(path, nwb, options, notes=notes)
        if options.subtract_baseline and options.baseline_ms is None:
            raise undecided(
                path,
                found="subtract_baseline without baseline_ms",
                expected="the window of the baseline",
                fix="write baseline_ms = [-100, 0] under [nwb], or leave subtract_baseline out",
            )
        site_id, columns, windowed, psth = _responses(path, nwb, options, shown=shown, notes=notes)
        notes += windowed.notes
        doubt = window_doubt(psth, options.window_ms) if psth is not None else None
        notes += [doubt] if doubt else []
        return ImportedTable(
            values=windowed.values,
            image=shown.image,
            site_id=site_id,
            unit=windowed.unit,
            window_ms=options.window_ms,
            trial=shown.columns,
            site=columns,
            baseline=windowed.baseline,
            attributes=_session(nwb),
            notes=tuple(notes),
            psth=psth,
            images=shown.images,
        )


def _responses(
    path: Path, nwb: Any, options: NwbOptions, *, shown: Presentations, notes: list[str]
) -> tuple[NDArray[np.str_], dict[str, NDArray[Any]], Windowed, Psth | None]:
    """Site ids, columns of ``site/``, responses and mean response of the units, ROIs or table that are meant."""
    among: dict[str, Any] = {"units": nwb.units} if nwb.units is not None else {}
    computed_tables = response_tables(nwb)
    chosen = choose(
        path,
        among | series_of(nwb) | computed_tables,
        "responses",
        named=options.responses,
        what="units, RoiResponseSeries and tables of responses",
        notes=notes,
    )
    if chosen.name in computed_tables and chosen is computed_tables[chosen.name]:
        table = computed(path, chosen, options, shown=shown, notes=notes)
        if options.baseline_ms is not None:
            raise undecided(
                path,
                found=f"baseline_ms, and responses that were computed before ({chosen.name})",
                expected="spikes or traces to take a baseline of",
                fix="leave baseline_ms out",
            )
        return table.site_id, table.columns, Windowed(table.values, table.unit), None
    used = shown.onset_s[_used(shown)]
    window: dict[str, Any] = {
        "baseline_ms": options.baseline_ms,
        "subtract": options.subtract_baseline,
        "where": str(path),
    }
    if chosen is nwb.units:
        sites = units(path, nwb, options, notes=notes)
        counted = counts_in_window(
            sites.spike_times_s, shown.onset_s, options.window_ms, observed_s=sites.observed_s, **window
        )
        return sites.site_id, sites.columns, counted, psth_of_spikes(sites.spike_times_s, used, options.window_ms)
    traced = rois(path, chosen, options, notes=notes)
    means = means_in_window(
        traced.traces,
        shown.onset_s,
        options.window_ms,
        frame_times_s=traced.frame_times_s,
        unit=traced.unit,
        **window,
    )
    psth = psth_of_traces(traced.traces, used, options.window_ms, frame_times_s=traced.frame_times_s)
    return traced.site_id, traced.columns, means, psth


def _used(shown: Presentations) -> Bools:
    valid = shown.columns.get("valid")
    if valid is None or valid.dtype.kind not in "biuf":
        return np.asarray(shown.image != "", dtype=np.bool_)
    return np.asarray((valid != 0) & (shown.image != ""), dtype=np.bool_)


def _session(nwb: Any) -> dict[str, str]:
    """Subject and session of the file, where it names them."""
    subject = nwb.subject.subject_id if nwb.subject is not None else None
    named = {"subject": subject, "session_id": nwb.session_id or nwb.identifier}
    return {name: str(value) for name, value in named.items() if value}
