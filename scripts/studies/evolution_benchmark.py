"""True response against number of presentations: evolution, random search, the controller of an encoder, and both together.

A subject is made of compact models of recorded V4 sites; a presentation gives one noisy count. Every arm has the same display, mean and
contrast. Evolution and random search show 40 images per generation over low-pass Fourier codes, for one site at a time; the encoder is
fitted to the subject's answers to photographs, as many presentations as `--photographs` times `--repeats`, which serve all sites at once.
The truth, the expected count of the image that an arm would name as its best, in units of M (the site's natural 99.5th percentile), is read
by this script alone. "shuffled" tells the optimiser the counts in a random order: it must give nothing.

Run: python scripts/studies/evolution_benchmark.py --data ../shared/data/v4_cowley2023 --out DIR [--sites 8] [--generations 75]
Killed runs go on where they stood. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocols.arrays import Floats, Pixels
from protocols.disk.files import write_json, write_text
from protocols.loop import look, step
from protocols.progress import Progress
from protocols.project.folder import Project
from protocols.simulate import v4
from protocols.simulate.rig import simulate_counts
from protocols.simulate.subject import Subject, calibrated
from protocols.synthesis.batch import plan_batch
from protocols.synthesis.shards import make
from synth.batches import project as constrained
from synth.batches import quantise
from synth.evolution.evolve import Evolution, seed_of
from synth.evolution.fourier_code import FourierCode
from v4_benchmark import parse as parse_loop
from v4_benchmark import prepare

BASE = ("cma", "genetic", "random", "shuffled")
HYBRIDS = ("hybrid",)
DRAWS = 4000


def main() -> None:
    options = parse()
    hidden = options.out / "hidden" / "subject"
    if not hidden.is_dir():
        where = ("--subject", hidden, "--data", options.data, "--session", options.session)
        simulate("v4", *where, "--sites", options.sites, "--seed", options.seed)
    subject = Subject.load(hidden)
    project = fitted(options)
    rows, found = [], controllers(project, options)
    for site in reversed(subject.site_ids) if options.backwards else subject.site_ids:
        runs = {arm: options.out / "runs" / f"{site}_{arm}.json" for arm in (*BASE, *HYBRIDS)}
        if options.report and not all(kept.is_file() for kept in runs.values()):
            continue
        for number, (arm, kept) in enumerate(runs.items()):
            rig = Rig(subject, site, np.random.default_rng([options.seed, subject.site_ids.index(site), number]))
            if not kept.is_file():
                start = found["images"][found["sites"].index(site)] if arm in HYBRIDS else None
                kept.parent.mkdir(exist_ok=True)
                write_json(
                    kept, {"site": site, "arm": arm, "truth": run(arm, rig, project, options=options, start=start)}
                )
                print(site, arm, f"{json.loads(kept.read_text())['truth'][-1]:.2f}", flush=True)
            row = json.loads(kept.read_text(encoding="utf-8"))
            rows.append(row | {"truth": row["truth"][: options.generations + 1]})
        rows.append(
            {"site": site, "arm": "encoder", "truth": [rig.truth(found["images"][found["sites"].index(site)][None])[0]]}
        )
        natural = subject.natural_expected[:, subject.site_ids.index(site)] / rig.maximum
        rows.append({"site": site, "arm": "best photograph", "truth": [float(natural.max())]})
    report = summary(rows, options)
    write_json(options.out / "evolution_benchmark.json", report)
    print(text_of(report))
    figure(report, options.out / "evolution_benchmark.png")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--session", default="201025")
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--backwards", action="store_true", help="begin with the last site, beside another process")
    parser.add_argument("--report", action="store_true", help="of the sites that are finished, running nothing")
    parser.add_argument("--generations", type=int, default=75)
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--cutoff", type=float, default=10.0, help="cycles per image of the code")
    parser.add_argument("--sigma", type=float, help="first SD of evolution; default: of each method")
    parser.add_argument("--hybrid-sigma", type=float, default=0.5)
    parser.add_argument("--photographs", type=int, default=400, help="that the encoder is fitted to")
    parser.add_argument("--repeats", type=int, default=7, help="presentations of each")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def simulate(*arguments: object) -> None:
    """One command of the simulation, in a process of its own."""
    subprocess.run([sys.executable, "-m", "protocols.simulate", "-q", *map(str, arguments)], check=True)


# ---- the encoder, which sees noisy counts to photographs -----------------------------------------------------------------------


def fitted(options: argparse.Namespace) -> Project:
    """A project with an encoder of the subject, fitted to its answers to photographs."""
    words = ["--data", options.data, "--out", options.out, "--images", options.photographs, "--no-arms"]
    words += ["--baseline-repeats", options.repeats, "--seed", options.seed]
    project = prepare(options.session, parse_loop([str(word) for word in words]))
    while (state := look(project)).stage != "generate":
        if state.waiting_for == "responses" and state.round is not None:
            folders = ("--outbox", state.round.outbox, "--inbox", state.round.inbox)
            simulate("rig", "--subject", options.out / "hidden" / "subject", *folders, "--seed", options.seed)
        else:
            step(project, state, progress=Progress())
    return project


def controllers(project: Project, options: argparse.Namespace) -> dict[str, Any]:
    """The encoder's controller of every site, by gradient ascent as `stimsynth generate` has it."""
    kept = options.out / "controllers.npz"
    sites = list(Subject.load(options.out / "hidden" / "subject").site_ids)
    if not kept.is_file():
        wanted = options.out / "wanted.toml"
        write_text(wanted, f'[[objective]]\nkind = "stretch"\nsites = {json.dumps(sites)}\n')
        plan = plan_batch(project.for_stage(), wanted)
        batch = make("gradient", project, plan.encoder, objective=plan.objective, request=plan.request)
        np.savez(kept, images=batch.images)
    return {"sites": sites, "images": np.load(kept, allow_pickle=False)["images"]}


# ---- a rig that shows images to one site, and the arms ------------------------------------------------------------------------


@dataclass
class Rig:
    """Single trials of one site; `truth` is for the report alone."""

    subject: Subject
    site: str
    random: np.random.Generator
    column: int = field(init=False)

    def __post_init__(self) -> None:
        self.column = self.subject.site_ids.index(self.site)
        self.maximum = float(self.subject.saturation[self.column])
        names = ("gain", "offset", "saturation")
        self.tensors = {name: self.subject.tensors[name][self.column : self.column + 1] for name in names}
        prefix = f"site{self.column:03d}."
        self.model = {n.removeprefix(prefix): t for n, t in self.subject.tensors.items() if n.startswith(prefix)}

    def expected(self, pixels: Pixels) -> Floats:
        """Expected counts of images (n, H, W, 3): (n,)."""
        return calibrated(v4.model_responses(pixels, [self.model]), self.tensors)[:, 0]

    def counts(self, expected: Floats) -> Floats:
        """Single trials, (n,): over-dispersed counts under common, slow and session gains."""
        onsets = 0.2 * np.arange(len(expected), dtype=np.float64)
        return simulate_counts(expected[:, None], onsets, self.subject.noise, generator=self.random)[:, 0]

    def truth(self, pixels: Pixels) -> list[float]:
        """Expected counts in units of M."""
        return [float(r) for r in self.expected(pixels) / self.maximum]


def run(arm: str, rig: Rig, project: Project, *, options: argparse.Namespace, start: Pixels | None) -> list[float]:
    """The truth of the image that the arm would name as its best, before the first generation and after each."""
    plan_constraints = constraints_of(project)
    latent = FourierCode(project.display.shape, cutoff=options.cutoff)
    seed = seed_of(f"{rig.site} {arm}", options.seed)

    def shown(codes: Floats) -> Pixels:
        pixels: Pixels = quantise(constrained(latent.decode(codes), plan_constraints), plan_constraints).numpy()
        return pixels

    if arm == "random":
        return random_search(shown, rig, np.random.default_rng(seed), latent=latent, options=options)
    first, sigma = latent.start(seed), options.sigma
    if start is not None:
        first, sigma = (
            latent.encode(torch.from_numpy(start).movedim(-1, 0)[None].float() / 255)[0],
            options.hybrid_sigma,
        )
    method = "genetic" if arm == "genetic" else "cma"
    optimiser = Evolution(method, options.population, options.generations, sigma).begin(first, seed)
    truth = rig.truth(shown(optimiser.best()[None]))
    for _ in range(options.generations):
        counts = rig.counts(rig.expected(shown(optimiser.ask())))
        optimiser.tell(rig.random.permutation(counts) if arm == "shuffled" else counts)
        truth += rig.truth(shown(optimiser.best()[None]))
    return truth


def random_search(
    shown: Any, rig: Rig, random: np.random.Generator, *, latent: FourierCode, options: argparse.Namespace
) -> list[float]:
    """Standard normal codes, each shown once; the best is the image of the highest count so far."""
    highest, named, truth = -np.inf, 0.0, [rig.truth(shown(random.standard_normal((1, latent.size))))[0]]
    for _ in range(options.generations):
        expected = rig.expected(shown(random.standard_normal((options.population, latent.size))))
        counts = rig.counts(expected)
        if counts.max() > highest:
            highest, named = counts.max(), float(expected[counts.argmax()] / rig.maximum)
        truth.append(named)
    return truth


def constraints_of(project: Project) -> tuple[Any, ...]:
    """Display, mean and contrast of every arm."""
    from protocols.project.photographs import NaturalImages
    from protocols.synthesis.request import recipe

    return tuple(recipe(project, NaturalImages.load(project.data).pixels())["constraints"])


# ---- the report ---------------------------------------------------------------------------------------------------------------


def summary(rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Mean truth of every arm over sites with a bootstrap interval, and paired differences at the end."""
    arms: dict[str, Floats] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        arms[arm] = np.array([row["truth"] for row in rows if row["arm"] == arm])  # (sites, generations + 1)
    random = np.random.default_rng(0)
    sites = len(arms["cma"])
    drawn = random.integers(sites, size=(DRAWS, sites))
    report: dict[str, Any] = {
        "settings": {k: v for k, v in vars(options).items() if k not in ("data", "out", "backwards", "report")},
        "sites": sites,
        "encoder_presentations": options.photographs * options.repeats,
        "arms": {},
        "paired": {},
    }
    for arm, truth in arms.items():
        low, high = np.percentile(truth[drawn].mean(1), [2.5, 97.5], axis=0)
        report["arms"][arm] = {"mean": truth.mean(0).tolist(), "low": low.tolist(), "high": high.tolist()}
    pairs = (("cma", "random"), ("genetic", "random"), ("cma", "genetic"), ("shuffled", "random"), ("cma", "encoder"),
             ("hybrid", "encoder"), ("hybrid", "cma"))  # fmt: skip
    for a, b in pairs:
        difference = arms[a][:, -1] - arms[b][:, -1]
        low, high = np.percentile(difference[drawn].mean(1), [2.5, 97.5])
        report["paired"][f"{a} - {b}"] = {"mean": float(difference.mean()), "low": float(low), "high": float(high)}
    begun = arms["shuffled"][:, -1] - arms["shuffled"][:, 0]
    low, high = np.percentile(begun[drawn].mean(1), [2.5, 97.5])
    report["paired"]["shuffled - its start"] = {"mean": float(begun.mean()), "low": float(low), "high": float(high)}
    means = {arm: np.array(report["arms"][arm]["mean"]) for arm in report["arms"]}
    passed = np.flatnonzero(means["cma"] >= means["encoder"][-1])
    report["cma_reaches_encoder_after"] = int(passed[0] * options.population) if len(passed) else None
    return report


def text_of(report: dict[str, Any]) -> str:
    """The report for people."""
    population = report["settings"]["population"]
    lines = [f"{report['sites']} sites; true response / M, mean over sites [95 % interval]"]
    for arm, values in report["arms"].items():
        at = sorted({0, 12, 25, 50, len(values["mean"]) - 1} & set(range(len(values["mean"]))))
        cells = [
            f"{i * population}: {values['mean'][i]:.2f} [{values['low'][i]:.2f}, {values['high'][i]:.2f}]" for i in at
        ]
        lines.append(f"{arm:<16}" + "  ".join(cells))
    for pair, value in report["paired"].items():
        lines.append(f"{pair:<22}{value['mean']:+.2f} [{value['low']:+.2f}, {value['high']:+.2f}]")
    lines.append(
        f"diagonal CMA reaches the encoder's controller after {report['cma_reaches_encoder_after']} presentations per site"
    )
    return "\n".join(lines)


def figure(report: dict[str, Any], path: Path) -> None:
    """Truth against presentations."""
    import matplotlib.pyplot as plt

    population, offset = report["settings"]["population"], report["encoder_presentations"]
    drawing = plt.figure(figsize=(7, 4.2), layout="constrained")
    axes = drawing.gca()
    labels = {"cma": "evolution, diagonal CMA-ES", "genetic": "evolution, genetic", "random": "random search",
              "shuffled": "evolution, counts shuffled", "hybrid": "hybrid: from the encoder's controller"}  # fmt: skip
    for number, (arm, label) in enumerate(labels.items()):
        values = report["arms"][arm]
        shown = population * np.arange(len(values["mean"])) + (offset if arm in HYBRIDS else 0)
        axes.plot(shown, values["mean"], color=f"C{number}", label=label)
        axes.fill_between(shown, values["low"], values["high"], color=f"C{number}", alpha=0.15, linewidth=0)
    encoder = report["arms"]["encoder"]
    errors = [[encoder["mean"][0] - encoder["low"][0]], [encoder["high"][0] - encoder["mean"][0]]]
    axes.errorbar(
        [offset],
        encoder["mean"],
        errors,
        fmt="ko",
        capsize=3,
        label="encoder's controller (one recording for all sites)",
    )
    axes.axhline(
        report["arms"]["best photograph"]["mean"][0], color="0.5", linestyle=":", label="best photograph, if known"
    )
    axes.set(xlabel="presentations per site", ylabel="true response / M", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    drawing.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
