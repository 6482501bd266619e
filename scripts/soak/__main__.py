"""Run the parts side by side, each in a process of its own, and print one table.

Without --only the table is also written into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from .rows import PAGE, ROOT, Row, page_with, table
from .trees import memory

PARTS = {"kills": 14, "writes": 32, "power": 9, "share": 2, "clock": 1, "two_runs": 2, "hostile": 11, "engines": 6}
"""Modules of this folder, and their shares of the time."""
LANES = 2
SPARE = 0.85  # of the time is given to the parts; the rest is for imports and for what begins before the end
GRACE_S = 90.0


def present(names: Sequence[str]) -> list[str]:
    """Those of `names` whose module is there."""
    return [n for n in names if importlib.util.find_spec(f"{__package__}.{n}") is not None]


def main() -> int:
    """Run the parts; the exit code is 1 where anything was lost, ended in a traceback or differed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="for all parts together, on two cores")
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}; the page is left as it is")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # one part, in its own process
    given = parser.parse_args()
    asked = [name for name in given.only.split(",") if name]
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    start = time.monotonic()
    if given.into is not None:
        part = importlib.import_module(f".{asked[0]}", __package__)
        rows = part.rows(given.minutes * 60 - (time.monotonic() - start))
        given.into.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        return 0
    names = present(asked or list(PARTS))
    seconds = given.minutes * 60 * SPARE * min(LANES, len(names)) / max(sum(PARTS[n] for n in names), 1)
    with ThreadPoolExecutor(LANES) as lanes:
        longest_first = sorted(names, key=lambda n: -PARTS[n])
        made = dict(
            zip(longest_first, lanes.map(lambda n: run_part(n, PARTS[n] * seconds), longest_first), strict=True)
        )
    rows = [row for name in names for row in made[name]]
    minutes = (time.monotonic() - start) / 60
    text = f"{table(rows)}\n\n{len(rows)} rows in {minutes:.1f} minutes on {os.cpu_count()} cores."
    print(text)
    if not asked:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    bad = [row for row in rows if not row.sound]
    for row in bad:
        print(f"not sound: {row.part}: {row.what}: {row.note}", file=sys.stderr)
    return int(bool(bad) or not rows)


def run_part(name: str, seconds: float) -> list[Row]:
    """The rows of one part, made by a process of its own; one row that says so where it fails or does not end."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=memory()) as folder:
        into = Path(folder) / "rows.json"
        words = ["--only", name, "--minutes", str(seconds / 60), "--into", str(into)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TMPDIR": folder}
        with subprocess.Popen(
            [sys.executable, "-m", "scripts.soak", *words],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                told, ended = process.communicate(timeout=seconds + GRACE_S)[0], process.returncode == 0
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                told, ended = f"not ended after {seconds + GRACE_S:.0f} s", False
        if ended and into.is_file():
            return [Row(**row) for row in json.loads(into.read_text(encoding="utf-8"))]
    print(told, file=sys.stderr)
    last = next((line for line in reversed(told.splitlines()) if line.strip()), "no word")
    took = time.monotonic() - start
    return [Row(part=name, what="the part itself failed", tried=0, tracebacks=1, seconds=took, note=last[:120])]


if __name__ == "__main__":
    sys.exit(main())
