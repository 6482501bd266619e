"""Evolution on the rig against hidden truth: compact models of V4 sites answer small outboxes.

A project of a recording's photographs names a few of its sites and no encoder; `stimsynth evolve` and the simulated rig take turns. When
the evolution has ended, the truth is read: the expected response of each site to every image shown, by generation, beside the scores that
the evolution saw, and that of the image chosen, beside the site's best photograph.

Run: python scripts/studies/evolution_rig.py --data ../shared/data/v4_cowley2023 --out DIR [--targets 2] [--generations 20]
Killed runs go on where they stood. About three minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.drawing import new_figure
from protocols.disk.files import write_json, write_text
from protocols.disk.png import read_png
from protocols.loop import look, step
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.config.protocol import ArmsConfig, LoopConfig, ProtocolConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.generations.files import Evolution, evolved_images
from protocols.project.key import read_key
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from protocols.simulate import v4
from protocols.simulate.command import main as simulated
from protocols.simulate.subject import Subject

SIDE_PX = 112


def main() -> None:
    options = parse()
    subject = options.out / "hidden" / "subject"
    if not subject.is_dir():
        where = ("--data", options.data, "--session", options.session)
        simulate("v4", "--subject", subject, *where, "--sites", options.targets, "--seed", options.seed)
    project = prepared(options, subject)
    while (state := look(project)).number == 0 or state.stage == "evolve":
        if state.waiting_for and state.round is not None:
            folders = ("--subject", subject, "--outbox", state.round.outbox, "--inbox", state.round.inbox)
            simulate("rig", *folders, "--seed", options.seed)
        else:
            step(project, state, tell=print)
    report = truth_of(project, Subject.load(subject))
    write_json(options.out / "evolution_rig.json", report)
    print(text_of(report))
    figure(report, project, options.out / "evolution_rig.png")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--session", default="210225")
    parser.add_argument("--targets", type=int, default=2, help="sites of the subject, all of them evolved")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--cutoff", type=float, default=6.0, help="highest frequency of the codes, in cycles per image")
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--start", default="noise", choices=("noise", "photographs"))
    parser.add_argument("--images", type=int, default=120, help="photographs of the baseline")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def simulate(*words: object) -> None:
    """``python -m protocols.simulate -q WORDS`` in this process: loading the networks anew for each generation takes longer than it."""
    with contextlib.redirect_stdout(io.StringIO()):
        if simulated(["-q", *map(str, words)]):
            raise RuntimeError("the simulated rig refused")


def prepared(options: argparse.Namespace, subject: Path) -> Project:
    """The project with its photographs; made where it does not exist."""
    folder = options.out / "project"
    if (folder / "project.toml").is_file():
        return Project.open(folder)
    config = Config(
        project=ProjectConfig(name="evolution_rig", species="simulated"),
        display=Display(width_px=SIDE_PX, height_px=SIDE_PX, size_deg=8.0, background=128, colour="grey"),
        arms=ArmsConfig(kinds=("evolved",)),
        protocol=ProtocolConfig(baseline_repeats=4),
        loop=LoopConfig(rounds=1),
        evolution=EvolutionConfig(
            generations=options.generations,
            population=options.population,
            cutoff=options.cutoff,
            start=options.start,
            targets=Subject.load(subject).site_ids,
        ),
    )
    pictures = options.out / "photographs"
    pictures.mkdir(parents=True, exist_ok=True)
    from PIL import Image

    for i, image in enumerate(v4.read_images(options.data, options.session)[: options.images]):
        Image.fromarray(image).save(pictures / f"img_{i:04d}.png")
    project = Project.create(folder, template(config))
    import_photographs(pictures, project.display, project.data)
    write_text(options.out / "settings.json", json.dumps({"generations": options.generations, "start": options.start}))
    return project


def truth_of(project: Project, subject: Subject) -> dict[str, Any]:
    """Expected responses, in spikes, of each target: per generation, of the chosen image, of the best photograph."""
    evolution, chosen = Evolution(project.round(1)), evolved_images(project, 1)
    record = json.loads(evolution.record_path.read_text(encoding="utf-8"))
    plan = json.loads(evolution.plan_path.read_text(encoding="utf-8"))
    found: dict[str, Any] = {"presentations": record["presentations"], "targets": {}}
    shown = [int(name[4:]) for name in NaturalImages.load(project.data).source_ids]
    for target in plan["targets"]:
        k, curve = subject.site_ids.index(target), []
        for number in range(1, record["generations"] + 1):
            generation = evolution.generation(number)
            rows = [r for r in read_key(generation.key_path).of_role("controller") if r.target == target]
            scores = json.loads(generation.scores_path.read_text(encoding="utf-8"))["targets"][target]["scores"]
            truth = subject.expected(np.stack([read_png(generation.image_path(r.image_id)) for r in rows]))[:, k]
            seen = np.array([np.nan if (s := scores[r.source_id]) is None else s for r in rows])
            best = int(np.nanargmax(seen))
            curve.append(
                {
                    "mean": float(truth.mean()),
                    "named_best": float(truth[best]),
                    "best": float(truth.max()),
                    "its_score": float(seen[best]),
                }
            )
        site = next(s for s in plan["sites"] if s["site_id"] == target)
        level = float(np.mean([subject.natural_expected[int(name[4:]), k] for name in plan["references"][target]]))
        image = subject.expected(chosen[target].pixels[None])[0, k]
        found["targets"][target] = {
            "curve": curve,
            "natural_best": float(subject.natural_expected[shown, k].max()),
            "saturation": float(subject.saturation[k]),
            "chosen": float(image),
            "chosen_score": chosen[target].score,
            "chosen_true_score": float((image - level) / site["natural_sd"]),
            "reference": level,
            "natural_sd": site["natural_sd"],
        }
    return found


def text_of(report: dict[str, Any]) -> str:
    lines = [f"{report['presentations']} usable presentations for {len(report['targets'])} sites"]
    for target, t in report["targets"].items():
        last = t["curve"][-1]
        claimed = t["reference"] + last["its_score"] * t["natural_sd"]
        lines += [
            f"{target}: expected response {t['curve'][0]['mean']:.2f} in generation 1, {last['mean']:.2f} in the last; "
            f"chosen image {t['chosen']:.2f}, best photograph {t['natural_best']:.2f}, M {t['saturation']:.2f}",
            f"  highest score of the last generation says {claimed:.2f}, its truth is {last['named_best']:.2f}; chosen image: "
            f"score {t['chosen_score']:+.2f}, truth {t['chosen_true_score']:+.2f} SDs above the references",
        ]
    return "\n".join(lines)


def figure(report: dict[str, Any], project: Project, path: Path) -> None:
    """Truth by generation, the scores that the evolution saw, and the image that it chose."""
    drawn = new_figure(7.0, 2.2 * len(report["targets"]))
    axes = drawn.subplots(len(report["targets"]), 2, width_ratios=[3, 1], squeeze=False)
    chosen = evolved_images(project, 1)
    for (left, right), (target, t) in zip(axes, report["targets"].items(), strict=True):
        numbers = np.arange(1, len(t["curve"]) + 1)
        claimed = [t["reference"] + c["its_score"] * t["natural_sd"] for c in t["curve"]]
        left.plot(numbers, claimed, "x", color="#d73027", label="highest score, as recorded")
        left.plot(numbers, [c["named_best"] for c in t["curve"]], ".", color="#1b7837", label="truth of that image")
        left.plot(numbers, [c["mean"] for c in t["curve"]], "-", color="#1b7837", label="truth, mean of the generation")
        left.axhline(t["natural_best"], color="#4575b4", linestyle="--", linewidth=1, label="best photograph")
        left.axhline(t["chosen"], color="#1b7837", linestyle=":", linewidth=1, label="chosen image")
        left.set_ylabel(f"{target}\nspikes", fontsize=8)
        left.tick_params(labelsize=8)
        right.axis("off")
        right.imshow(chosen[target].pixels[..., 0], cmap="gray", vmin=0, vmax=255)
    drawn.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside upper center", fontsize=8, frameon=False, ncols=3
    )
    axes[-1][0].set_xlabel("generation", fontsize=8)
    drawn.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
