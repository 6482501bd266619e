"""What a row of the comparison is, and how its ratio and interval are found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from protocols.arrays import Floats

DRAWS = 2000
Better = Literal["less", "more"]
Kind = Literal["ratio", "difference"]
Bound = Literal["", "at least", "at most"]


@dataclass(frozen=True)
class Row:
    """One figure: ours over the peer's, or ours less the peer's, in one run and one dtype.

    Attributes
    ----------
    group : str
        The row of `--rows` that made it.
    peer, version : str
        Whom it is against; a version, or "written anew".
    what : str
        What was measured, with sizes.
    value : float
        The ratio, or the difference.
    low, high : float or None
        Its interval; None: without end on this side, since in some draws one of the two never gets there.
    interval : str
        What `low` and `high` are.
    ours, theirs : float or None
        The two numbers, in `unit`.
    better : "less" or "more"
    kind : "ratio" or "difference"
    bound : str
        "at least" or "at most": one of the two never gets there, and the ratio is with all of its time.
    """

    group: str
    peer: str
    version: str
    what: str
    value: float
    low: float | None
    high: float | None
    interval: str
    ours: float
    theirs: float
    unit: str
    better: Better
    kind: Kind = "ratio"
    bound: Bound = ""
    note: str = ""

    @property
    def outcome(self) -> str:
        """Ahead or behind; "even" where the interval holds equality."""
        even = 1.0 if self.kind == "ratio" else 0.0
        if self.bound:  # one of the two never gets there
            return "ahead" if self.bound == "at most" else "behind"
        if self.low is not None and self.low > even:
            return "ahead" if self.better == "more" else "behind"
        if self.high is not None and self.high < even:
            return "behind" if self.better == "more" else "ahead"
        return "even"


@dataclass(frozen=True)
class NotRun:
    """A comparison that was asked for and not made, and why."""

    group: str
    peer: str
    why: str


@dataclass(frozen=True)
class Peer:
    """A package that is compared: its distribution, its module, and how to install it."""

    name: str
    distribution: str
    module: str
    install: str

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.distribution)

    def missing(self, group: str) -> NotRun | None:
        """A line for the report where the peer is not installed."""
        if importlib.util.find_spec(self.module) is not None:
            return None
        return NotRun(group, self.name, f"not installed here: {self.install}")


LUCENT = Peer("lucent", "torch-lucent", "lucent", "pip install --no-deps torch-lucent==0.1.8")
PLENOPTIC = Peer("plenoptic", "plenoptic", "plenoptic", "pip install 'stimsynth[peers]'")
NEURALPREDICTORS = Peer("neuralpredictors", "neuralpredictors", "neuralpredictors", "pip install 'stimsynth[peers]'")
HIMALAYA = Peer("himalaya", "himalaya", "himalaya", "pip install 'stimsynth[peers]'")
SKLEARN = Peer("scikit-learn", "scikit-learn", "sklearn", "pip install 'stimsynth[peers]'")
ANEW = "published algorithm, written anew"


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU time of one call, of all threads: what else runs on the machine counts for little."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Medians of CPU time, taken in turn after one warm-up each, and the range of the single ratios."""
    theirs(), ours()
    pairs = [(cpu_seconds(theirs), cpu_seconds(ours)) for _ in range(repeats)]
    t, o = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    single = [b / a for a, b in pairs]
    return {"value": o / t, "low": min(single), "high": max(single), "ours": o, "theirs": t}


def resampled(statistic: Callable[[np.ndarray], float], units: int, *, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile interval of a statistic of the drawn units; draws in which it is not a number are left out."""
    random = np.random.default_rng(0)
    found = np.array([statistic(random.integers(0, units, units)) for _ in range(draws)])
    found = found[~np.isnan(found)]
    if not found.size:
        return float("nan"), float("nan")
    low, high = np.quantile(found, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def paired_ratio(ours: Floats, theirs: Floats) -> dict[str, Any]:
    """Ratio of the two means over the same units (n,), with its bootstrap interval."""
    low, high = resampled(lambda i: float(ours[i].mean() / theirs[i].mean()) if theirs[i].any() else np.nan, len(ours))
    value = float(ours.mean() / theirs.mean())
    return {"value": value, "low": low, "high": high, "ours": float(ours.mean()), "theirs": float(theirs.mean())}


def paired_difference(ours: Floats, theirs: Floats) -> dict[str, Any]:
    """Difference of the two means over the same units (n,), with its bootstrap interval."""
    gap = ours - theirs
    low, high = resampled(lambda i: float(gap[i].mean()), len(gap))
    value = float(gap.mean())
    return {"value": value, "low": low, "high": high, "ours": float(ours.mean()), "theirs": float(theirs.mean())}
