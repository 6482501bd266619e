"""NWB files as pynwb writes them: units with known spikes, images at known times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

PICTURES = 6
TRIALS = 60
UNITS = 4


@dataclass
class Session:
    """What stands in the file: spikes, onsets and the picture of each presentation."""

    spikes: list[np.ndarray]
    onsets: np.ndarray
    picture: np.ndarray
    pixels: np.ndarray

    def counts(self, window_ms: tuple[float, float], units: Sequence[int] = range(UNITS)) -> np.ndarray:
        """By brute force, in whole microseconds."""
        spikes = [np.rint(self.spikes[u] * 1e6).astype(int) for u in units]
        begin, end = (int(w * 1000) for w in window_ms)
        onsets = np.rint(self.onsets * 1e6).astype(int)
        return np.array([[np.sum((s >= o + begin) & (s < o + end)) for s in spikes] for o in onsets])


def session(seed: int = 0) -> Session:
    """Units that answer to pictures from 60 to 160 ms after onset, on times of whole microseconds."""
    rng = np.random.default_rng(seed)
    onsets = np.round(1.0 + 0.4 * np.arange(TRIALS) + rng.uniform(0, 0.05, TRIALS), 6)
    picture = np.concatenate([rng.permutation(PICTURES) for _ in range(TRIALS // PICTURES)])
    gain = rng.uniform(2, 12, (UNITS, PICTURES))
    spikes = []
    for unit in range(UNITS):
        rest = rng.uniform(0, onsets[-1] + 1, rng.poisson(4 * (onsets[-1] + 1)))
        evoked = [o + rng.uniform(0.06, 0.16, rng.poisson(gain[unit, p])) for o, p in zip(onsets, picture, strict=True)]
        spikes.append(np.unique(np.round(np.concatenate([rest, *evoked]), 6)))
    return Session(spikes, onsets, picture, rng.integers(0, 256, (PICTURES, 8, 10), dtype=np.uint8))


def names() -> list[str]:
    return [f"scene_{p:03d}" for p in range(PICTURES)]


def empty(**more: Any):
    from pynwb import NWBFile
    from pynwb.file import Subject

    subject = Subject(subject_id="m1", species="Macaca mulatta", age="P5Y", sex="M", description="d")
    begin = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {"session_description": "s", "identifier": "id7", "session_start_time": begin, "session_id": "day3"}
    return NWBFile(**(fields | {"subject": subject} | more))


def add_units(file: Any, s: Session, *, electrodes: bool | list[list[int]] = True, **columns: list[Any]) -> None:
    """`electrodes` may name those of each unit; `columns` also take obs_intervals and anything that units may hold."""
    if electrodes:
        device = file.create_device(name="probe")
        for shank, place in enumerate(("V4", "IT")):
            group = file.create_electrode_group(name=f"shank{shank}", description="d", location=place, device=device)
            for contact in range(2):
                file.add_electrode(
                    group=group, location=place if shank else "unknown", rel_x=10.0 * contact, rel_y=50.0 * shank
                )
    for name in columns:
        if name not in ("obs_intervals", "electrodes"):
            file.add_unit_column(name=name, description="d")
    for unit in range(UNITS):
        more = {name: column[unit] for name, column in columns.items()}
        if electrodes:
            more.setdefault("electrodes", [unit] if electrodes is True else electrodes[unit])
        file.add_unit(spike_times=s.spikes[unit], id=unit + 10, **more)


def add_trials(file: Any, s: Session, *, image: str = "image_id", values: Any = None, **columns: Any) -> None:
    values = [names()[p] for p in s.picture] if values is None else values
    file.add_trial_column(name=image, description="d")
    for name in columns:
        file.add_trial_column(name=name, description="d")
    for t, onset in enumerate(s.onsets):
        file.add_trial(
            start_time=onset, stop_time=onset + 0.2, **{image: values[t]}, **{n: c[t] for n, c in columns.items()}
        )


def add_table(file: Any, s: Session, name: str, *, values: Any, image: str = "frame") -> None:
    from pynwb.epoch import TimeIntervals

    table = TimeIntervals(name=name, description="d")
    table.add_column(name=image, description="d")
    for onset, value in zip(s.onsets, values, strict=True):
        table.add_row(start_time=onset, stop_time=onset + 0.25, **{image: value})
    file.add_time_intervals(table)


def add_images(file: Any, s: Session, *, ordered: bool = True, order: Sequence[int] | None = None) -> Any:
    """The pictures as Images, stored in reverse and put in their order by order_of_images."""
    from pynwb.base import ImageReferences, Images
    from pynwb.image import GrayscaleImage

    made = [GrayscaleImage(name=n, data=s.pixels[p]) for p, n in enumerate(names())]
    kept = [made[p] for p in (range(PICTURES) if order is None else order)]
    references = ImageReferences(name="order_of_images", data=kept) if ordered else None
    images = Images(name="natural_images", images=made[::-1], description="d", order_of_images=references)
    file.add_stimulus_template(images)
    return images


def add_series(file: Any, s: Session, images: Any, *, values: Any = None, **more: Any) -> None:
    from pynwb.image import IndexSeries

    times = {} if "rate" in more else {"timestamps": s.onsets}
    values = s.picture if values is None else values
    file.add_stimulus(
        IndexSeries(
            name="shown", data=np.asarray(values, dtype=np.uint32), indexed_images=images, unit="N/A", **times, **more
        )
    )


def write(path: Path, file: Any) -> Path:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "w") as writer:
        writer.write(file)
    return path


def nwb_file(
    folder: Path, build: Callable[[Any, Session], None] | None = None, *, seed: int = 0
) -> tuple[Path, Session]:
    """A file with the units and trials of `session`, or with what `build` puts into it."""
    s, file = session(seed), empty()
    if build is None:
        add_units(file, s)
        add_trials(file, s)
    else:
        build(file, s)
    return write(folder / "session.nwb", file), s
