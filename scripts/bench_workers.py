"""Whole commands with two workers and with one, as pairs: `scripts/bench.py` times them as its rows.

    python scripts/bench_workers.py [--only fit report]

prints wall-clock and CPU seconds (of the command and its processes) of one run of each: on a machine that others use, CPU seconds say
what the work was, and the ratio of wall-clock times says little.
"""

from __future__ import annotations

import argparse
import atexit
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "studies"))
SITES, DEMO_SITES, STEPS = 50, 8, 60
LIMIT = 0.6
"""Most wall-clock time with two workers over that with one, on two quiet cores."""


class Times(NamedTuple):
    """Seconds of one command: on the wall, and of the processors."""

    wall: float
    cpu: float


def command(words: list[str], workers: int) -> Times:
    """Run one command of stimsynth in a process of its own; raises where it fails."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": paths}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    line = [sys.executable, "-m", "protocols", "--quiet", "--workers", str(workers), *words]
    subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(time.perf_counter() - begin, cpu)


@cache
def place() -> Path:
    """A folder that is deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="stimsynth_bench_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def answered(sites: int) -> Path:
    """A project whose round 1 is answered (`sized_round`) and evaluated once."""
    from sized_round import sized_round  # in scripts/studies

    folder = sized_round(place() / f"sites_{sites}", sites).folder
    command(["evaluate", str(folder)], 1)
    return folder


@cache
def played() -> Path:
    """The project of a small demo of one round."""
    out = place() / "demo"
    command(["demo", "--out", str(out), "--rounds", "1", "--sites", str(DEMO_SITES), "--steps", str(STEPS)], 2)
    return out / "project"


def fit(workers: int) -> Times:
    """Fit the demo's project anew, features too."""
    folder = place() / "fit"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(played(), folder, ignore=shutil.ignore_patterns("fitted", "cache", "round_01"))
    return command(["fit", str(folder)], workers)


def generate(workers: int) -> Times:
    """Controllers of the demo's sites, beside its rounds."""
    out = place() / "batch"
    shutil.rmtree(out, ignore_errors=True)
    return command(["generate", str(played()), "--out", str(out), "--steps", str(STEPS)], workers)


def evaluate(workers: int) -> Times:
    """Evaluate a round of `SITES` sites."""
    return command(["evaluate", str(answered(SITES))], workers)


def report(workers: int) -> Times:
    """Write the page of a round of `SITES` sites."""
    return command(["report", str(answered(SITES))], workers)


def demo(workers: int) -> Times:
    """A demo of one round."""
    out = place() / "anew"
    shutil.rmtree(out, ignore_errors=True)
    words = ["demo", "--out", str(out), "--rounds", "1", "--sites", str(DEMO_SITES), "--steps", str(STEPS)]
    return command(words, workers)


COMMANDS: dict[str, Callable[[int], Times]] = {
    "fit": fit,
    "generate": generate,
    "evaluate": evaluate,
    "report": report,
    "demo": demo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    arguments = parser.parse_args()
    print(f"{'command':<10}{'wall 1':>9}{'wall 2':>9}{'ratio':>7}{'limit':>7}{'CPU 1':>9}{'CPU 2':>9}")
    for name in arguments.only:
        one, two = COMMANDS[name](1), COMMANDS[name](2)
        ratio = two.wall / one.wall
        print(f"{name:<10}{one.wall:>9.1f}{two.wall:>9.1f}{ratio:>7.2f}{LIMIT:>7.2f}{one.cpu:>9.1f}{two.cpu:>9.1f}")


if __name__ == "__main__":
    main()
