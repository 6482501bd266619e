"""Segments of files that neo reads, as spike times, units and events in seconds.

Proprietary files are read through ``neo.rawio``, which hands over numbers and text. MAT files of NeoMatlabIO hold units
of measurement as text, which the library ``quantities`` evaluates: they are looked at first, so that none can run code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.foreign import check_regular
from protocols.errors import UNUSABLE, DataError
from protocols.importing.containers.mat5_scan import check_mat5

MATLAB = "NeoMatlab"
RAW = ("Blackrock", "Plexon", "Neuralynx", "NeuroExplorer", "Spike2", "OpenEphysBinary", "Tdt")
"""Readers of `neo.rawio` that give spikes or events and unpickle nothing."""
_UNIT = re.compile(r"(dimensionless|[A-Za-z\u00b5\u03bc]{1,12})([*/](\*)?-?[A-Za-z\u00b5\u03bc0-9]{1,12}){0,3}")
_DEEPEST = 30


@dataclass(frozen=True)
class Events:
    """Events or epochs of one name: times in seconds, (N,), and N labels."""

    name: str
    times: Floats
    labels: list[str]


@dataclass(frozen=True)
class Segment:
    """Spike times per unit in seconds, names of the units, events, and when it was recorded (empty: not known)."""

    trains: list[Floats]
    names: list[str]
    events: list[Events]
    observed_s: tuple[tuple[float, float], ...]


def read_raw(path: Path, kind: str) -> list[Callable[[], Segment]]:
    """The segments of a file of `kind`, one of `RAW`, each read when it is called.

    Raises
    ------
    DataError
        H18: neo is not installed, or cannot read the file.
    """
    _library(path)
    import neo.rawio

    if not path.exists():
        raise _unread(path, "no such file or folder")
    for file in _opened_with(path):
        check_regular(file)  # a pipe, for which the library would wait
    try:
        reader_class = getattr(neo.rawio, f"{kind}RawIO")
        folder = reader_class.rawmode in ("one-dir", "multi-dir")
        reader = reader_class(**{"dirname" if folder else "filename": str(path)})
        reader.parse_header()
        blocks = [(b, s) for b in range(reader.block_count()) for s in range(reader.segment_count(b))]
    except UNUSABLE as error:
        raise _unread(path, f"{kind}RawIO cannot read it ({_first_line(error)})") from error
    return [lambda b=b, s=s: _raw_segment(path, reader, block=b, segment=s) for b, s in blocks]  # type: ignore[misc]


def _opened_with(path: Path) -> list[Path]:
    """What a reader may open of `path`: all files of a folder, or a file and those beside it of the same stem."""
    if path.is_dir():
        return [file for file in path.rglob("*") if not file.is_dir()]
    return [path, *(file for file in path.parent.iterdir() if file.stem == path.stem and not file.is_dir())]


def _raw_segment(path: Path, reader: Any, *, block: int, segment: int) -> Segment:
    try:
        channels = reader.header["spike_channels"]
        names = [str(name) or str(key) for name, key in zip(channels["name"], channels["id"], strict=True)]
        trains = []
        for n in range(len(channels)):
            raw = reader.get_spike_timestamps(block_index=block, seg_index=segment, spike_channel_index=n)
            _whole(len(raw), reader.spike_count(block, segment, n), "spikes")
            trains.append(np.asarray(reader.rescale_spike_timestamp(raw, dtype="float64"), dtype=np.float64))
        events = []
        for n, name in enumerate(reader.header["event_channels"]["name"]):
            raw, _, labels = reader.get_event_timestamps(block_index=block, seg_index=segment, event_channel_index=n)
            _whole(len(raw), len(labels), "events")
            times = reader.rescale_event_timestamp(raw, dtype="float64", event_channel_index=n)
            events.append(Events(str(name), np.asarray(times, dtype=np.float64), [_text(v) for v in labels]))
        span = float(reader.segment_t_start(block, segment)), float(reader.segment_t_stop(block, segment))
    except UNUSABLE as error:
        raise _unread(path, f"spikes or events that cannot be read ({_first_line(error)})") from error
    return Segment(trains, names, events, (span,) if np.all(np.isfinite(span)) and span[1] > span[0] else ())


def _whole(found: int, stated: int, what: str) -> None:
    """A file that was cut short gives fewer than its header says, without a word."""
    if found != stated:
        raise ValueError(f"{found} of {stated} {what} of one channel")


def read_matlab(path: Path) -> list[Callable[[], Segment]]:
    """The segments of a MAT file that neo's NeoMatlabIO wrote.

    Raises
    ------
    DataError
        H18: neo is not installed, the file is no such block, or it holds units of measurement that are none.
    """
    _library(path)
    import scipy.io
    import scipy.io.matlab
    from neo.io import NeoMatlabIO

    if not path.is_file():
        raise _unread(path, "no such file")
    try:
        check_mat5(path)
        raw = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True, mat_dtype=True)
        if "block" not in raw:
            raise ValueError(f"no block; there are {', '.join(k for k in raw if not k.startswith('__'))}")
        _refuse_code(path, raw["block"])
        block = NeoMatlabIO(str(path)).read_block()
    except (*UNUSABLE, scipy.io.matlab.MatReadError) as error:
        if isinstance(error, DataError):
            raise
        raise _unread(path, f"NeoMatlabIO cannot read it ({_first_line(error)})") from error
    return [lambda segment=segment: _matlab_segment(path, segment) for segment in block.segments]  # type: ignore[misc]


def _refuse_code(path: Path, struct: Any, depth: int = 0) -> None:
    """H18 for text that stands for a unit and is none, and for fields that no MATLAB program can write."""
    if isinstance(struct, np.ndarray) and struct.dtype == object:
        for item in struct.reshape(-1):
            _refuse_code(path, item, depth + 1)
        return
    for name in getattr(struct, "_fieldnames", ()):
        value = getattr(struct, name)
        if depth > _DEEPEST or re.fullmatch(r"[A-Za-z]\w*", name) is None:
            raise _unread(path, f"a field {name[:40]!r}")
        if name == "units" or name.endswith("_units"):
            texts = [str(v) for v in np.atleast_1d(value).reshape(-1)]
            strange = [t for t in texts if _UNIT.fullmatch(t) is None]
            if strange:
                raise _unread(path, f"{name} = {strange[0][:40]!r}, which is no unit of measurement")
        _refuse_code(path, value, depth + 1)


def _matlab_segment(path: Path, segment: Any) -> Segment:
    try:
        trains = [np.asarray(t.rescale("s").magnitude, dtype=np.float64).reshape(-1) for t in segment.spiketrains]
        names = [str(t.name) if t.name else f"train_{n:04d}" for n, t in enumerate(segment.spiketrains)]
        spans = [(float(t.t_start.rescale("s")), float(t.t_stop.rescale("s"))) for t in segment.spiketrains]
        events = [
            Events(
                str(e.name or f"{kind}_{n}"),
                np.asarray(e.times.rescale("s").magnitude, dtype=np.float64).reshape(-1),
                [_text(v) for v in np.atleast_1d(e.labels)],
            )
            for kind, found in (("events", segment.events), ("epochs", segment.epochs))
            for n, e in enumerate(found)
        ]
    except UNUSABLE as error:
        raise _unread(path, f"spike trains or events that cannot be read ({_first_line(error)})") from error
    broken = [e.name for e in events if len(e.labels) != len(e.times)]
    if broken:
        raise _unread(path, f"events {broken[0]!r} with another number of labels than of times")
    same = len(set(spans)) == 1 and spans[0][1] > spans[0][0]
    return Segment(trains, names, events, (spans[0],) if same else ())


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")


def _library(path: Path) -> None:
    try:
        import neo  # noqa: F401
    except ImportError as error:
        raise _unread(path, "no library that reads it", fix="pip install 'stimsynth[neo]'") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _unread(
    path: Path, found: str, *, fix: str = "name the file that the acquisition wrote, copied whole"
) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected="a file of spikes that neo reads",
        cause="it is of another format, was cut short, or io names another reader",
        fix=fix,
        code="H18",
    )
