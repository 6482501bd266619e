"""Suite2p: planes with the fluorescence of every ROI, frame by frame. ops.npy and stat.npy are never loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocols.arrays import Bools, Floats
from protocols.errors import DataError
from protocols.importing.contract import ImportedTable, Psth
from protocols.importing.events import (
    EventColumns,
    EventTable,
    named,
    onset_seconds,
    read_columns,
    read_events,
    tables_among,
)
from protocols.importing.windows import Windowed, frame_times, means_in_window, psth_of_traces

from .suite2p_planes import Plane, numpy_file, planes_among, read_plane

UNITS = {"F": "au", "F_minus_neuropil": "au", "dff": "dff", "spks": "deconvolved"}
"""Unit of each signal."""


class Suite2pOptions(BaseModel):
    """The table ``[suite2p]`` of map.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    signal: Literal["F", "F_minus_neuropil", "dff", "spks"] = Field(description="which signal is the response")
    window_ms: tuple[float, float] = Field(description="[ms] response window after image onset")
    frame_rate_hz: float | None = Field(
        default=None, gt=0, le=10_000, description="[Hz] frames per second of one plane"
    )
    first_frame_s: float = Field(
        default=0.0, description="[s] when the first frame began, on the clock of the recording"
    )
    frame_times: str | None = Field(
        default=None, description="[file] name of a given file (.npy, .csv) with the begin of each frame"
    )
    frame_time_unit: Literal["s", "ms"] = Field(default="s", description="[unit] of the frame times")
    frame_time_column: str = Field(default="time", description="[column] of the frame times in a table")
    plane_offsets_s: list[float] = Field(
        default=[],
        description="[s] how much later than the frame time each plane was recorded, in the order of the planes",
    )
    neuropil_coefficient: float | None = Field(default=None, ge=0, le=2, description="k of F - k x Fneu, such as 0.7")
    baseline_percentile: float | None = Field(
        default=None, ge=0, le=50, description="[percent] of F - k x Fneu that is F0 of dff"
    )
    cells: Literal["iscell", "all"] = Field(default="iscell", description="ROIs to take")
    least_probability: float = Field(default=0.0, ge=0, le=1, description="of being a cell, by the classifier")
    baseline_ms: tuple[float, float] | None = Field(
        default=None, description="[ms] window of a baseline kept beside the means"
    )
    subtract_baseline: bool = Field(default=False, description="subtract the mean in baseline_ms")
    subject: str | None = Field(default=None, description="name of the subject")
    session_id: str | None = Field(default=None, description="name of the session")
    events: EventColumns = Field(default=EventColumns(), description="what the columns of the event table mean")

    @model_validator(mode="after")
    def _stated(self) -> Suite2pOptions:
        if self.signal in ("F_minus_neuropil", "dff") and self.neuropil_coefficient is None:
            raise ValueError(
                f"signal = {self.signal} needs neuropil_coefficient, such as 0.7 (0: no neuropil taken off)"
            )
        if (self.signal == "dff") != (self.baseline_percentile is not None):
            raise ValueError("baseline_percentile goes with signal = dff, and dff needs it, such as 10")
        if self.frame_times is not None and self.frame_rate_hz is not None:
            raise ValueError("frame_times and frame_rate_hz are two statements of one thing: leave one out")
        return self


def read_suite2p(files: Sequence[Path], options: Suite2pOptions, /) -> ImportedTable:
    """Mean signal of the cells in the response window, one row per presentation of the event table.

    Parameters
    ----------
    files : sequence of Path
        The folder suite2p, or folders of planes; the event table; the frame times, where there is a file of them.
    options : Suite2pOptions

    Raises
    ------
    DataError
        H23: no folder of planes, or a file is missing or damaged (see `suite2p_planes`); H24: the time of the frames is
        not known; H25: a baseline that no ratio can be taken of; H10 to H13: see `events`; H01 to H05: see
        `protocols.importing.windows`.
    """
    timing = [f for f in files if options.frame_times is not None and f.name == options.frame_times]
    tables, folders = tables_among([f for f in files if f not in timing])
    notes: list[str] = []
    planes = [
        read_plane(folder, options.cells, notes, least=options.least_probability) for folder in planes_among(folders)
    ]
    events = read_events(tables, options.events)
    traces, used = _traces(planes, options, notes)
    times = _frame_times(planes, timing, options, notes=notes)
    plane = np.concatenate([np.full(len(p.names), p.number, dtype=np.int64) for p in planes])[used]
    late = _offsets(planes, times, options, notes=notes)
    onsets = _onsets(events, options, times, notes=notes)
    shown = np.where(events.used(), onsets, np.nan)
    where = planes[0].folder.name
    parts = [
        means_in_window(
            traces[:, plane == number],
            shown,
            options.window_ms,
            frame_times_s=times + offset,
            unit=UNITS[options.signal],
            baseline_ms=options.baseline_ms,
            subtract=options.subtract_baseline,
            where=where,
        )
        for number, offset in late.items()
    ]
    means = _side_by_side(parts)
    ids = np.concatenate([np.array(p.names, dtype=np.str_) for p in planes])[used]
    return ImportedTable(
        values=means.values,
        image=events.image,
        site_id=ids,
        unit=means.unit,
        window_ms=options.window_ms,
        index_base=options.events.index_base or 0,
        trial={**events.trial, "onset_s": onsets},
        site={"plane": plane, "cell_probability": np.concatenate([p.probability for p in planes])[used]},
        baseline=means.baseline,
        attributes=named(options.subject, options.session_id),
        notes=(*notes, *events.notes, *means.notes),
        psth=None
        if np.isinf(traces).any()
        else _mean_response(traces, shown, options.window_ms, times=times, plane=plane, late=late),
    )


def _traces(planes: Sequence[Plane], options: Suite2pOptions, notes: list[str]) -> tuple[NDArray[Any], Bools]:
    """Signals of all planes, (F, U), and which of the ROIs became a column."""
    k, signal = options.neuropil_coefficient or 0.0, options.signal
    found = []
    for plane in planes:
        part = plane.signal("spks" if signal == "spks" else "F")
        if signal in ("F_minus_neuropil", "dff") and k:
            part = part.astype(np.float64) - k * plane.signal("Fneu")
        found.append(part)
    traces = np.concatenate(found).T  # (frame, ROI)
    used = np.ones(traces.shape[1], dtype=np.bool_)
    if signal in ("F_minus_neuropil", "dff"):
        notes.append(f"the signal is F - {k:g} x Fneu")
    if signal != "dff" or options.baseline_percentile is None:
        return traces, used
    base = np.percentile(traces, options.baseline_percentile, axis=0)
    used = base > 0
    if used.sum() < len(base) / 2:
        raise DataError(
            planes[0].folder.name,
            found=f"F0 of 0 or less in {int((~used).sum())} of {len(used)} ROIs",
            expected="a baseline above 0, which changes can be divided by",
            cause=f"{k:g} x Fneu is larger than F, or an offset was taken off the camera's values",
            fix='take a smaller neuropil_coefficient, or signal = "F_minus_neuropil" (unit au)',
            code="H25",
        )
    if not used.all():
        notes.append(f"{int((~used).sum())} ROIs with F0 of 0 or less were left out: no ratio can be taken")
    notes.append(
        f"dff is (F - F0) / F0, F0 the percentile {options.baseline_percentile:g} of each ROI in the whole recording; "
        "slow bleaching is not taken off"
    )
    return (traces[:, used] - base[used]) / base[used], used


def _frame_times(
    planes: Sequence[Plane], timing: Sequence[Path], options: Suite2pOptions, *, notes: list[str]
) -> Floats:
    """Begin of each frame in seconds, (F,)."""
    frames = planes[0].frames
    if options.frame_times is None:
        if options.frame_rate_hz is None:
            raise _untimed(
                planes[0].folder,
                "neither frame_rate_hz nor frame_times",
                cause="suite2p keeps the rate in ops.npy, a pickled file that is never loaded",
            )
        notes.append(f"frames at {options.frame_rate_hz:.9g} Hz, the first at {options.first_frame_s:.9g} s")
        return frame_times(frames, options.frame_rate_hz, options.first_frame_s)
    if len(timing) != 1:
        raise _untimed(
            planes[0].folder,
            f"{len(timing)} files named {options.frame_times!r} among those given",
            cause="the file of frame times was not given",
        )
    path = timing[0]
    if path.suffix.lower() == ".npy":
        times = numpy_file(path, "the begin of each frame").reshape(-1)
    else:
        column = read_columns(path).get(options.frame_time_column)
        if column is None:
            raise _untimed(path, f"no column {options.frame_time_column!r}", cause="it has another name")
        try:
            times = np.array([float(cell) for cell in column])
        except ValueError as error:
            raise _untimed(path, str(error), cause="the column holds something else") from error
    if times.dtype.kind not in "fiu" or len(times) != frames or not np.all(np.isfinite(times)):
        raise _untimed(
            path,
            f"{len(times)} numbers of {times.dtype} for {frames} frames",
            cause="triggers were missed or are of all planes, or the movie was cut",
        )
    if len(times) > 2 and np.all(np.diff(times) == 1):
        raise _untimed(
            path,
            "times that are exactly 1 apart",
            cause="frame numbers, not times",
            fix="divide them by the frame rate, or leave frame_times out and state frame_rate_hz in [suite2p]",
        )
    return np.asarray(times, dtype=np.float64) / (1000 if options.frame_time_unit == "ms" else 1)


def _offsets(planes: Sequence[Plane], times: Floats, options: Suite2pOptions, *, notes: list[str]) -> dict[int, float]:
    """How much later than the frame time each plane was recorded, by its number (H24: not told for several planes)."""
    offsets = options.plane_offsets_s
    if len(planes) == 1 and not offsets:
        return {planes[0].number: 0.0}
    step, numbers = float(np.median(np.diff(times))), [p.number for p in planes]
    if len(offsets) != len(planes) or min(offsets) < 0 or max(offsets) >= step:
        count = max(numbers) + 1
        equal = ", ".join(f"{step * n / count:.4g}" for n in numbers)
        raise _untimed(
            planes[0].folder,
            f"{len(planes)} planes and plane_offsets_s = {offsets}",
            cause=f"planes are recorded one after another within a frame of {step:.4g} s; suite2p gives one number",
            fix=f"state plane_offsets_s in [suite2p] of map.toml, one per plane, each less than a frame: [{equal}] for "
            f"{count} planes (fly-back counts as one) from the first on, all 0 for planes at one moment",
        )
    told = ", ".join(f"plane {n}: {o:.6g} s" for n, o in zip(numbers, offsets, strict=True))
    notes.append(f"planes were recorded later than the frame times by {told}")
    return dict(zip(numbers, offsets, strict=True))


def _side_by_side(parts: Sequence[Windowed]) -> Windowed:
    """The means of all planes, columns beside one another; notes that differ are told with their plane's place."""
    first = parts[0]
    if len(parts) == 1:
        return first
    baselines = [part.baseline for part in parts if part.baseline is not None]
    return Windowed(
        np.concatenate([part.values for part in parts], axis=1),
        first.unit,
        np.concatenate(baselines, axis=1) if baselines else None,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _mean_response(
    traces: NDArray[Any],
    onsets: Floats,
    window_ms: tuple[float, float],
    *,
    times: Floats,
    plane: NDArray[np.int64],
    late: Mapping[int, float],
) -> Psth:
    """The mean response of the ROIs of all planes, each at its own time, in shared bins."""
    parts: list[Psth] = []
    for number, offset in late.items():
        edges = parts[0].edges_ms if parts else None
        of_plane = traces[:, plane == number]
        parts.append(psth_of_traces(of_plane, onsets, window_ms, frame_times_s=times + offset, edges_ms=edges))
    halves = [part.halves for part in parts if part.halves is not None]
    return Psth(
        parts[0].edges_ms,
        np.concatenate([part.values for part in parts]),
        np.concatenate(halves, axis=1) if halves else None,
    )


def _onsets(events: EventTable, options: Suite2pOptions, times: Floats, *, notes: list[str]) -> Floats:
    """Onsets in seconds; onsets in samples are frames, whose times are known."""
    rate = options.frame_rate_hz or 1 / float(np.median(np.diff(times)))
    if options.events.onset_unit == "samples" and options.events.samples_per_s is None:
        if options.frame_times is not None:
            raise _untimed(
                events.path,
                "onsets in frames, and a file of frame times",
                cause="an onset lies within a frame, and the frames may be irregular",
                fix="give onsets in seconds on the clock of the frame times",
            )
        shifted = options.events.model_copy(
            update={"clock_offset_s": options.events.clock_offset_s + options.first_frame_s}
        )
        notes.append("onsets in samples are frames: each is the begin of its frame")
        return onset_seconds(events, shifted, notes, samples_per_s=rate, span_s=(float(times[0]), float(times[-1])))
    return onset_seconds(events, options.events, notes, samples_per_s=None, span_s=(float(times[0]), float(times[-1])))


def _untimed(
    path: Path, found: str, *, cause: str, fix: str = "state frame_rate_hz in [suite2p] of map.toml, or frame_times"
) -> DataError:
    return DataError(
        path.name, found=found, expected="when each frame began, one time per frame", cause=cause, fix=fix, code="H24"
    )
