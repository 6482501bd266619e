"""How much memory do the steps that read, check and reduce a table of trials take? In tables: 8 bytes per trial and site.

    python -m scripts.studies.table_memory

A table of 2,000 trials and 250 sites, in blocks that are to it as the usual ones are to a table of 200,000 trials. Printed for each step: the most tables
that it may hold at once beside the one that it is given, which the tests hold it to; what `tracemalloc` saw; and the limit at 200,000 trials x 10,000 sites.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import encoders.reliability
import protocols.arrays
from encoders.reliability import chance_of_signal, variance_components
from protocols.recordings.readers.hdf5 import read_kept, read_responses, write_responses
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table

TRIALS, SITES, IMAGES = 2000, 250, 100
NAMES = [f"im{i:03d}" for i in range(IMAGES)]
BLOCK = 2**14
LARGE = 8 * 200_000 * 10_000
"""Bytes of the table of the page."""
MOST = {
    "read and check a rig's answer (whole counts)": 2.4,
    "read a checked table": 1.6,
    "usable trials, where all are": 0.3,
    "means of images": 0.5,
    "trials in order, block means removed": 1.6,
    "reliability, signal SD": 0.6,
    "chance of signal": 1.0,
}
"""Most tables that a step holds at once beside the one that it is given; docs/scale.md."""


def recording() -> Responses:
    """Counts of a day in four blocks."""
    order = np.arange(TRIALS)
    return Responses(
        values=np.random.default_rng(0).poisson(4.0, (TRIALS, SITES)).astype(float),
        image_ids=np.array(NAMES)[order % IMAGES],
        site_ids=tuple(f"s{i:04d}" for i in range(SITES)),
        unit="spikes",
        window_ms=(50.0, 150.0),
        block=order // (TRIALS // 4),
        rep=order // IMAGES,
        onset_s=order.astype(float) * 0.2,
    )


def steps(kept: Responses, path: Path) -> dict[str, Callable[[], object]]:
    """What is done with such a recording, which is written to `path`, by the names of `MOST`."""
    index = np.arange(TRIALS) % IMAGES
    write_responses(path, kept)
    acts: tuple[Callable[[], object], ...] = (
        lambda: read_responses(path),
        lambda: read_kept(path),
        kept.usable,
        lambda: kept.mean(NAMES),
        lambda: trial_table(kept, NAMES),
        lambda: variance_components(kept.values, index, IMAGES),
        lambda: chance_of_signal(kept.values, index, n_images=IMAGES),
    )
    return dict(zip(MOST, acts, strict=True))


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks that are to this table as the usual ones are to one of 200,000 trials."""
    usual = protocols.arrays.BLOCK, encoders.reliability.BLOCK
    try:
        protocols.arrays.BLOCK = encoders.reliability.BLOCK = BLOCK
        yield
    finally:
        protocols.arrays.BLOCK, encoders.reliability.BLOCK = usual


def tables(act: Callable[[], object]) -> float:
    """Most memory that `act` held at once, in tables."""
    tracemalloc.start()
    try:
        kept = act()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak / (8 * TRIALS * SITES)


def main() -> None:
    print("| step | tables, at most | seen | at 200,000 x 10,000 |\n|---|---|---|---|")
    with small_blocks(), tempfile.TemporaryDirectory() as folder:
        for name, act in steps(recording(), Path(folder) / "responses.h5").items():
            print(f"| {name} | {MOST[name]} | {tables(act):.2f} | {MOST[name] * LARGE / 1e9:.0f} GB |")


if __name__ == "__main__":
    main()
