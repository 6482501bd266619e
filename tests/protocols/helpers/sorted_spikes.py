"""A recording made of random numbers: samples of spikes, images and onsets, and the counts that must come out."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.importing.contract import ImportedTable, write_table
from protocols.recordings.readers import read_responses
from protocols.recordings.responses import Responses

RATE = 30_000.0
WINDOW = (70.0, 170.0)
NAMES = [f"p{n:02d}.png" for n in range(12)]
REPEATS = 6


@dataclass(frozen=True)
class Day:
    """Spikes of three units at 30 kHz, and 72 presentations of 12 images."""

    samples: list[np.ndarray]
    onset_samples: np.ndarray
    image: np.ndarray  # 0 to 11
    block: np.ndarray

    @property
    def onsets_s(self) -> np.ndarray:
        return self.onset_samples / RATE

    @property
    def images(self) -> list[str]:
        return [NAMES[i] for i in self.image]

    def counts(self, window: tuple[float, float] = WINDOW) -> np.ndarray:
        """Counted one presentation at a time."""
        begin, end = (round(t / 1000 * RATE) for t in window)
        return np.array(
            [
                [sum(o + begin <= s < o + end for s in unit.tolist()) for unit in self.samples]
                for o in self.onset_samples
            ]
        )

    def columns(self, unit: str = "s") -> dict[str, list[Any]]:
        """The event table; onsets in s, ms or samples."""
        onset = {"s": self.onset_samples / RATE, "ms": self.onset_samples / RATE * 1000, "samples": self.onset_samples}
        return {
            "onset": [repr(v) for v in onset[unit].tolist()],
            "image": self.images,
            "block": self.block.tolist(),
            "rep": self.block.tolist(),
        }

    def trains(self) -> list[np.ndarray]:
        return [unit / RATE for unit in self.samples]

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Sample and unit of every spike, in rising order."""
        samples = np.concatenate(self.samples)
        units = np.concatenate([np.full(len(s), u) for u, s in enumerate(self.samples)])
        order = np.argsort(samples, kind="stable")
        return samples[order], units[order]


def a_day(seed: int = 0) -> Day:
    rng = np.random.default_rng(seed)
    image = np.concatenate([rng.permutation(12) for _ in range(REPEATS)])
    onsets = (30_000 + np.cumsum(rng.integers(10_500, 13_500, len(image)))).astype(np.int64)
    samples = []
    for unit in range(3):
        rate = 2 + 6.0 * (np.arange(12) % (unit + 2) == 0)  # spikes in the window, by image
        evoked = [o + rng.integers(2_100, 5_100, rng.poisson(rate[i])) for o, i in zip(onsets, image, strict=True)]
        noise = rng.integers(0, onsets[-1] + 30_000, 300)
        samples.append(np.unique(np.concatenate([*evoked, noise])).astype(np.int64))
    return Day(samples, onsets, image, np.repeat(np.arange(REPEATS), 12))


def write_rows(path: Path, columns: Mapping[str, Sequence[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def read_back(table: ImportedTable, folder: Path, names: Sequence[str] = tuple(NAMES)) -> Responses:
    """Through the one reader, as a user's fit reads it."""
    write_table(folder / "recording.h5", table)
    return read_responses(folder / "recording.h5", names=names)


def assert_the_day(read: Responses, day: Day, window: tuple[float, float] = WINDOW, units: Sequence[int] = (0, 1, 2)):
    assert np.array_equal(read.values, day.counts(window)[:, list(units)])
    assert [Path(i).stem for i in read.image_ids] == [Path(i).stem for i in day.images]
    assert read.unit == "spikes"
    assert np.allclose(read.onset_s, day.onsets_s, atol=1e-9)
    assert np.array_equal(read.block, day.block)
