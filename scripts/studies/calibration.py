"""What the calibrations of the verdicts share: rates over simulated experiments with their intervals, and how answers are shown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy import stats

from protocols.progress import Progress
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

ALPHA, GROUP_ALPHA = 0.01, 0.05  # of a site, and of the claim for a round


def rate_over_experiments(hits: Sequence[int], tests: Sequence[int], *, confidence: float = 0.99) -> dict[str, float]:
    """Share of hits with its interval, experiments as clusters (Korn & Graubard 1998: exact limits at the effective counts).

    `hits` and `tests` are counts per experiment; "low" and "high" are shares, "tests" is their sum.
    """
    h, n = np.array(hits, dtype=float), np.array(tests, dtype=float)
    total, tail = float(n.sum()), (1 - confidence) / 2
    rate = float(h.sum()) / total
    clustered = float(np.var(h - rate * n, ddof=1)) * len(h) / total**2
    design = max(1.0, clustered * total / (rate * (1 - rate))) if 0 < rate < 1 else 1.0
    x, m = h.sum() / design, total / design
    low = float(stats.beta.ppf(tail, x, m - x + 1)) if x > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, x + 1, m - x)) if x < m else 1.0
    return {"rate": rate, "low": low, "high": high, "tests": int(total)}


def share_of_experiments(hits: int, experiments: int) -> dict[str, float]:
    """Share of experiments with its exact 99 % interval."""
    found = stats.binomtest(hits, experiments).proportion_ci(0.99)
    return {"rate": hits / experiments, "low": float(found.low), "high": float(found.high), "tests": experiments}


def tested(report: ControlReport, objective: str) -> list[ControlRow]:
    """The rows with a verdict."""
    return [r for r in report.confirmatory(objective) if r.verdict in ("control", "no control")]


def streams(part: int, experiments: int, progress: Progress, label: str) -> Iterator[tuple[int, np.random.Generator]]:
    """One generator per experiment."""
    for e in range(experiments):
        yield e, np.random.default_rng([part, e])
        progress(label, e + 1, experiments)


def holds(low: float | None, high: float | None, value: float) -> bool:
    """Whether limits, None = infinite, hold a value."""
    return (low is None or low <= value) and (high is None or value <= high)


def held(found: Any) -> bool:
    """Whether every answer holds."""
    if isinstance(found, Mapping):
        return bool(found.get("holds", True)) and all(held(v) for v in found.values())
    return True


def table_row(labels: Sequence[str], rate: Mapping[str, Any], expected: str) -> str:
    """One line of a Markdown table: what was asked, the rate, its interval in %, what was promised, whether it holds."""
    verdict = {True: "yes", False: "NO", None: ""}[rate.get("holds")]
    interval = f"{100 * rate['low']:.2f} - {100 * rate['high']:.2f}"
    found = f"{100 * rate['rate']:.2f} % of {rate['tests']}"
    return f"| {' | '.join(labels)} | {found} | {interval} | {expected} | {verdict} |"


def options_of(about: str | None) -> argparse.ArgumentParser:
    """A parser that says what the program is `about`, by the first line of its docstring, with `--json`."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the answers here")
    return parser


def told(found: Mapping[str, Any], table: str, path: Path | None) -> NoReturn:
    """Write the answers to `path`, print their table, and exit: 1 where an answer does not hold."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(table)
    raise SystemExit(0 if held(found) else 1)
