"""Do the verdicts hold what they promise? False verdicts, power, drift and intervals on simulated recordings of known truth.

    python scripts/studies/verdict_calibration.py

Every recording has trials lost at random (ragged repeats), overdispersed counts, gain noise shared by all sites and a gain that drifts
within the round; the unit of every interval is the experiment, never the site. The verdicts come from `protocols.evaluate` itself.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from protocols.arrays import Floats
from protocols.progress import Progress
from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses
from protocols.stats.intervals import welch_p
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.power import power
from protocols.verdict.records import ControlRow

OBJECTIVES = ("stretch", "one_hot")
ALPHA, GROUP_ALPHA, PERMUTATIONS = 0.01, 0.05, 999
SITES, REFERENCES, BLOCKS = 8, 5, 4
NATURAL_MEAN, NATURAL_SD = 4.0, 2.0
FANO, SHARED_GAIN = 1.3, 0.1


# --- simulated recordings ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Expected spike counts `means` (images, sites) of the images of `key`, on the baseline day."""

    key: Key
    means: Floats


@dataclass(frozen=True)
class Recording:
    """A recording and the mean of every site's gain over it, shape (sites,), which multiplies its expected counts."""

    responses: Responses
    gain: Floats


def truth(
    rng: np.random.Generator,
    *,
    gain: float = 0.0,
    spread: float = 0.0,
    best: tuple[float, float] = (5.0, 9.0),
    objectives: Sequence[str] = OBJECTIVES,
    blank: bool = True,
) -> Truth:
    """Five references a site, the i-th `spread` * i below the best, and one controller an objective, `gain` above the best."""
    site_ids = [f"v4_{i:03d}" for i in range(SITES)]
    rows: list[KeyRow] = []
    means: list[Floats] = []

    def add(role: str, mean: Floats, **fields: Any) -> None:
        rows.append(KeyRow(f"r01_{len(rows):04d}", f"source_{len(rows):04d}", role, **fields))
        means.append(mean)

    low = np.full(SITES, 0.5)
    for k, site in enumerate(site_ids):
        top = rng.gamma(4.0, 0.8, SITES) + 0.5
        top[k] = rng.uniform(*best)
        for i in range(REFERENCES):
            evoked = low + (top - low) * (1 - spread * i)
            add("reference", evoked, reference_for=tuple((o, site) for o in objectives))
        stronger = top.copy()
        stronger[k] = low[k] + (1 + gain) * (top[k] - low[k])
        for objective in objectives:
            add("controller", stronger, objective=objective, target=site, seed=0, confirmatory=True)
    if blank:
        add("blank", low)
    frozen = tuple(
        SiteRow(site_id=s, natural_mean=NATURAL_MEAN, natural_sd=NATURAL_SD, reliability=0.8, is_target=True)
        for s in site_ids
    )
    return Truth(Key(tuple(rows), frozen), np.array(means))


def record(
    rng: np.random.Generator,
    known: Truth,
    *,
    repeats: int = 24,
    lost: float = 0.1,
    shared_gain: float = SHARED_GAIN,
    drift: float = 0.3,
    day_gain: Floats | float = 1.0,
) -> Recording:
    """Negative-binomial counts; trials lost at random, gain noise shared by the sites, a gain that grows by exp(`drift`) in the round."""
    roles = [row.role for row in known.key.rows]
    counts = np.array([repeats // BLOCKS * (2 if role == "blank" else 1) for role in roles])
    blocks = [rng.permutation(np.repeat(np.arange(len(roles)), counts)) for _ in range(BLOCKS)]
    image, block = np.concatenate(blocks), np.repeat(np.arange(BLOCKS), counts.sum())
    time = np.linspace(-0.5, 0.5, len(image))
    noise = shared_gain * rng.normal(size=len(image)) - shared_gain**2 / 2  # mean gain 1
    gain = np.exp(noise + drift * time)[:, None] * np.broadcast_to(day_gain, SITES)
    values = rng.poisson(rng.gamma(known.means[image] * gain / (FANO - 1), FANO - 1)).astype(float)
    kept = rng.random(len(image)) >= lost
    shown = np.array([r.image_id for r in known.key.rows])[image]
    responses = Responses(
        values=values[kept],
        image_ids=shown[kept],
        site_ids=known.key.site_ids,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=block[kept],
    )
    return Recording(responses, np.exp(drift * time).mean() * np.broadcast_to(day_gain, SITES))


def judged(known: Truth, recording: Recording, seed: int) -> ControlReport:
    """The verdicts of the toolkit."""
    return evaluate(recording.responses, known.key, alpha=ALPHA, permutations=PERMUTATIONS, seed=seed)


# --- rates over experiments --------------------------------------------------------------------------------------------


def rate_over_experiments(hits: Sequence[int], tests: Sequence[int]) -> dict[str, float]:
    """Share of hits with its 99 % interval, experiments as clusters (Korn & Graubard 1998: exact limits at the effective counts)."""
    h, n = np.array(hits, dtype=float), np.array(tests, dtype=float)
    total = float(n.sum())
    rate = float(h.sum()) / total
    clustered = float(np.var(h - rate * n, ddof=1)) * len(h) / total**2
    design = max(1.0, clustered * total / (rate * (1 - rate))) if 0 < rate < 1 else 1.0
    x, m = h.sum() / design, total / design
    low = float(stats.beta.ppf(0.005, x, m - x + 1)) if x > 0 else 0.0
    high = float(stats.beta.ppf(0.995, x + 1, m - x)) if x < m else 1.0
    return {"rate": rate, "low": low, "high": high, "tests": int(total)}


def share_of_experiments(hits: int, experiments: int) -> dict[str, float]:
    """Share of experiments with its exact 99 % interval."""
    found = stats.binomtest(hits, experiments).proportion_ci(0.99)
    return {"rate": hits / experiments, "low": float(found.low), "high": float(found.high), "tests": experiments}


def tested(report: ControlReport, objective: str) -> list[ControlRow]:
    """The rows with a verdict."""
    return [r for r in report.confirmatory(objective) if r.verdict in ("control", "no control")]


def streams(part: int, experiments: int, progress: Progress, label: str) -> Iterator[tuple[int, np.random.Generator]]:
    """One generator an experiment."""
    for e in range(experiments):
        yield e, np.random.default_rng([part, e])
        progress(label, e + 1, experiments)


# --- the four questions ------------------------------------------------------------------------------------------------


def boundary_null(experiments: int, progress: Progress) -> dict[str, Any]:
    """Controllers equal to all their references: how often "control" is said, and how often of the whole round."""
    hits: dict[str, list[tuple[int, int, bool]]] = {o: [] for o in OBJECTIVES}
    for e, rng in streams(1, experiments, progress, "boundary null"):
        known = truth(rng)
        report = judged(known, record(rng, known, shared_gain=0.2), e)
        for summary in report.objectives:
            claimed = summary.group_p is not None and summary.group_p <= GROUP_ALPHA
            hits[summary.objective].append((summary.successes, summary.tested, claimed))
    found: dict[str, Any] = {}
    for objective, rows in hits.items():
        site = rate_over_experiments([r[0] for r in rows], [r[1] for r in rows])
        group = share_of_experiments(sum(r[2] for r in rows), experiments)
        found[objective] = {
            "site": {**site, "level": ALPHA, "holds": site["low"] <= ALPHA <= site["high"]},
            "group": {**group, "level": GROUP_ALPHA, "holds": group["low"] <= GROUP_ALPHA <= group["high"]},
        }
    return found


def planted_gain(experiments: int, progress: Progress, gain: float = 0.3) -> dict[str, Any]:
    """A gain planted at a fixed set of sites: the share of "control" against the planner's power, averaged over the sites."""
    known = truth(np.random.default_rng([2]), gain=gain, spread=0.05)
    hits: dict[str, list[list[int]]] = {o: [] for o in OBJECTIVES}
    for e, rng in streams(2, experiments, progress, "planted gain"):
        report = judged(known, record(rng, known, lost=0.05), e)
        for objective in OBJECTIVES:
            rows = report.confirmatory(objective)
            hits[objective].append([sum(r.verdict == "control" for r in rows), len(rows)])
    design = Trials(repeats=24, blocks=BLOCKS, alpha=ALPHA, permutations=PERMUTATIONS, lost=0.05)
    found = {}
    for objective, pairs in hits.items():
        measured = rate_over_experiments([p[0] for p in pairs], [p[1] for p in pairs])
        sites = [expected_site(known, site) for site in known.key.site_ids]
        planned = [
            power(site, design, gain, objective=objective, experiments=1000, seed=i) for i, site in enumerate(sites)
        ]
        mean = float(np.mean(planned))
        found[objective] = {**measured, "planned": mean, "holds": abs(mean - measured["rate"]) <= 0.05}
    return found


def expected_site(known: Truth, site: str) -> ExpectedSite:
    """What the planner is told of a site: the references' expected responses, the blank, the trial variance."""
    target = known.key.site_ids.index(site)
    rows = [i for i, r in enumerate(known.key.rows) if ("stretch", site) in r.reference_for]
    return ExpectedSite(
        known.means[rows],
        target=target,
        blank=0.5,
        fano=np.full(SITES, FANO),
        shared_gain=SHARED_GAIN,
        natural_mean=np.full(SITES, NATURAL_MEAN),
        natural_sd=np.full(SITES, NATURAL_SD),
    )


def drifting_subject(experiments: int, progress: Progress) -> dict[str, Any]:
    """No control, but every site's gain grew between baseline day and round and grows on in the round.

    `naive`: the controller's trials against the baseline day's trials of the best natural image (chosen on one half of them, tested
    on the other), Welch's t at the same level; `ours`: against the natural images re-shown in the round.
    """
    naive, ours, groups = [], [], 0
    for e, rng in streams(3, experiments, progress, "drifting subject"):
        known = truth(rng, objectives=("stretch",))
        before = record(rng, known, drift=0.0).responses
        grown = np.exp(rng.normal(0.2, 0.1, SITES))
        after = record(rng, known, day_gain=grown, drift=0.3)
        report = judged(known, after, e)
        ours.append((sum(r.verdict == "control" for r in tested(report, "stretch")), len(tested(report, "stretch"))))
        groups += sum((s.group_p or 1.0) <= GROUP_ALPHA for s in report.objectives)
        beaten = [beats_baseline(known, before, after.responses, site) for site in known.key.site_ids]
        naive.append((sum(beaten), len(beaten)))
    found: dict[str, Any] = {
        name: rate_over_experiments(*zip(*rows, strict=True)) for name, rows in (("naive", naive), ("ours", ours))
    }
    group = share_of_experiments(groups, experiments)
    found["ours"]["holds"] = found["ours"]["low"] <= ALPHA <= found["ours"]["high"]
    return {**found, "group": {**group, "holds": group["low"] <= GROUP_ALPHA <= group["high"]}}


def beats_baseline(known: Truth, before: Responses, after: Responses, site: str) -> bool:
    """Success as counted without re-shown references."""
    column = known.key.site_ids.index(site)
    halves = []
    for row in known.key.rows:
        if ("stretch", site) in row.reference_for:
            trials = before.values[before.image_ids == row.image_id, column]
            halves.append((trials[::2].mean(), trials[1::2]))
    natural = max(halves, key=lambda h: float(h[0]))[1]
    controller = next(r.image_id for r in known.key.rows if r.role == "controller" and r.target == site)
    return welch_p(after.values[after.image_ids == controller, column], natural) <= ALPHA


def gain_intervals(experiments: int, progress: Progress, *, repeats: int = 24) -> dict[str, Any]:
    """How often the 95 % interval of a gain holds the true gain over the named reference image."""
    held: dict[str, list[tuple[int, int]]] = {}
    flagged = total = 0
    for e, rng in streams(4, experiments, progress, f"gain intervals, {repeats} repeats"):
        known = truth(rng, gain=rng.choice([0.0, 0.3, 0.6]), spread=0.08, blank=e % 2 == 0)
        recording = record(rng, known, lost=0.05, repeats=repeats)
        counts: dict[str, list[bool]] = {}
        for row in judged(known, recording, e).confirmatory():
            if row.gain is None or row.reference_image is None:
                continue
            low, high = (
                math.copysign(math.inf, s) if v is None else v for v, s in ((row.gain_low, -1), (row.gain_high, 1))
            )
            small = min(row.n or 0, row.n_reference or 0) < 10
            total, flagged = total + small, flagged + (small and "fewer than 10 repeats" in (row.gain_note or ""))
            if small == (repeats < 20):
                counts.setdefault(row.gain_unit or "", []).append(low <= true_gain(known, recording, row) <= high)
        for unit, covered in counts.items():
            held.setdefault(unit, []).append((sum(covered), len(covered)))
    found: dict[str, Any] = {}
    for unit, pairs in held.items():
        found[unit] = rate_over_experiments(*zip(*pairs, strict=True))
        found[unit]["holds"] = 0.93 <= found[unit]["rate"] <= 0.97
    return {"coverage": found, "below_10": total, "below_10_flagged": flagged}


def true_gain(known: Truth, recording: Recording, row: ControlRow) -> float:
    """The gain that the row's interval should hold, in the row's unit."""
    place = {r.image_id: i for i, r in enumerate(known.key.rows)}
    controller, reference = (known.means[place[str(i)]] * recording.gain for i in (row.image_id, row.reference_image))
    k = known.key.site_ids.index(row.site)
    if row.gain_unit == "fraction":
        blank = 0.5 * recording.gain[k]
        return float((controller[k] - blank) / (reference[k] - blank) - 1)
    z = [(m - NATURAL_MEAN) / NATURAL_SD for m in (controller, reference)]
    if row.gain_unit == "natural SD":
        return float(z[0][k] - z[1][k])
    return float(np.subtract(*(x[k] - np.logaddexp.reduce(x) for x in z)))


# --- table -------------------------------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> str:
    """All answers as a Markdown table."""
    lines = ["| Question | Score | Found | 99 % interval | Expected | Holds |", "|---|---|---|---|---|---|"]

    def line(question: str, score: str, rate: dict[str, Any], expected: str) -> None:
        verdict = {True: "yes", False: "NO", None: ""}[rate.get("holds")]
        interval = f"{100 * rate['low']:.2f} - {100 * rate['high']:.2f}"
        tests = f"{100 * rate['rate']:.2f} % of {rate['tests']}"
        lines.append(f"| {question} | {score} | {tests} | {interval} | {expected} | {verdict} |")

    for objective, rates in found.get("null", {}).items():
        line("false verdict at a site", objective, rates["site"], "1 %")
        line("false claim for a round", objective, rates["group"], "5 %")
    for objective, rate in found.get("power", {}).items():
        line("+30 % found", objective, rate, f"planner: {100 * rate['planned']:.2f} %, within 5")
    if drift := found.get("drift"):
        line("growing gain taken for control, against the baseline day", "stretch", drift["naive"], "")
        line("growing gain taken for control, our verdict", "stretch", drift["ours"], "1 %")
        line("growing gain taken for control, claim for a round", "stretch", drift["group"], "5 %")
    for name, asked in (("intervals", "93 - 97 %"), ("intervals_few", "flagged")):
        for unit, rate in found.get(name, {}).get("coverage", {}).items():
            question = "95 % interval holds the gain, " + ("n >= 10" if name == "intervals" else "n < 10")
            line(question, unit, rate if name == "intervals" else {**rate, "holds": None}, asked)
    if few := found.get("intervals_few"):
        lines.append(
            f"\n{few['below_10_flagged']} of {few['below_10']} gains from fewer than 10 repeats carry the note that says so."
        )
    return "\n".join(lines)


def held(found: Any) -> bool:
    """Whether every answer holds."""
    if isinstance(found, dict):
        return found.get("holds", True) and all(held(v) for v in found.values())
    return True


def main() -> None:
    """Ask the chosen questions and print the table; exit 1 where an answer does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--experiments", type=int, default=400, help="at the boundary null; the others take a part of them"
    )
    parser.add_argument("--only", nargs="*", default=["null", "power", "drift", "intervals"], help="questions to ask")
    parser.add_argument("--json", type=Path, help="also write the answers here")
    arguments = parser.parse_args()
    number, progress, found = arguments.experiments, Progress(), {}
    if "null" in arguments.only:
        found["null"] = boundary_null(number, progress)
    if "power" in arguments.only:
        found["power"] = planted_gain(math.ceil(number / 2), progress)
    if "drift" in arguments.only:
        found["drift"] = drifting_subject(math.ceil(number / 2), progress)
    if "intervals" in arguments.only:
        found["intervals"] = gain_intervals(math.ceil(number / 2), progress)
        found["intervals_few"] = gain_intervals(math.ceil(number / 8), progress, repeats=16)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(table(found))
    raise SystemExit(0 if held(found) else 1)


if __name__ == "__main__":
    main()
