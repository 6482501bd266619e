"""The same arms of control on several draws of the trials: pool what `scripts/studies/v4_control.py` wrote.

Shares on some forty sites move by chance of the baseline's trials, which an interval over sites does not show. Make the benchmark with other
seeds (`v4_benchmark.py --seed 1 --out V4_1`), run `v4_control.py` on each, and pool: a site's value is its mean over the draws in which it was
a target, intervals resample sites, and the range over draws stands beside them.
Run: python scripts/studies/v4_control_draws.py control control_1 control_2 [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats

RESAMPLES = 4000
JUDGED = {"stretch": "M", "one_hot": "best natural margin"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="the --out folders of v4_control.py, one per draw")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = pooled([read(folder) for folder in options.folders])
    if options.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    for session, rows in found.items():
        print(f"\nrecording {session}")
        for r in rows:
            bar = JUDGED[r["objective"]]
            print(
                f"{r['objective']:<9}{r['arm']:<26}{r['draws']} draws, {r['sites']} sites  mean {with_interval(r['mean'])}  change {with_interval(r['change'], '+')}  "
                f"median per draw {', '.join(f'{v:.2f}' for v in r['medians'])}  above {bar} {with_interval(r['share'])}: {', '.join(f'{v:.0%}' for v in r['shares'])}"
            )


def read(folder: Path) -> dict[str, Any]:
    """The sessions of one draw."""
    path = folder / "v4_control.json"
    if not path.is_file():
        raise SystemExit(
            f"{folder}: no v4_control.json; expected an --out folder of scripts/studies/v4_control.py that has run to its end"
        )
    sessions: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["sessions"]
    if any("sites" not in result for result in sessions.values()):
        raise SystemExit(
            f"{path}: the sites have no names; run scripts/studies/v4_control.py again, which keeps its images"
        )
    return sessions


def pooled(draws: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by session: every arm that all of its draws have, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    drawn = [
        row["values"] for draw in draws for result in draw.values() for row in result["rows"] if row["arm"] == "default"
    ]
    if any(values in drawn[:i] for i, values in enumerate(drawn)):
        raise SystemExit("two folders hold the same draw: make each benchmark with a seed of its own")
    for session in dict.fromkeys(s for draw in draws for s in draw):
        having = [draw[session] for draw in draws if session in draw]
        tables = [{(r["arm"], r["objective"]): r for r in result["rows"]} for result in having]
        sites = [result["sites"] for result in having]
        shared = [key for key in tables[0] if all(key in table for table in tables)]
        found[session] = [pool(key, tables, sites) for key in shared]
    return found


def pool(key: tuple[str, str], tables: Sequence[dict[Any, Any]], sites: Sequence[list[str]]) -> dict[str, Any]:
    """One arm over its draws."""
    arm, objective = key
    rows, defaults = [t[key] for t in tables], [t["default", objective] for t in tables]
    values = by_site([r["values"] for r in rows], sites)
    base = by_site([r["values"] for r in defaults], sites)
    hits = by_site([r["hits"][JUDGED[objective]] for r in rows], sites)
    return {
        "arm": arm,
        "objective": objective,
        "draws": len(rows),
        "sites": len(values),
        "mean": interval(values),
        "change": interval(values - base),
        "medians": [float(np.median(r["values"])) for r in rows],
        "share": interval(hits),
        "shares": [float(np.mean(r["hits"][JUDGED[objective]])) for r in rows],
    }


def by_site(columns: Sequence[Sequence[float]], sites: Sequence[list[str]]) -> Floats:
    """Every site's mean over the draws that it is in, (S,)."""
    seen: dict[str, list[float]] = {}
    for values, names in zip(columns, sites, strict=True):
        for name, value in zip(names, values, strict=True):
            seen.setdefault(name, []).append(float(value))
    return np.array([np.mean(values) for values in seen.values()])


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean over sites with its 95 % percentile interval, sites drawn with replacement."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def with_interval(values: Sequence[float], sign: str = "") -> str:
    """Value [low, high]."""
    return f"{values[0]:{sign}.2f} [{values[1]:{sign}.2f}, {values[2]:{sign}.2f}]"


if __name__ == "__main__":
    main()
