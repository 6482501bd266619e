"""Do the verdicts of suppress hold what they promise? Level, power and intervals at moderate rates and near the floor.

    python scripts/studies/suppress_calibration.py

Controllers are at or below the least activating of their references. Counts are Poisson, with gain noise shared by all sites, trials lost at
random and a gain that drifts within the round; sites of three ranges of rates are told apart, since counts near zero tie and leave no room.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from calibration import (
    ALPHA,
    GROUP_ALPHA,
    holds,
    options_of,
    rate_over_experiments,
    share_of_experiments,
    streams,
    table_row,
    tested,
    told,
)
from protocols.arrays import Floats
from protocols.progress import Progress
from protocols.project.key import Key, KeyRow, SiteRow
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.experiments import control_share
from protocols.verdict.records import ControlRow
from verdict_calibration import NULLS, PERMUTATIONS, PRESENTATIONS, judged
from verdict_recordings import BLOCKS, NATURAL_MEAN, NATURAL_SD, SHARED_GAIN, SITES, Truth, picked, record

RATES = {"2 - 5 spikes": (2.0, 5.0), "0.3 - 1 spikes": (0.3, 1.0), "0.03 - 0.15 spikes": (0.03, 0.15)}
"""Expected spikes to the least activating reference."""
DROPS = (0.3, 0.6, 1.0)  # share of the reference's response that a controller takes away
POISSON = 1.0


def truth(
    rng: np.random.Generator, rates: tuple[float, float], *, references: int, spread: float, drop: float = 0.0
) -> Truth:
    """Per site a controller `drop` below the least activating of its references, which step up by `spread`; a blank."""
    site_ids = [f"v4_{i:03d}" for i in range(SITES)]
    rows: list[KeyRow] = []
    means: list[Floats] = []

    def add(role: str, mean: Floats, **fields: Any) -> None:
        named = dict(zip(site_ids, map(float, mean), strict=True))
        rows.append(KeyRow(f"r01_{len(rows):04d}", f"source_{len(rows):04d}", role, predicted=named, **fields))
        means.append(mean)

    least = rng.uniform(*rates, SITES)
    for k, site in enumerate(site_ids):
        for i in range(references):
            mean = rng.uniform(*rates, SITES) * 2
            mean[k] = least[k] * (1 + spread * i)
            add("reference", mean, reference_for=(("suppress", site),))
        mean = rng.uniform(*rates, SITES) * 2
        mean[k] = least[k] * (1 - drop)
        add("controller", mean, objective="suppress", target=site, seed=0, confirmatory=True)
    add("blank", least * 0.8)
    frozen = tuple(
        SiteRow(site_id=s, natural_mean=NATURAL_MEAN, natural_sd=NATURAL_SD, reliability=0.8, is_target=True)
        for s in site_ids
    )
    return Truth(Key(tuple(rows), frozen), np.array(means))


def target_means(known: Truth, row: ControlRow) -> tuple[float, float, float]:
    """Expected counts of the row's site: controller, mean of the picked references, the lowest of all shown."""
    k = known.key.site_ids.index(row.site)
    shown = [known.of(r.image_id)[k] for r in known.key.rows if ("suppress", row.site) in r.reference_for]
    return float(known.of(row.image_id)[k]), float(picked(known, row)[:, k].mean()), float(min(shown))


def boundary_null(
    experiments: int, progress: Progress, rates: tuple[float, float], *, references: int, spread: float, seed: int = 0
) -> dict[str, Any]:
    """Controllers equal to the lowest reference shown: "control" at a site, and the claim for the round.

    `best`: "control" though the controller is not below the lowest that was shown; `untestable`: share of the sites that were not testable.
    """
    hits: list[tuple[int, int, int]] = []
    claims = rounds = untestable = 0
    for e, rng in streams(
        21 + 100 * seed, experiments, progress, f"null at {rates}, {references} references, spread {spread}"
    ):
        known = truth(rng, rates, references=references, spread=spread)
        made = record(rng, known, repeats=PRESENTATIONS // (references + 1), shared_gain=0.2, fano=POISSON)
        report = judged(known, made, e)
        found = [r for r in tested(report, "suppress") if r.verdict == "control"]
        levels = [target_means(known, r) for r in found]
        hits.append((sum(c >= p - 1e-9 for c, p, _ in levels), len(found), len(tested(report, "suppress"))))
        untestable += sum(r.verdict == "not testable" for r in report.confirmatory())
        group = report.objectives[0].group_p
        rounds, claims = rounds + (group is not None), claims + (group is not None and group <= GROUP_ALPHA)
    site, best = (rate_over_experiments([h[i] for h in hits], [h[2] for h in hits]) for i in (0, 1))
    group_rate = share_of_experiments(claims, rounds)
    answer: dict[str, Any] = {
        "site": {**site, "holds": site["low"] <= ALPHA},
        "group": group_rate,
        "untestable": untestable / (experiments * SITES),
    }
    if spread:
        return {**answer, "best": best}
    return {**answer, "group": {**group_rate, "holds": group_rate["low"] <= GROUP_ALPHA}}


def planted_drop(
    experiments: int, progress: Progress, rates: tuple[float, float], *, references: int, drop: float
) -> dict[str, Any]:
    """The share of "control" where the controller takes `drop` of the response away, beside that of the planner's simulated experiments."""
    hits: list[tuple[int, int]] = []
    planned: list[float] = []
    silent: list[tuple[int, int]] = []
    repeats = PRESENTATIONS // (references + 1)
    design = Trials(repeats=repeats, blocks=BLOCKS, alpha=ALPHA, permutations=PERMUTATIONS, lost=0.05)
    for e, rng in streams(22, experiments, progress, f"{drop:.0%} below at {rates}, {references} references"):
        known = truth(rng, rates, references=references, spread=0.05, drop=drop)
        made = record(rng, known, lost=0.05, repeats=repeats, fano=POISSON)
        rows = judged(known, made, e, permutations=PERMUTATIONS).confirmatory()
        hits.append((sum(r.verdict == "control" for r in rows), len(rows)))
        missed = [r for r in rows if r.verdict != "control"]
        silent.append((sum("no room" in r.reason for r in missed), len(missed)))
        row = rows[e % SITES]
        site, images = expected_site(known, row)
        planned.append(control_share(site, design, images, objective="suppress", experiments=50, generator=rng))
    measured = rate_over_experiments(*zip(*hits, strict=True))
    mean = float(np.mean(planned))
    said = [sum(s) for s in zip(*silent, strict=True)]
    return {
        **measured,
        "planned": mean,
        "holds": abs(mean - measured["rate"]) <= 0.05,
        "no_room_of_missed": said[0] / said[1] if said[1] else None,
    }


def expected_site(known: Truth, row: ControlRow) -> tuple[ExpectedSite, Floats]:
    """What the planner is told of a site, and the expected responses to its references and its controller."""
    k = known.key.site_ids.index(row.site)
    images = [known.of(r.image_id)[k] for r in known.key.rows if ("suppress", row.site) in r.reference_for]
    site = ExpectedSite(np.array(images), fano=POISSON, shared_gain=SHARED_GAIN, natural_sd=NATURAL_SD)
    return site, np.array([*images, known.of(row.image_id)[k]])[:, None]


def intervals(experiments: int, progress: Progress, rates: tuple[float, float]) -> dict[str, Any]:
    """How often the 95 % intervals hold the true difference to the picked references (natural SDs) and to the blank (spikes)."""
    held: dict[str, list[tuple[int, int]]] = {"reference": [], "blank": []}
    for e, rng in streams(23, experiments, progress, f"intervals at {rates}"):
        known = truth(rng, rates, references=1 + e % 2, spread=0.08, drop=float(rng.choice([0.0, 0.3, 0.6])))
        made = record(rng, known, lost=0.05, repeats=48, fano=POISSON)
        counts: dict[str, list[bool]] = {"reference": [], "blank": []}
        for row in judged(known, made, e).confirmatory():
            k = known.key.site_ids.index(row.site)
            controller, reference, _ = target_means(known, row)
            gain = made.gain[k] * (reference - controller) / NATURAL_SD
            counts["reference"].append(holds(row.gain_low, row.gain_high, float(gain)))
            blank = known.means[-1, k] - controller
            counts["blank"].append(holds(row.blank_low, row.blank_high, float(made.gain[k] * blank)))
        for name, covered in counts.items():
            held[name].append((sum(covered), len(covered)))
    found = {name: rate_over_experiments(*zip(*pairs, strict=True)) for name, pairs in held.items()}
    return {name: {**rate, "holds": 0.93 <= rate["rate"] <= 0.97} for name, rate in found.items()}


def table(found: dict[str, Any]) -> str:
    """All answers as a Markdown table."""
    lines = ["| Question | References evoke | Found | 99 % interval | Expected | Holds |", "|---|---|---|---|---|---|"]

    def line(question: str, rates: str, rate: dict[str, Any], expected: str) -> None:
        lines.append(table_row((question, rates), rate, expected))

    for name, by_rate in found.get("null", {}).items():
        for rates, null in by_rate.items():
            untestable = f" ({null['untestable']:.0%} of sites not testable)" if null["untestable"] >= 0.005 else ""
            line(f"false verdict at a site, {name}{untestable}", rates, null["site"], "at most 1 %")
            if "best" in null:
                line(f"control though not below the lowest shown, {name}", rates, null["best"], "")
            else:
                line(f"false claim for a round, {name}", rates, null["group"], "at most 5 %")
    for name, by_rate in found.get("power", {}).items():
        for rates, rate in by_rate.items():
            line(f"{name} found", rates, rate, f"planner: {100 * rate['planned']:.2f} %, within 5")
    for rates, by_name in found.get("intervals", {}).items():
        for name, rate in by_name.items():
            line(f"95 % interval holds the difference to the {name}", rates, rate, "93 - 97 %")
    return "\n".join(lines)


def main() -> None:
    """Ask the chosen questions and print the table; exit 1 where an answer does not hold."""
    parser = options_of(__doc__)
    parser.add_argument("--experiments", type=int, default=400, help="rounds per null; the others take a part of them")
    parser.add_argument("--only", nargs="*", default=["null", "power", "intervals"], help="questions to ask")
    parser.add_argument("--nulls", nargs="*", default=list(NULLS), choices=list(NULLS), help="boundary nulls to ask")
    parser.add_argument("--rates", nargs="*", default=list(RATES), choices=list(RATES), help="ranges of rates to ask")
    parser.add_argument("--references", nargs="*", type=int, default=[1, 2], help="references per site, for the power")
    parser.add_argument("--seed", type=int, default=0, help="other rounds of the boundary nulls")
    arguments = parser.parse_args()
    number, progress, found = arguments.experiments, Progress(), dict[str, Any]()
    ranges = {label: RATES[label] for label in arguments.rates}
    if "null" in arguments.only:
        found["null"] = {
            name: {
                label: boundary_null(number, progress, rates, references=k, spread=spread, seed=arguments.seed)
                for label, rates in ranges.items()
            }
            for name, (k, spread) in NULLS.items()
            if name in arguments.nulls
        }
    if "power" in arguments.only:
        found["power"] = {
            f"{drop:.0%} below, {k} reference{'s' if k > 1 else ''}": {
                label: planted_drop(math.ceil(number / 8), progress, rates, references=k, drop=drop)
                for label, rates in ranges.items()
            }
            for k in arguments.references
            for drop in DROPS
        }
    if "intervals" in arguments.only:
        found["intervals"] = {
            label: intervals(math.ceil(number / 2), progress, rates) for label, rates in ranges.items()
        }
    told(found, table(found), arguments.json)


if __name__ == "__main__":
    main()
