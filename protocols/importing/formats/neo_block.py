"""Files that neo reads: spikes of one segment, and its events or an event table. No pickle, no file that runs code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from protocols.errors import DataError
from protocols.importing.contract import ImportedTable
from protocols.importing.events import (
    EventTable,
    Sorted,
    SpikeOptions,
    images_of,
    read_events,
    spike_table,
    tables_among,
)

from .neo_files import MATLAB, RAW, Events, Segment, read_matlab, read_raw

Kind = Literal["NeoMatlab", "Blackrock", "Plexon", "Neuralynx", "NeuroExplorer", "Spike2", "OpenEphysBinary", "Tdt"]
_ENDINGS = {".mat": MATLAB, ".nev": "Blackrock", ".plx": "Plexon", ".nex": "NeuroExplorer", ".smr": "Spike2"}


class NeoOptions(SpikeOptions):
    """The table ``[neo]`` of map.toml."""

    io: Kind | None = Field(default=None, description="neo's reader, without IO; absent: by the ending of the file")
    segment: int | None = Field(default=None, ge=0, description="[index] which segment; needed where there are several")
    units: list[str] = Field(default=[], description="[names] of the units that become sites; [] = all")
    event_channel: str | None = Field(
        default=None, description="[name] of neo's events or epochs whose labels are the images"
    )
    label_prefix: str = Field(default="", description="labels that begin with it are images; others are left out")


def read_neo(files: Sequence[Path], options: NeoOptions, /) -> ImportedTable:
    """Counts of the units of a neo segment, one row per presentation.

    Parameters
    ----------
    files : sequence of Path
        A file or folder that neo reads; an event table, where the file's own events do not name the images.
    options : NeoOptions

    Raises
    ------
    DataError
        H18: neo cannot read it (see `neo_files`); H19: which segment, units or events are meant is not known; H10 to
        H13: see `events`; H01 to H05: see `protocols.importing.windows`.
    """
    tables, others = tables_among(files)
    if len(others) != 1:
        raise _unknown(others[0] if others else Path("files"), f"{len(others)} recordings", "one file or folder")
    path = others[0]
    kind = options.io or _ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise _unknown(
            path,
            f"the ending {path.suffix!r}",
            f"io: one of {', '.join((MATLAB, *RAW))}",
            fix='state io in [neo] of map.toml, such as io = "Blackrock"',
        )
    segments = read_matlab(path) if kind == MATLAB else read_raw(path, kind)
    which = _segment(path, len(segments), options)
    segment = segments[which]()
    notes: list[str] = [f"{kind} file, read by neo"]
    kept = _units(path, segment, options, notes)
    if tables:
        events = read_events(tables, options.events)
    else:
        events = _own_events(path, segment, options)
        options = options.model_copy(update={"events": options.events.model_copy(update={"onset_unit": "s"})})
    span = segment.span_s
    if span is not None and any(
        len(t) and (t.min() < span[0] - 1e-3 or t.max() > span[1] + 1e-3) for t in segment.trains
    ):
        notes.append(f"spikes lie outside the segment as the file states it ({span[0]:.6g} to {span[1]:.6g} s)")
        span = None
    spikes = Sorted(
        path=path,
        trains=[np.sort(segment.trains[n]) for n in kept],
        site_id=[segment.names[n] for n in kept],
        span_s=span,
        notes=notes,
    )
    return spike_table(spikes, events, options)


def _segment(path: Path, number: int, options: NeoOptions) -> int:
    which = options.segment or 0
    if which < number and (number == 1 or options.segment is not None):
        return which
    raise _unknown(
        path,
        f"{number} segments" + ("" if options.segment is None else f", and segment = {which}"),
        f"one segment, 0 to {number - 1}" if number else "a segment with spikes",
        fix="state segment in [neo] of map.toml; each segment has its own clock",
    )


def _units(path: Path, segment: Segment, options: NeoOptions, notes: list[str]) -> list[int]:
    names = segment.names
    twice = [name for name, n in Counter(names).items() if n > 1]
    missing = [u for u in options.units if u not in names]
    if not names or twice or missing:
        found = (
            f"two units named {twice[0]!r}" if twice else f"no unit {missing[0]!r}" if missing else "no spike trains"
        )
        raise _unknown(path, f"{found}; there are {', '.join(names[:8]) or 'none'}", "units with names of their own")
    kept = [n for n, name in enumerate(names) if not options.units or name in options.units]
    notes.append(f"{len(kept)} of {len(names)} units were taken")
    return kept


def _own_events(path: Path, segment: Segment, options: NeoOptions) -> EventTable:
    """The events of the file itself, whose labels name the images."""
    named = {channel.name: channel for channel in segment.events if len(channel.times)}
    if options.event_channel is not None:
        channel = named.get(options.event_channel)
    else:
        channel = next(iter(named.values())) if len(named) == 1 else None
    if channel is None:
        raise _unknown(
            path,
            f"events {', '.join(repr(n) for n in named) or 'none'}"
            + ("" if options.event_channel is None else f", and event_channel = {options.event_channel!r}"),
            "the events whose labels are the images, or an event table",
            fix="state event_channel in [neo] of map.toml, or give a table with onset and image",
        )
    return _table(path, channel, options)


def _table(path: Path, channel: Events, options: NeoOptions) -> EventTable:
    keep = np.array(
        [label.startswith(options.label_prefix) and label != "" for label in channel.labels], dtype=np.bool_
    )
    labels = [label for label, kept in zip(channel.labels, keep, strict=True) if kept]
    if not labels:
        raise _unknown(
            path,
            f"events {channel.name!r} with labels such as {channel.labels[0]!r}",
            f"labels that begin with {options.label_prefix!r}" if options.label_prefix else "labels that name images",
            fix="give an event table with onset and image, or correct label_prefix in [neo] of map.toml",
        )
    notes = [f"{len(labels)} of {len(keep)} events {channel.name!r} were taken; their labels are the images"]
    image = images_of(path, labels, options.events, notes=notes)
    return EventTable(path, channel.times[keep], image, {}, {}, tuple(notes))


def _unknown(path: Path, found: str, expected: str, *, fix: str = "correct [neo] of map.toml") -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the file holds several of them, or other names than map.toml says",
        fix=fix,
        code="H19",
    )
