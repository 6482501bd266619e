"""What things cost with their size: CPU seconds at three or four sizes each, the power that they grow with, and bytes.

    OMP_NUM_THREADS=1 python scripts/studies/scale.py [--only evaluate report ridge] [--sizes 50 200] [--json FILE]

CPU seconds of one thread, which other people on the machine hardly change; simulated rounds (`sized_round`) and random images. The
power is the slope of log seconds over log size: 1 = linear, 3 = a linear solve in all images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.reliability import chance_of_signal, reliability_of_means
from encoders.solvers.ridge import ridge
from encoders.splits import photographs
from protocols import loop
from protocols.recordings.readers.hdf5 import read_responses, write_responses
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.report.page import write_report
from sized_round import sized_round

FOLDS, SITES, FEATURES = 5, 50, 1960
"""Of the rows on fits: sites, and features of a layer of 40 channels at 7 x 7 places."""
TABLE_SITES, IMAGES = 200, 100

Row = tuple[float, dict[str, float]]


def seconds(act: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    begin = time.process_time()
    act()
    return time.process_time() - begin


def evaluate(sites: int) -> Row:
    """`stimsynth evaluate` of a round of so many sites, without the start of Python."""
    with tempfile.TemporaryDirectory() as folder:
        project = sized_round(Path(folder) / "project", sites)
        took = seconds(lambda: loop.evaluate_round(project, project.round(1)))
        size = sum(p.stat().st_size for p in project.folder.rglob("*") if p.is_file())
        return took, {"project MB": size / 1e6}


def report(sites: int) -> Row:
    """`stimsynth report` of such a round, without the start of Python."""
    with tempfile.TemporaryDirectory() as folder:
        project = sized_round(Path(folder) / "project", sites)
        loop.evaluate_round(project, project.round(1))
        took = seconds(lambda: write_report(project.for_stage(), project.round(1)))
        return took, {"page MB": project.round(1).report_path.stat().st_size / 1e6}


def near_duplicates(images: int) -> Row:
    """The comparison of every photograph with every other one, 112 x 112 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 112, 112, 1), dtype=np.uint8)
    return seconds(lambda: photographs(pixels)), {}


def ridge_of(images: int) -> Row:
    """A cross-validated ridge of one layer, all penalties and sites."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, FEATURES, generator=generator)
    targets = features[:, :SITES] + torch.randn(images, SITES, generator=generator)
    return seconds(lambda: ridge(features, targets, folds=torch.arange(images) % FOLDS)), {}


def table(trials: int) -> Row:
    """A table of so many trials of 200 sites: read and checked, screened, made ready for the tests."""
    rng, order = np.random.default_rng(0), np.arange(trials)
    names = np.array([f"im{i:04d}" for i in range(IMAGES)])
    responses = Responses(
        values=rng.poisson(4.0, (trials, TABLE_SITES)).astype(float),
        image_ids=names[order % IMAGES],
        site_ids=tuple(f"s{i}" for i in range(TABLE_SITES)),
        unit="spikes",
        window_ms=(50.0, 150.0),
        block=order // max(1, trials // 4),
        rep=order // IMAGES,
        onset_s=0.2 * order.astype(np.float64),
    )

    def act() -> None:
        read = read_responses(path)
        reliability_of_means(read.values, order % IMAGES, n_images=IMAGES)
        chance_of_signal(read.values, order % IMAGES, n_images=IMAGES)
        trial_table(read, names.tolist())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responses.h5"
        write_responses(path, responses)
        return seconds(act), {"file MB": path.stat().st_size / 1e6}


ROWS: dict[str, tuple[Callable[[int], Row], str, Sequence[int]]] = {
    "table": (table, "trials", (2500, 5000, 10000, 20000)),
    "near_duplicates": (near_duplicates, "images", (625, 1250, 2500, 5000)),
    "ridge": (ridge_of, "images", (500, 1000, 2000)),
    "report": (report, "sites", (12, 25, 50)),
    "evaluate": (evaluate, "sites", (12, 25, 50)),
}


def power(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of log cost over log size; NaN of one size."""
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--sizes", nargs="+", type=int, help="in place of those of each row")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {}
    print("| what | size | CPU seconds | power | beside |\n|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        measure, unit, usual = ROWS[name]
        sizes = arguments.sizes or usual
        found = [measure(size) for size in sizes]
        costs = [took for took, _ in found]
        beside = "; ".join(f"{k} {', '.join(f'{row[k]:.1f}' for _, row in found)}" for k in found[0][1]) or "-"
        told = ", ".join(f"{cost:.2f}" for cost in costs)
        print(
            f"| {name} | {', '.join(map(str, sizes))} {unit} | {told} | {power(sizes, costs):.2f} | {beside} |",
            flush=True,
        )
        record[name] = {"sizes": list(sizes), "seconds": costs, "power": power(sizes, costs)}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
