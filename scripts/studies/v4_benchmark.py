"""Control of recorded V4 sites in silico: the whole loop against hidden truth, and the toolkit's own verdicts against that truth.

For every recording a subject is made of the sites' compact models (in a hidden folder outside the project), the loop runs with the
recording's own 1200 photographs, and a rig in a process of its own answers every round. Only when all rounds are evaluated is the truth
read: does the expected response to the shown 8-bit controller exceed M, the natural 99.5th percentile (stretch), does its z margin exceed
that of every natural image (one-hot), and does each verdict agree with the truth of the very comparison that it judged?

Run: python scripts/studies/v4_benchmark.py --data ../shared/data/v4_cowley2023 --out DIR [--sessions 201025,210225] [--sites 24] [--rounds 1]
Killed runs go on where they stood. Hours on two cores; `--images 200 --sites 6 --steps 20` gives a first look.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.files import write_json, write_text
from protocols.loop import look, step
from protocols.models.pair import load_pair
from protocols.progress import Progress
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.project.objectives import OBJECTIVES
from protocols.project.photograph_import import import_photographs
from protocols.stats.intervals import wilson_interval
from protocols.stats.selectivity import selectivity_weights
from protocols.stats.trials import margins
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

Truth = dict[str, NDArray[Any]]

SIDE_PX = 112
NOMINAL_DEG = 8.0  # the recordings' page gives no size in degrees; nothing simulated depends on it
TESTED = ("control", "no control")


def main() -> None:
    options = parse()
    results = {session: run_session(session, options) for session in options.sessions.split(",")}
    rows = [row for result in results.values() for row in result["rows"]]
    report = {"settings": settings_of(options), "sessions": results, "together": summarise(rows)}
    write_json(options.out / "v4_benchmark.json", report)
    if options.json:
        print(json.dumps(report, indent=1, allow_nan=False))
        return
    for session, result in results.items():
        print(
            f"\nsession {session}: {result['sites']} sites, {result['eligible']} eligible, {result['targets']} targets"
        )
        print(describe(result["summary"]))
    if len(results) > 1:
        print("\nall recordings together")
        print(describe(report["together"]))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options in `words`, or of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--sessions", default="201025,210225")
    parser.add_argument(
        "--sites", type=int, default=24, help="target sites per recording, drawn among the eligible ones"
    )
    parser.add_argument("--subject-sites", type=int, help="sites of the subject, drawn; default: all with r >= 0.5")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--objectives", default="stretch,one_hot", help="of the controllers; suppress too")
    parser.add_argument("--steps", type=int, default=SynthesisConfig().steps, help="gradient steps per image")
    parser.add_argument("--seeds", type=int, default=SynthesisConfig().seeds, help="images per target and objective")
    parser.add_argument(
        "--repeats", type=int, help="presentations of each image per round, by hand; default: the planner divides"
    )
    parser.add_argument("--images", type=int, help="use only the first so many photographs")
    parser.add_argument(
        "--baseline-repeats", type=int, default=ProtocolConfig().baseline_repeats, help="presentations of a photograph"
    )
    parser.add_argument("--no-arms", action="store_true", help="show no control arms, which take presentations but decide nothing")  # fmt: skip
    parser.add_argument("--targets-from", type=Path, help="another --out folder of this script: control the same sites")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--effort", choices=("quick", "full"), default="quick", help="of the encoder; `stimsynth init` writes full"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options that determine the result (no paths)."""
    return {k: v for k, v in vars(options).items() if k not in ("data", "out", "targets_from", "json")}


# ---- the loop, which sees no truth ---------------------------------------------------------------------------------------------


def run_session(session: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the loop of one recording to its end, then score it against the truth."""
    hidden = options.out / f"hidden_{session}"
    subject = hidden / "subject"
    if not subject.is_dir():
        limit = [] if options.subject_sites is None else ["--sites", options.subject_sites]
        simulate(
            "v4", "--subject", subject, "--data", options.data, "--session", session, "--seed", options.seed, *limit
        )
    project = prepare(session, options)
    progress = Progress()
    while (state := look(project)).stage != "finished":
        if state.waiting_for == "responses" and state.round is not None:
            folders = ("--subject", subject, "--outbox", state.round.outbox, "--inbox", state.round.inbox)
            simulate("rig", *folders, "--layout", "matlab", "--seed", options.seed)
        elif state.waiting_for:
            raise RuntimeError(state.summary())
        else:
            if state.stage == "generate" and state.number == 1:
                draw_targets(project, options)
            step(project, state, device=options.device, progress=progress)
    return score_session(project, subject, hidden)


def prepare(session: str, options: argparse.Namespace) -> Project:
    """The project of one recording, with its photographs; made where it does not exist."""
    folder = options.out / f"project_{session}"
    if not (folder / "project.toml").is_file():
        config = Config(
            project=ProjectConfig(name=f"v4_{session}", species="simulated"),
            display=Display(width_px=SIDE_PX, height_px=SIDE_PX, size_deg=NOMINAL_DEG, background=128, colour="rgb"),
            encoder=EncoderConfig(effort=options.effort),
            synthesis=SynthesisConfig(
                objectives=tuple(options.objectives.split(",")), steps=options.steps, seeds=options.seeds
            ),
            protocol=ProtocolConfig(
                repeats=options.repeats, baseline_repeats=options.baseline_repeats, seed=options.seed
            ),
            arms=ArmsConfig(kinds=()) if options.no_arms else ArmsConfig(),
            loop=LoopConfig(rounds=options.rounds),
        )
        Project.create(folder, template(config))
    project = Project.open(folder)
    if not (project.data / "natural.csv").is_file():
        photographs = options.out / f"photographs_{session}"
        with zipfile.ZipFile(options.data / f"images/images_{session}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[: options.images]
            for name in names:
                (photographs / Path(name).name).parent.mkdir(parents=True, exist_ok=True)
                (photographs / Path(name).name).write_bytes(archive.read(name))
        import_photographs(photographs, project.display, project.data, progress=Progress())
    return project


def draw_targets(project: Project, options: argparse.Namespace) -> None:
    """Name the targets in project.toml: those of another run, or a seeded draw among those that the encoder declares eligible."""
    config = project.config
    if config.synthesis.targets != "all":
        return  # drawn before this process was killed
    eligible = load_pair(project, 1)[0].target_ids
    if options.targets_from is not None:
        named = Project.open(options.targets_from / project.folder.name).config.synthesis.targets
        targets = tuple(t for t in named if t in eligible)
    else:
        drawn = np.random.default_rng(options.seed).permutation(len(eligible))[: options.sites]
        targets = tuple(eligible[i] for i in sorted(drawn))
    synthesis = config.synthesis.model_copy(update={"targets": targets})
    write_text(project.folder / "project.toml", template(config.model_copy(update={"synthesis": synthesis})))


def simulate(*arguments: object) -> None:
    """One command of the simulation, in a process of its own."""
    subprocess.run([sys.executable, "-m", "protocols.simulate", *map(str, arguments)], check=True, stdout=sys.stderr)


# ---- the truth, read when the loop has finished --------------------------------------------------------------------------------


def score_session(project: Project, subject: Path, hidden: Path) -> dict[str, Any]:
    """Truth and verdict of every confirmatory controller; the summary is that of the last round."""
    rows = []
    for round_ in (r for r in project.rounds() if r.number > 0):
        truth = read_truth(round_, subject, hidden / f"truth_{round_.number:02d}.npz")
        report, key = ControlReport.from_json(round_.evaluation_path), read_key(round_.key_path)
        rows += [{"round": round_.number, **judge(row, key, truth, report=report)} for row in report.confirmatory()]
    last = [r for r in rows if r["round"] == max(r["round"] for r in rows)]
    encoder, _ = load_pair(project, 1)
    return {
        "sites": len(truth["site_ids"]),
        "eligible": len(encoder.target_ids),
        "targets": len({r["site"] for r in last}),
        "rows": rows,
        "summary": summarise(last),
        "by_round": {n: summarise([r for r in rows if r["round"] == n]) for n in sorted({r["round"] for r in rows})},
    }


def read_truth(round_: Round, subject: Path, path: Path) -> Truth:
    """Noise-free responses to the images of a round (see ``python -m protocols.simulate truth``)."""
    if not path.is_file():
        simulate("truth", "--subject", subject, "--outbox", round_.outbox, "--out", path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def judge(row: ControlRow, key: Key, truth: Truth, *, report: ControlReport) -> dict[str, Any]:
    """Truth of one controller. One-hot figures are over the evaluated site set (a site that left it: over the set frozen at export)."""
    sites, images = list(truth["site_ids"]), list(truth["image_ids"])
    u, i = sites.index(row.site), images.index(row.image_id)
    expected, natural = truth["expected"], truth["natural_expected"]
    evaluated = report.one_hot_sites if row.site in report.one_hot_sites else key.site_ids
    frozen = [sites.index(s) for s in evaluated]
    z = (expected[i, frozen] - natural.mean(0)[frozen]) / natural.std(0)[frozen]
    natural_z = (natural[:, frozen] - natural.mean(0)[frozen]) / natural.std(0)[frozen]
    t = frozen.index(u)
    best_natural_margin = float(margins(natural_z)[:, t].max())
    beats: bool | None = None
    picked = [name for name in (row.reference_image, row.reference_other or row.reference_image) if name in images]
    if picked and row.verdict != "excluded":
        shown = expected[[i, *(images.index(name) for name in picked)]]
        own, *others = verdict_scores(row, shown, sites, key=key, report=report)
        beats = bool(own > np.mean(others))
    return {
        "objective": row.objective,
        "site": row.site,
        "verdict": row.verdict,
        "listed": row.verdict in TESTED and (row.verdict == "control" or bool(row.bh)),
        "p": row.p,
        "expected": float(expected[i, u]),
        "relative_to_m": float(expected[i, u] / truth["saturation"][u]),
        "above_m": bool(expected[i, u] > truth["saturation"][u]),
        "above_natural_maximum": bool(expected[i, u] > natural[:, u].max()),
        "below_natural_minimum": bool(expected[i, u] < natural[:, u].min()),
        "z": float(z[t]),
        "margin": float(margins(z[None])[0, t]),
        "best_natural_margin": best_natural_margin,
        "beats_natural_margin": bool(margins(z[None])[0, t] > best_natural_margin),
        "share": float(np.exp(z[t] - np.logaddexp.reduce(z))),
        "beats_reference": beats,
    }


def verdict_scores(row: ControlRow, responses: Floats, sites: list[str], *, key: Key, report: ControlReport) -> Floats:
    """What the verdict compares, of noise-free responses (N, U), shape (N,): the response (suppress: its negative), or the linear contrast
    of the frozen sites with the weights of the sealed predictions.
    """
    if row.objective != "one_hot":
        column = np.asarray(responses[:, sites.index(row.site)])
        return -column if OBJECTIVES[row.objective].below else column
    mean, sd = key.natural_statistics()
    known = {s: (m, d) for s, m, d in zip(key.site_ids, mean, sd, strict=True)}
    frozen = list(report.one_hot_sites or key.site_ids)
    centre, scale = np.array([known[s] for s in frozen]).T
    references = [r for r in key.of_role("reference") if (row.objective, row.site) in r.reference_for]
    sealed = [r for r in key.rows if r.image_id == row.image_id] + references
    predicted = np.array([[r.predicted.get(s, np.nan) for s in frozen] for r in sealed]).reshape(-1, len(frozen))
    target = frozen.index(row.site)
    weights = selectivity_weights((predicted - centre) / scale, target, temperature=report.temperature)
    z = (responses[:, [sites.index(s) for s in frozen]] - centre) / scale
    return np.asarray(z[:, target] - z @ weights)


# ---- counts --------------------------------------------------------------------------------------------------------------------


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and verdict tables of each objective."""
    return {
        o: summarise_objective([r for r in rows if r["objective"] == o]) for o in sorted({r["objective"] for r in rows})
    }


def summarise_objective(rows: list[dict[str, Any]]) -> dict[str, Any]:
    tested = [r for r in rows if r["verdict"] in TESTED]
    stretch = rows[0]["objective"] != "one_hot"
    truths = ("above_m", "above_natural_maximum") if stretch else ("beats_natural_margin",)
    if rows[0]["objective"] == "suppress":
        truths = ("below_natural_minimum",)
    shown = ("relative_to_m", "z") if stretch else ("margin", "best_natural_margin", "z", "share")
    return {
        "controllers": len(rows),
        "true": {name: proportion([r[name] for r in rows]) for name in truths},
        "true_beats_reference": proportion([r["beats_reference"] for r in rows if r["beats_reference"] is not None]),
        "verdict_control": proportion([r["verdict"] == "control" for r in tested]),
        "verdict_or_list": proportion([r["listed"] for r in tested]),
        "median": {name: float(np.median([r[name] for r in rows])) for name in shown},
        "verdict_against": {name: table(tested, name) for name in ("beats_reference", truths[0])},
        "list_against": {name: table(tested, name, "listed") for name in ("beats_reference",)},
    }


def proportion(values: list[bool]) -> dict[str, Any]:
    low, high = wilson_interval(sum(values), len(values)) if values else (0.0, 1.0)
    return {"successes": sum(values), "of": len(values), "low": low, "high": high}


def table(rows: list[dict[str, Any]], truth: str, claim: str = "") -> dict[str, Any]:
    """The 2 x 2 table of a truth against the verdict "control" (or another `claim`): sensitivity, false-verdict rate."""
    rows = [r for r in rows if r[truth] is not None]
    said = [bool(r[claim]) if claim else r["verdict"] == "control" for r in rows]
    pairs = [(bool(r[truth]), claimed) for r, claimed in zip(rows, said, strict=True)]
    count = {(t, v): pairs.count((t, v)) for t in (True, False) for v in (True, False)}
    positive, negative = count[True, True] + count[True, False], count[False, True] + count[False, False]
    return {
        "true_control": count[True, True],
        "true_no_control": count[True, False],
        "false_control": count[False, True],
        "false_no_control": count[False, False],
        "sensitivity": count[True, True] / positive if positive else None,
        "false_verdict_rate": count[False, True] / negative if negative else None,
    }


def describe(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = []
    for objective, s in summary.items():
        lines.append(f"{objective}: {s['controllers']} confirmatory controllers; medians " + ", ".join(f"{k} {v:.2f}" for k, v in s["median"].items()))  # fmt: skip
        for name, value in (*s["true"].items(), ("beats_reference", s["true_beats_reference"])):
            lines.append(f"  truth   {name:<24}{show(value)}")
        lines.append(f"  verdict control                 {show(s['verdict_control'])}")
        lines.append(f"  verdict control, or on the list {show(s['verdict_or_list'])}")
        for name, t in s["list_against"].items():
            false = f"{t['false_control']} of {t['false_control'] + t['true_control']} claims false"
            lines.append(f"    of them against the truth '{name}': {false}, sensitivity {rate(t['sensitivity'])}")
        for name, t in s["verdict_against"].items():
            lines.append(f"  verdict against the truth '{name}':       control  no control")
            lines.append(f"    {'true':<42}{t['true_control']:>7}{t['true_no_control']:>12}   sensitivity {rate(t['sensitivity'])}")  # fmt: skip
            lines.append(f"    {'not true':<42}{t['false_control']:>7}{t['false_no_control']:>12}   false-verdict rate {rate(t['false_verdict_rate'])}")  # fmt: skip
    return "\n".join(lines)


def show(value: dict[str, Any]) -> str:
    share = value["successes"] / value["of"] if value["of"] else 0.0
    return f"{value['successes']:>3} of {value['of']:<3} {share:>4.0%}  (Wilson 95 %: {value['low']:.0%} to {value['high']:.0%})"


def rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


if __name__ == "__main__":
    main()
