"""Do interim looks keep what the verdicts promise, and what do they gain? Simulated rounds of known truth, re-allocated as the toolkit does.

    python scripts/studies/interim_calibration.py

Every round has two objectives per site, trials lost at random, overdispersed counts, gain noise shared by the sites and a gain that drifts.
At each look `protocols.verdict.looks.interim.decide` stops controllers and `protocols.rounds.looks.reallocate.new_counts` shares out what they
leave; the verdicts come from `combine`, as in `evaluate_stages`. The same rounds without looks come from `evaluate`. The unit of every interval is the round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration import ALPHA, GROUP_ALPHA, options_of, rate_over_experiments, table_row, told
from protocols.arrays import Floats
from protocols.progress import Progress
from protocols.project.key import Key, KeyRow, SiteRow
from protocols.project.looks import Looks, look_blocks
from protocols.recordings.responses import Responses
from protocols.rounds.looks.reallocate import new_counts
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from protocols.verdict.looks.interim import Decision, combine, decide, stage_report

FANO, SHARED_GAIN, DRIFT = 1.3, 0.15, 0.3


@dataclass(frozen=True)
class Design:
    """How a round is made: sites, presentations of a controller and of a reference, references per site, blocks, looks."""

    sites: int = 8
    repeats: int = 48
    references: int = 1
    blocks: int = 4
    looks: int = 1
    spending: str = "obrien_fleming"
    futility: float = 0.05
    permutations: int = 4999
    lost: float = 0.1
    objectives: tuple[str, ...] = ("stretch",)

    def plan(self) -> Looks:
        """The looks of this design."""
        after = look_blocks(self.looks, (), self.blocks)
        return Looks(
            after=after,
            blocks=self.blocks,
            alpha=ALPHA,
            spending=self.spending,  # type: ignore[arg-type]
            futility=self.futility,
        )


def truth(rng: np.random.Generator, design: Design, gains: Floats, *, spread: float = 0.0) -> tuple[Key, Floats]:
    """A key and the expected counts of its images (images, sites); `gains` (sites,) over the best reference."""
    ids = [f"v4_{i:03d}" for i in range(design.sites)]
    rows: list[KeyRow] = []
    means: list[Floats] = []
    low = np.full(design.sites, 0.5)

    def add(role: str, mean: Floats, **about: Any) -> None:
        rows.append(
            KeyRow(
                f"r01_{len(rows):04d}",
                f"source_{len(rows):04d}",
                role,
                predicted=dict(zip(ids, mean.tolist(), strict=True)) if role != "blank" else {},
                **about,
            )
        )
        means.append(mean)

    for k, site in enumerate(ids):
        top = rng.gamma(4.0, 0.8, design.sites) + 0.5
        top[k] = rng.uniform(5, 9)
        for i in range(design.references):
            pairs = tuple((o, site) for o in design.objectives)
            add("reference", low + (top - low) * (1 - spread * i), reference_for=pairs)
        stronger = top.copy()
        stronger[k] = low[k] + (1 + gains[k]) * (top[k] - low[k])
        for objective in design.objectives:
            add("controller", stronger, objective=objective, target=site, seed=0, confirmatory=True)
    add("blank", low)
    frozen = tuple(SiteRow(site_id=s, natural_mean=4.0, natural_sd=2.0, reliability=0.8, is_target=True) for s in ids)
    return Key(tuple(rows), frozen), np.array(means)


class Recorder:
    """A subject whose blocks are recorded one after the other, by the counts of each block."""

    def __init__(self, rng: np.random.Generator, key: Key, means: Floats, design: Design) -> None:
        self.rng, self.key, self.means, self.design = rng, key, means, design
        self.shown = Counter[str]()
        self.parts: list[tuple[Floats, np.ndarray, np.ndarray]] = []

    def block(self, number: int, counts: Mapping[str, int]) -> None:
        """Show each image so often in block `number`."""
        rng, place = self.rng, {r.image_id: i for i, r in enumerate(self.key.rows)}
        ids = rng.permutation([i for i, n in counts.items() for _ in range(n)])
        self.shown.update(map(str, ids))
        time = (number + np.linspace(0, 1, len(ids))) / self.design.blocks - 0.5
        gain = np.exp(SHARED_GAIN * rng.normal(size=len(ids)) - SHARED_GAIN**2 / 2 + DRIFT * time)
        expected = self.means[[place[str(i)] for i in ids]] * gain[:, None]
        values = rng.poisson(rng.gamma(expected / (FANO - 1), FANO - 1)).astype(float)
        kept = rng.random(len(ids)) >= self.design.lost
        self.parts.append((values[kept], ids[kept], np.full(int(kept.sum()), number)))

    def responses(self) -> Responses:
        """All trials so far."""
        values, ids, block = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        return Responses(
            values=values,
            image_ids=ids,
            site_ids=self.key.site_ids,
            unit="spikes",
            window_ms=(70.0, 170.0),
            block=block,
        )

    def stage(self, looks: Looks, number: int, *, seed: int, **tests: Any) -> ControlReport | None:
        """The report of one stage, as `protocols.verdict.looks.interim.stage_reports` makes it of all."""
        responses = self.responses()
        assert responses.block is not None
        mine = responses.select(np.flatnonzero(looks.stage_of(responses.block) == number))
        return stage_report(mine, self.key, seed=seed + number, **tests)


def planned_block(key: Key, design: Design) -> dict[str, int]:
    """Presentations of every image in one block, as exported."""
    each = design.repeats // design.blocks
    return {r.image_id: 4 if r.role == "blank" else each for r in key.rows}


def with_looks(recorder: Recorder, seed: int) -> ControlReport:
    """A round with looks: recorded, looked at, re-allocated, evaluated."""
    design, key = recorder.design, recorder.key
    looks, usual = design.plan(), planned_block(key, design)
    tests: dict[str, Any] = {"permutations": design.permutations, "seed": seed}
    found: list[ControlReport | None] = []
    decisions: list[Decision] = []
    counts = {i: n * design.blocks for i, n in usual.items()}
    plan = [dict(usual) for _ in range(design.blocks)]
    for number in range(design.blocks):
        if number in looks.after:
            found.append(recorder.stage(looks, len(found), **tests))
            rest = {i: sum(b.get(i, 0) for b in plan[number:]) for i in counts}
            decisions = decide(found, looks, decisions)
            decided = {d.pair for d in decisions if d.decision != "undecided"}
            new, _, _ = new_counts({i: n for i, n in rest.items() if n}, key, decided)
            left = design.blocks - number
            plan[number:] = [{i: (n + b) // left for i, n in new.items()} for b in range(left)]
        recorder.block(number, plan[number])
    found.append(recorder.stage(looks, len(found), **tests))
    assert found[0] is not None
    return combine(
        found[0], found, looks, decisions=decisions
    )  # all but p, verdicts and counts is of the first stage: nobody asks for it


def without_looks(recorder: Recorder, seed: int) -> ControlReport:
    """The same round as exported."""
    for number in range(recorder.design.blocks):
        recorder.block(number, planned_block(recorder.key, recorder.design))
    return evaluate(
        recorder.responses(), recorder.key, alpha=ALPHA, permutations=recorder.design.permutations, seed=seed
    )


# --- rates over rounds -------------------------------------------------------------------------------------------------


def boundary_null(rounds: int, design: Design, progress: Progress, *, part: int) -> dict[str, Any]:
    """No controller above its reference: how often "control" is said at a site, and of a round."""
    found: dict[str, list[tuple[int, int, int, int]]] = {o: [] for o in design.objectives}
    for e in range(rounds):
        rng = np.random.default_rng([part, e])
        key, means = truth(rng, design, np.zeros(design.sites))
        report = with_looks(Recorder(rng, key, means, design), e)
        for s in report.objectives:
            rows = report.confirmatory(s.objective)
            early = sum(r.stopped.endswith("futile") for r in rows)
            found[s.objective].append((s.successes, s.tested, int((s.group_p or 1.0) <= GROUP_ALPHA), early))
        progress(f"null, {design.looks} looks, {design.spending}", e + 1, rounds)
    answers: dict[str, Any] = {}
    for objective, counted in found.items():
        hits, tests, claims, stopped = ([row[i] for row in counted] for i in range(4))
        site, group = rate_over_experiments(hits, tests), rate_over_experiments(claims, [1 for _ in claims])
        answers[objective] = {
            "site": {**site, "level": ALPHA, "holds": site["low"] <= ALPHA},
            "round": {**group, "level": GROUP_ALPHA, "holds": group["low"] <= GROUP_ALPHA},
            "futile": rate_over_experiments(stopped, tests),
        }
    return answers


def gained(rounds: int, design: Design, progress: Progress, *, part: int, null: float = 0.3) -> dict[str, Any]:
    """Sites without and with control: controls found with looks and without, of the same rounds, and presentations used."""
    pairs, used, counts, false, nulls = [], [], [], [], []
    for e in range(rounds):
        rng = np.random.default_rng([part, e])
        gains = np.where(rng.random(design.sites) < null, 0.0, rng.uniform(0.1, 0.4, design.sites))
        key, means = truth(rng, design, gains)
        with_them, plain = (Recorder(np.random.default_rng([part, e, i]), key, means, design) for i in (1, 2))
        reports = with_looks(with_them, e), without_looks(plain, e)
        true = {s for s, g in zip(key.site_ids, gains, strict=True) if g > 0}
        pairs.append([sum(r.verdict == "control" and r.site in true for r in rep.confirmatory()) for rep in reports])
        counts.append(len(true) * len(design.objectives))
        false.append(sum(r.verdict == "control" and r.site not in true for r in reports[0].confirmatory()))
        nulls.append(len(reports[0].confirmatory()) - counts[-1])
        used.append(with_them.shown.total() / plain.shown.total())
        progress(f"gain, {design.looks} looks, {design.spending}", e + 1, rounds)
    found, total = np.array(pairs, dtype=float), np.array(counts, dtype=float)
    draws = np.random.default_rng(0).integers(len(found), size=(4000, len(found)))
    sums = found[draws].sum(1) / total[draws].sum(1)[:, None]  # (draws, 2)
    low, high = np.quantile(sums[:, 0] - sums[:, 1], [0.025, 0.975])
    middle = np.quantile(np.array(used)[draws].mean(1), [0.025, 0.975])
    mistaken = rate_over_experiments(false, nulls)
    return {
        "null sites": {**mistaken, "level": ALPHA, "holds": mistaken["low"] <= ALPHA},
        "with": rate_over_experiments([int(h) for h in found[:, 0]], counts, confidence=0.95),
        "without": rate_over_experiments([int(h) for h in found[:, 1]], counts, confidence=0.95),
        "difference": {
            "rate": float((found[:, 0] - found[:, 1]).sum() / total.sum()),
            "low": float(low),
            "high": float(high),
            "tests": int(total.sum()),
        },
        "used": {"rate": float(np.mean(used)), "low": float(middle[0]), "high": float(middle[1]), "tests": rounds},
    }


# --- table -------------------------------------------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> str:
    """All answers as a Markdown table."""
    lines = ["| Design | Question | Found | Interval | Promised | Holds |", "|---|---|---|---|---|---|"]

    def line(design: str, question: str, rate: Mapping[str, Any], promised: str) -> None:
        lines.append(table_row((design, question), rate, promised))

    for design, answers in found.items():
        for objective, rates in answers.get("null", {}).items():
            line(design, f"{objective}: false verdict at a site", rates["site"], "at most 1 %")
            line(design, f"{objective}: false claim for a round", rates["round"], "at most 5 %")
            line(design, f"{objective}: stopped as futile", rates["futile"], "")
        if answers.get("gain"):
            line(design, "false verdict at a site among controlled ones", answers["gain"]["null sites"], "at most 1 %")
        for name, question in (
            ("with", "true controls found, with looks"),
            ("without", "true controls found, without"),
            ("difference", "difference"),
            ("used", "presentations used"),
        ):
            if name in answers.get("gain", {}):
                line(design, question, answers["gain"][name], "")
    return "\n".join(lines)


DESIGNS: dict[str, Design] = {
    "one look": Design(objectives=("stretch", "one_hot")),
    "two looks": Design(looks=2),
    "one look, other seeds": Design(objectives=("one_hot",)),
    "one look, Pocock": Design(spending="pocock"),
    "one look, three references": Design(references=3, repeats=24),
}


def main() -> None:
    """Ask the chosen designs and print the table; exit 1 where a promise does not hold."""
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="rounds per design at the boundary null")
    parser.add_argument("--powered", type=int, default=100, help="rounds per design with control at some sites")
    parser.add_argument("--only", nargs="*", default=list(DESIGNS), help="designs to ask")
    arguments = parser.parse_args()
    progress, found = Progress(), {}
    for part, (name, design) in enumerate(DESIGNS.items()):
        if name in arguments.only:
            found[name] = {
                "null": boundary_null(arguments.rounds, design, progress, part=2 * part) if arguments.rounds else {},
                "gain": gained(arguments.powered, design, progress, part=2 * part + 1) if arguments.powered else {},
            }
    told(found, table(found), arguments.json)


if __name__ == "__main__":
    main()
