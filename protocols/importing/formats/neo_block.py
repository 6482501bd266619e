"""Files that neo reads: spikes and events of one segment or of all, or an event table. Nothing is unpickled or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
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
GAP_S = 5.0
"""Between segments that are put on one clock, so that no window reaches from one into the next."""
_ENDINGS = {".mat": MATLAB, ".nev": "Blackrock", ".plx": "Plexon", ".nex": "NeuroExplorer", ".smr": "Spike2"}


class NeoOptions(SpikeOptions):
    """The table ``[neo]`` of map.toml."""

    io: Kind | None = Field(default=None, description="neo's reader, without IO; absent: by the ending of the file")
    segment: int | Literal["all"] | None = Field(
        default=None, description='[index] which segment, or "all" (one per trial); needed where there are several'
    )
    units: list[str] = Field(default=[], description="[names] of the units that become sites; [] = all")
    event_channel: str | None = Field(
        default=None, description="[name] of neo's events or epochs whose labels are the images"
    )
    label_prefix: str = Field(default="", description="labels that begin with it are images; others are left out")


def read_neo(files: Sequence[Path], options: NeoOptions, /) -> ImportedTable:
    """Counts of the units of one neo segment, or of all of them, one row per presentation.

    Parameters
    ----------
    files : sequence of Path
        A file or folder that neo reads; an event table, where the file's own events do not name the images.
    options : NeoOptions

    Raises
    ------
    DataError
        H18: neo cannot read it (see `neo_files`); H19: which segment, units or events are meant is not known; H10 to
        H13: see `protocols.importing.events`; H01 to H05: see `protocols.importing.windows`.
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
    notes: list[str] = [f"{kind} file, read by neo"]
    segments = read_matlab(path) if kind == MATLAB else read_raw(path, kind)
    chosen = [segments[n]() for n in _segments(path, len(segments), options)]
    segment = chosen[0] if len(chosen) == 1 else _on_one_clock(path, chosen, notes)
    kept = _units(path, segment, options, notes=notes)
    if tables and len(chosen) > 1:
        raise _unknown(
            tables[0],
            f"an event table for {len(chosen)} segments",
            "events in the file itself, or one segment",
            fix="leave the table out, or state one segment in [neo] of map.toml and give the events of this segment",
        )
    if tables:
        events = read_events(tables, options.events)
    else:
        events = _own_events(path, segment, options)
        options = options.model_copy(update={"events": options.events.model_copy(update={"onset_unit": "s"})})
    spikes = Sorted(
        path=path,
        trains=[np.sort(segment.trains[n]) for n in kept],
        site_id=[segment.names[n] for n in kept],
        observed_s=_observed(segment, notes),
        notes=notes,
    )
    table = spike_table(spikes, events, options)
    if len(chosen) == 1:
        return table
    return replace(table, trial={name: column for name, column in table.trial.items() if name != "onset_s"})


def _segments(path: Path, number: int, options: NeoOptions) -> list[int]:
    if options.segment == "all" and number:
        return list(range(number))
    which = 0 if options.segment in (None, "all") else int(options.segment or 0)
    if which < number and which >= 0 and (number == 1 or options.segment is not None):
        return [which]
    raise _unknown(
        path,
        f"{number} segments" + ("" if options.segment is None else f", and segment = {which}"),
        f"one segment, 0 to {number - 1}" if number else "a segment with spikes",
        fix='state segment in [neo] of map.toml: its number, or "all" where each trial is a segment',
    )


def _on_one_clock(path: Path, segments: Sequence[Segment], notes: list[str]) -> Segment:
    """Segments one after another, with a gap between; their times are no longer those of the file."""
    names = segments[0].names
    if any(sorted(s.names) != sorted(names) for s in segments) or len(set(names)) < len(names):
        raise _unknown(path, "segments with other units", "the same names of units in every segment")
    at = 0.0
    trains: list[list[np.ndarray]] = [[] for _ in names]
    observed: list[tuple[float, float]] = []
    events: dict[str, tuple[list[np.ndarray], list[str]]] = {}
    for segment in segments:
        begin, end = segment.observed_s[0] if segment.observed_s else _reach(segment)
        shift = at - begin
        for n, name in enumerate(names):
            trains[n].append(segment.trains[segment.names.index(name)] + shift)
        for channel in segment.events:
            times, labels = events.setdefault(channel.name, ([], []))
            times.append(channel.times + shift)
            labels.extend(channel.labels)
        observed.append((at, at + end - begin))
        at += end - begin + GAP_S
    notes.append(f"{len(segments)} segments were taken one after another; the times of the rows are not kept")
    joined = [Events(name, np.concatenate(times), labels) for name, (times, labels) in events.items()]
    return Segment([np.concatenate(parts) for parts in trains], names, joined, tuple(observed))


def _reach(segment: Segment) -> tuple[float, float]:
    """From the first to the last spike or event."""
    times = np.concatenate([*segment.trains, *(channel.times for channel in segment.events), np.zeros(0)])
    return (float(times.min()), float(times.max())) if len(times) else (0.0, 0.0)


def _observed(segment: Segment, notes: list[str]) -> tuple[tuple[float, float], ...]:
    """When the segments were recorded, as far as the spikes agree with what the file says."""
    if not segment.observed_s:
        return ()
    first, last = segment.observed_s[0][0] - 1e-3, segment.observed_s[-1][1] + 1e-3
    if all(not len(t) or (t.min() >= first and t.max() <= last) for t in segment.trains):
        return segment.observed_s
    notes.append(f"spikes lie outside the segment as the file states it ({first:.6g} to {last:.6g} s)")
    return ()


def _units(path: Path, segment: Segment, options: NeoOptions, *, notes: list[str]) -> list[int]:
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
    unsorted = [names[n] for n in kept if names[n].endswith(("#0", "#255"))]
    if unsorted:
        notes.append(
            f"{len(unsorted)} of them hold what was left unsorted or marked as noise ({', '.join(unsorted[:4])}): "
            "name the sorted ones in units of [neo]"
        )
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
            "the events whose labels are the images, or an event table for one segment",
            fix="state event_channel in [neo] of map.toml, or give a table with onset and image",
        )
    return _table(path, channel, options)


def _table(path: Path, channel: Events, options: NeoOptions) -> EventTable:
    keep = np.array([label.startswith(options.label_prefix) and label != "" for label in channel.labels], np.bool_)
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
    return EventTable(path=path, onset=channel.times[keep], image=image, trial={}, columns={}, notes=tuple(notes))


def _unknown(path: Path, found: str, expected: str, *, fix: str = "correct [neo] of map.toml") -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the file holds several of them, or other names than map.toml says",
        fix=fix,
        code="H19",
    )
