"""Sorted spikes and an event table -> the table of counts: what all formats of sorted spikes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from protocols.arrays import Floats
from protocols.importing.contract import ImportedTable
from protocols.importing.windows import counts_in_window, psth_of_spikes

from .clock import onset_seconds
from .table import EventColumns, EventTable


class SpikeOptions(BaseModel):
    """What every format of sorted spikes must be told: the table ``[NAME]`` of map.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    window_ms: tuple[float, float] = Field(description="[ms] response window after image onset")
    baseline_ms: tuple[float, float] | None = Field(
        default=None, description="[ms] window of a baseline kept beside the counts"
    )
    subtract_baseline: bool = Field(default=False, description="subtract it: differences of rates, unit au")
    subject: str | None = Field(default=None, description="name of the subject")
    session_id: str | None = Field(default=None, description="name of the session")
    events: EventColumns = Field(default=EventColumns(), description="what the columns of the event table mean")


@dataclass(frozen=True)
class Sorted:
    """Spikes of one recording on one clock.

    Parameters
    ----------
    path : Path
        Folder or file, named in errors.
    trains : sequence of U arrays
        Spike times per unit, in seconds.
    site_id : sequence of U str
    site : mapping of str to array of shape (U,)
    samples_per_s : float, optional
    observed_s : sequence of (begin, end)
        When the units were recorded, in rising order; empty where the files do not say so.
    notes : list of str
    """

    path: Path
    trains: Sequence[Floats]
    site_id: Sequence[str]
    site: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    samples_per_s: float | None = None
    observed_s: Sequence[tuple[float, float]] = ()
    notes: list[str] = field(default_factory=list)


def spike_table(spikes: Sorted, events: EventTable, options: SpikeOptions) -> ImportedTable:
    """Counts of all units in the response window, one row per presentation of the event table.

    Raises
    ------
    DataError
        H12: see `onset_seconds`; H01 to H05: see `protocols.importing.windows`.
    """
    notes = [*spikes.notes, *events.notes]
    span = (spikes.observed_s[0][0], spikes.observed_s[-1][1]) if spikes.observed_s else None
    if span is None and (every := [t for t in spikes.trains if len(t)]):
        span = (min(float(t.min()) for t in every), max(float(t.max()) for t in every))
    onsets = onset_seconds(events, options.events, notes, samples_per_s=spikes.samples_per_s, span_s=span)
    used = np.where(events.used(), onsets, np.nan)
    observed = [list(spikes.observed_s)] * len(spikes.trains) if spikes.observed_s else None
    counted = counts_in_window(
        spikes.trains,
        used,
        options.window_ms,
        baseline_ms=options.baseline_ms,
        subtract=options.subtract_baseline,
        observed_s=observed,
        where=spikes.path.name,
    )
    return ImportedTable(
        values=counted.values,
        image=events.image,
        site_id=np.array(spikes.site_id, dtype=np.str_),
        unit=counted.unit,
        window_ms=options.window_ms,
        index_base=options.events.index_base or 0,
        trial={**events.trial, "onset_s": onsets},
        site=dict(spikes.site),
        baseline=counted.baseline,
        attributes=named(options.subject, options.session_id),
        notes=(*notes, *counted.notes),
        psth=psth_of_spikes(spikes.trains, used, options.window_ms),
    )


def named(subject: str | None, session_id: str | None) -> dict[str, str]:
    """Attributes of responses/1 that map.toml states."""
    return {k: v for k, v in (("subject", subject), ("session_id", session_id)) if v is not None}
