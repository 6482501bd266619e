"""Peak memory of one side of one comparison, each in a process of its own: `python -m peers.memory NAME SIDE`.

The process makes what both sides need, has the kernel forget the peak so far, runs the side once and prints by how many MiB its peak lies
above what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from .records import ANEW, HIMALAYA, LUCENT, PLENOPTIC, SKLEARN, NotRun, Row

ASCENTS = {"lucent": LUCENT, "plenoptic": PLENOPTIC, "mei": None}
FITS = {"himalaya": HIMALAYA, "scikit-learn": SKLEARN}
MIB = 1024.0  # /proc gives kB
IMAGES, FEATURES, SITES, STEPS = 1000, 9216, 200, 6


def rows(*, repeats: int = 2) -> Iterator[Row | NotRun]:
    """Ratios of the peaks, medians over so many processes each."""
    if not Path("/proc/self/clear_refs").exists():
        yield NotRun("memory", "all", "peak memory is read from /proc, which this system does not have")
        return
    for name, peer in {**ASCENTS, **FITS}.items():
        if peer is not None and (absent := peer.missing("memory")) is not None:
            yield absent
            continue
        pairs = [(peak(name, "ours"), peak(name, "theirs")) for _ in range(repeats)]
        ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        single = [o / t for o, t in pairs]
        if name in FITS:
            what = f"peak memory of a ridge, {IMAGES} images, {FEATURES} features, {SITES} sites, float32"
        else:
            what = f"peak memory of {STEPS} steps, the same module and work as in the time per step"
        yield Row(
            group="memory", peer="mei's loop" if peer is None else peer.name, version=ANEW if peer is None else peer.version, what=what,
            value=ours / theirs, low=min(single), high=max(single), interval=f"range of {repeats} processes each", ours=ours, theirs=theirs,
            unit="MiB", better="less",
        )  # fmt: skip


def peak(name: str, side: str) -> float:
    """MiB of one side, measured in a new process."""
    root = Path(__file__).resolve().parents[2]
    places = os.pathsep.join([str(root), str(root / "scripts"), str(root / "scripts" / "studies")])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    for name_ in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):  # freed memory goes back, or the peak holds it
        environment.pop(name_, None)
    command = [sys.executable, "-m", "peers.memory", name, side]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1])["mib"])


def work(name: str, side: str) -> Callable[[], object]:
    """The call whose memory is measured; what both sides need stands before it."""
    if name in ASCENTS:
        from . import speed

        return speed.once(name, side, speed.Load(steps=STEPS))
    import bench

    features, targets, folds, alphas = bench.regression()
    if side == "ours":
        from encoders.solvers.ridge import ridge

        return lambda: ridge(features, targets, folds=folds, alphas=alphas)
    if name == "himalaya":
        return partial(bench.himalaya, "torch", features, targets, folds, alphas)
    from .regression import sklearn_fit

    return partial(sklearn_fit, features, targets, alphas)


def status(name: str) -> float:
    """A number of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) / MIB
    raise LookupError(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*ASCENTS, *FITS])
    parser.add_argument("side", choices=("ours", "theirs"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = work(options.name, options.side)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status("VmRSS")
    run()
    print(json.dumps({"mib": status("VmHWM") - before}))


if __name__ == "__main__":
    main()
