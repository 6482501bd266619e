"""Three rounds on subjects made of recorded V4 sites: what the refit buys, against no refit and against more natural images.

For every seed of the subject (its noise and the draw of the targets) three runs of scripts/studies/v4_benchmark.py:

- refit: `--images` photographs in the baseline, three rounds, the encoder refitted after each;
- no_refit: the same first round; rounds two and three start from the best measured images as well, but keep the first encoder;
- natural: as many trials as the baseline and the first two rounds of `refit` had, all spent on photographs (`--more` of them), then
  one round at the same target sites.

Printed: truth of the confirmatory controllers by run and round, paired changes at the same sites with 95 % intervals (bootstrap over
recorded sites; a site that several seeds drew counts as one), consistency of the encoder on controllers before and after the refit.

Run: python scripts/studies/v4_rounds.py --data ../shared/data/v4_cowley2023 --out DIR [--seeds 0,1,2] [--jobs 2]
Killed runs go on where they stood.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import read_json, write_json, write_text
from protocols.project.config.template import template
from protocols.project.folder import Project
from protocols.report.learning import learning_curve
from protocols.stats.intervals import wilson_interval

Row = dict[str, Any]

ROUNDS, DRAWS = 3, 4000
MEASURES = {
    "stretch": ("relative_to_m", "above_m", "above_natural_maximum"),
    "one_hot": ("margin", "beats_natural_margin", "share"),
}


def main() -> None:
    options = parse()
    seeds = [int(s) for s in options.seeds.split(",")]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = [row for part in pool.map(lambda seed: run_seed(seed, options), seeds) for row in part]
    consistency = [entry for seed in seeds for entry in consistency_of(seed, options)]
    report = {
        "settings": {k: v for k, v in vars(options).items() if k not in ("data", "out", "json", "jobs")},
        "table": table(rows),
        "changes": changes(rows),
        "consistency": consistency,
        "rows": rows,
    }
    write_json(options.out / "v4_rounds.json", report)
    print(json.dumps(report, indent=1, allow_nan=False) if options.json else describe(report))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--sessions", default="201025", help="recordings, such as 201025,210225")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the subject")
    parser.add_argument("--sites", type=int, default=40, help="target sites per recording and seed")
    parser.add_argument("--images", type=int, default=800, help="photographs of the baseline")
    parser.add_argument("--more", type=int, default=1200, help="photographs of the run `natural`")
    parser.add_argument("--steps", type=int, help="gradient steps per image; default: the toolkit's")
    parser.add_argument("--jobs", type=int, default=1, help="seeds run beside each other")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# ---- runs ----------------------------------------------------------------------------------------------------------------------


def run_seed(seed: int, options: argparse.Namespace) -> list[Row]:
    """All three runs of one seed of the subject; one row per controller."""
    folder = options.out / f"seed_{seed}"
    refit, no_refit, natural = (folder / name for name in ("refit", "no_refit", "natural"))
    rows = benchmark(refit, seed, options, "--rounds", ROUNDS, "--images", options.images)
    for other in (no_refit, natural):
        share_subject(refit, other, options)
    for session in sessions_of(options):
        if not (no_refit / f"project_{session}").is_dir():
            keep_first_round(refit / f"project_{session}", no_refit / f"project_{session}")
    rows += benchmark(no_refit, seed, options, "--rounds", ROUNDS, "--images", options.images)
    repeats = round(trials_before_last(refit, options) / (len(sessions_of(options)) * options.more))
    more = ("--rounds", 1, "--images", options.more, "--baseline-repeats", repeats, "--targets-from", refit)
    return rows + benchmark(natural, seed, options, *more)


def benchmark(out: Path, seed: int, options: argparse.Namespace, *arguments: object) -> list[Row]:
    """One run of scripts/studies/v4_benchmark.py; its rows, marked with run, seed and recording."""
    result = out / "v4_benchmark.json"
    if not result.is_file():
        script = Path(__file__).with_name("v4_benchmark.py")
        command = [script, "--data", options.data, "--out", out, "--seed", seed, "--sites", options.sites, "--no-arms"]
        command += ["--sessions", options.sessions, *arguments]
        command += [] if options.steps is None else ["--steps", options.steps]
        log = out.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as handle:
            environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            subprocess.run([sys.executable, *map(str, command)], check=True, stdout=handle, stderr=handle, env=environment)  # fmt: skip
    sessions = read_json(result)["sessions"]
    marks = {"run": out.name, "seed": seed}
    return [{**marks, "session": name, **row} for name, found in sessions.items() for row in found["rows"]]


def sessions_of(options: argparse.Namespace) -> list[str]:
    return str(options.sessions).split(",")


def share_subject(source: Path, out: Path, options: argparse.Namespace) -> None:
    """The same hidden subjects for another run; the truth of the first round too where that round is shared."""
    for session in sessions_of(options):
        place = out / f"hidden_{session}" / "subject"
        if not place.is_dir():
            shutil.copytree(source / f"hidden_{session}" / "subject", place)
        if out.name == "no_refit":
            shutil.copy2(source / f"hidden_{session}" / "truth_01.npz", place.parent)


def keep_first_round(source: Path, project: Path) -> None:
    """A copy of a finished project as it stood after round one, set to keep its encoder."""
    temporary = project.with_name(f"{project.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    later = [name for n in range(2, ROUNDS + 1) for name in (f"round_{n:02d}", f"for_round_{n:02d}.json")]
    shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(*later))
    config = Project.open(temporary).config
    kept = config.model_copy(update={"refit": config.refit.model_copy(update={"mode": "reuse"})})
    write_text(temporary / "project.toml", template(kept))
    temporary.rename(project)


def trials_before_last(out: Path, options: argparse.Namespace) -> int:
    """Trials shown in the baseline and in all rounds but the last, over the recordings."""
    rounds = [r for s in sessions_of(options) for r in Project.open(out / f"project_{s}").rounds() if r.number < ROUNDS]
    return sum(int(read_json(r.outbox / "manifest.json")["counts"]["trials"]) for r in rounds)


def consistency_of(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Consistency on the controllers of every round of the run `refit`, before and after the refit."""
    folder = options.out / f"seed_{seed}" / "refit"
    found = []
    for session in sessions_of(options):
        for entry in learning_curve(Project.open(folder / f"project_{session}")):
            found.append({"seed": seed, "session": session, **entry})
    return found


# ---- numbers -------------------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Medians and shares by objective, run and round, all seeds and recordings together."""
    lines = []
    for objective, measures in MEASURES.items():
        for run, number in sorted({(r["run"], r["round"]) for r in rows}, key=lambda k: (k[0] != "refit", *k)):
            some = [r for r in rows if (r["objective"], r["run"], r["round"]) == (objective, run, number)]
            line: dict[str, Any] = {"objective": objective, "run": run, "round": number, "controllers": len(some)}
            line["sites"] = len({site(r) for r in some})
            for name in measures:
                line[name] = proportion(some, name) if isinstance(some[0][name], bool) else median(some, name)
            line["verdict_control"] = proportion([r | {"control": r["verdict"] == "control"} for r in some], "control")
            lines.append(line)
    return lines


def site(row: Row) -> tuple[str, str]:
    return row["session"], row["site"]


def proportion(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Share, with its Wilson interval, descriptive."""
    hits = sum(bool(r[name]) for r in rows)
    low, high = wilson_interval(hits, len(rows))
    return {"share": hits / len(rows), "hits": hits, "low": low, "high": high}


def median(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Median with its bootstrap interval over recorded sites."""
    return interval(rows, lambda some: float(np.median([r[name] for r in some])))


def interval(rows: Sequence[Row], statistic: Callable[[Sequence[Row]], float]) -> dict[str, float]:
    """`statistic` with a percentile bootstrap 95 % interval over recorded sites, all rows of a site together."""
    by_site: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_site.setdefault(site(row), []).append(row)
    groups, generator = list(by_site.values()), np.random.default_rng(0)
    draws = [
        statistic([row for i in generator.integers(len(groups), size=len(groups)) for row in groups[i]])
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": statistic(rows), "low": float(low), "high": float(high)}


PAIRS = {
    "refit, round 1 to 3": (("refit", 1), ("refit", 3)),
    "no refit, round 1 to 3": (("refit", 1), ("no_refit", 3)),
    "refit less no refit, round 2": (("no_refit", 2), ("refit", 2)),
    "refit less no refit, round 3": (("no_refit", 3), ("refit", 3)),
    "refit, round 3, less more natural images": (("natural", 1), ("refit", 3)),
    "no refit, round 3, less more natural images": (("natural", 1), ("no_refit", 3)),
}


def changes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Paired changes at the same seed, recording and site: mean of the differences."""
    lines = []
    for objective, measures in MEASURES.items():
        known = {(r["seed"], site(r), r["run"], r["round"]): r for r in rows if r["objective"] == objective}
        for label, (first, last) in PAIRS.items():
            for name in measures:
                pairs = [
                    {**row, "change": float(row[name]) - float(before[name])}
                    for (seed, place, *which), row in known.items()
                    if tuple(which) == last and (before := known.get((seed, place, *first)))
                ]
                if not pairs:
                    continue
                line: dict[str, Any] = {
                    "objective": objective,
                    "comparison": label,
                    "measure": name,
                    "pairs": len(pairs),
                }
                line |= interval(pairs, lambda some: float(np.mean([r["change"] for r in some])))
                lines.append(line | {"better": sum(r["change"] > 0 for r in pairs)})
    return lines


# ---- text ----------------------------------------------------------------------------------------------------------------------


def describe(report: dict[str, Any]) -> str:
    lines = []
    for objective, measures in MEASURES.items():
        lines.append(f"{objective:<10}{'round':>6}{'controllers':>13}" + "".join(f"{m:>28}" for m in measures) + f"{'verdict control':>28}")  # fmt: skip
        for line in (e for e in report["table"] if e["objective"] == objective):
            cells = "".join(f"{cell(line[m]):>28}" for m in (*measures, "verdict_control"))
            lines.append(f"{line['run']:<10}{line['round']:>6}{line['controllers']:>13}{cells}")
        lines.append("")
    lines.append("mean paired change at the same sites [95 %]")
    for line in report["changes"]:
        value = f"{line['value']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"
        lines.append(f"{line['objective']:<9}{line['comparison']:<45}{line['measure']:<24}{value:>26}  {line['pairs']} pairs")  # fmt: skip
    lines += ["", "encoder of the run `refit`, medians over sites"]
    for entry in report["consistency"]:
        lines.append("  ".join(f"{k} {shown(v)}" for k, v in entry.items() if not isinstance(v, dict | list)))
    return "\n".join(lines)


def cell(value: dict[str, float]) -> str:
    if "share" in value:
        return f"{value['share']:.0%} ({value['low']:.0%}-{value['high']:.0%})"
    return f"{value['value']:.2f} ({value['low']:.2f}-{value['high']:.2f})"


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
