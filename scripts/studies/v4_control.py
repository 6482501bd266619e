"""What makes a controller strong: true control of V4-model sites in round one, arm by arm at the same sites, display and baseline.

Works on the folders that `python scripts/studies/v4_benchmark.py --data ../shared/data/v4_cowley2023 --out V4` leaves: the baseline recording of
each subject, the encoder fitted to it, and the hidden subject. Every arm makes images for the same target sites (drawn among the
eligible ones) from the same trials, at the natural images' median luminance and contrast, in 8 bits; only when all arms are made
is the truth asked, once for all of them. Nothing is tuned on these sites here.

Arms differ from `default` (the project's own recipe, one seed) in what their names say. Printed: truth by arm, paired differences
from `default` with 95 % intervals (bootstrap over sites), RMS contrast of colour and of luminance at the site's receptive field,
and the truth once more with all images brought to the same colour contrast; of several draws: `scripts/studies/v4_control_draws.py`.
Run: python scripts/studies/v4_control.py --benchmark V4 --out DIR [--sessions 210225,201025] [--sites 40] [--arms default,strong]
(about two hours per recording on one core for all arms; killed runs go on where they stood)
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders import DEFAULT_LAYERS, Encoder, Ensemble, FitOptions, FittedPair, Recording, fine_tune, fit_encoder
from encoders.metrics import repeat_means
from encoders.readouts import Readout
from encoders.splits import group_names, hold_out
from protocols.arrays import Bools
from protocols.disk.files import write_json
from protocols.models.pair import load_pair, site_rows
from protocols.progress import Progress
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import gather
from protocols.recordings.natural import best_natural
from protocols.simulate.subject import Subject
from protocols.synthesis.request import natural_luminance
from synth import StimulusBatch, ascend, cautious, one_hot, stretch
from v4_control_arms import ARMS, Arm, recipe
from v4_control_truth import Equaliser, Truth, row

AnyEncoder = Encoder | Ensemble

OBJECTIVES = {"stretch": stretch, "one_hot": one_hot}
LITE0 = "offline:efficientnet_lite0"
PROJECT = {"folds": 5, "fine_tune": 8, "final_fit": True}


def main() -> None:
    options = parse()
    arms = options.arms.split(",") if options.arms else [a for a in ARMS if options.networks or "other days" not in a]
    if unknown := [a for a in arms if a not in ARMS]:
        raise SystemExit(f"no arm {', '.join(unknown)}; there are {', '.join(ARMS)}")
    if not options.networks and any("other days" in a for a in arms):
        raise SystemExit("that arm begins with networks of other recordings: pass --networks")
    arms = ["default", *(a for a in arms if a != "default")]
    made = [World(session, options) for session in options.sessions.split(",")]
    for world in made:
        for name in arms:
            for objective in OBJECTIVES:
                world.make(name, objective)
    results = {world.session: world.score(arms) for world in made}
    write_json(options.out / "v4_control.json", {"arms": {a: ARMS[a].about for a in arms}, "sessions": results})
    if options.json:
        print(json.dumps(results, indent=1, allow_nan=False))
        return
    for session, result in results.items():
        print(f"\nrecording {session}: {result['targets']} sites of {result['population']}, r {result['r']}")
        print(table(result["rows"]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmark", type=Path, required=True, help="the --out folder of scripts/studies/v4_benchmark.py"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--networks", type=Path, help="folders SESSION of v4_fine_tuning.py --save")
    parser.add_argument("--sessions", default="210225,201025")
    parser.add_argument(
        "--sites", type=int, default=40, help="target sites per recording, drawn among the eligible ones"
    )
    parser.add_argument("--arms", help="comma-separated; default: all")
    parser.add_argument("--steps", type=int, help="gradient steps per image in every arm, for a first look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Joint:
    """Several encoders of the same sites as one ensemble."""

    def __init__(self, encoders: Sequence[AnyEncoder]) -> None:
        self.encoders = tuple(encoders)
        self.site_ids, self.fingerprint = encoders[0].site_ids, "+".join(e.fingerprint for e in encoders)
        self.natural_mean, self.natural_sd = encoders[0].natural_mean, encoders[0].natural_sd
        if any(e.site_ids != self.site_ids for e in encoders):
            raise ValueError("the encoders have different sites; expected the same ones in the same order")

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (M, B, U)."""
        answers = [e(images) for e in self.encoders]
        return torch.cat([a if a.dim() == 3 else a[None] for a in answers])


class Families(Joint):
    """Two encoders of one set of layers, of different readouts, as one ensemble in which both families weigh alike.

    A family's readouts of one layer, such as one per fold, count as one member: their mean.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (2 L, B, U), L the number of layers."""
        answers = []
        for encoder in self.encoders:
            reads = [readout.layers for readout in encoder.readouts if isinstance(readout, Readout)]
            found = encoder(images)
            answers += [
                found[[m for m, own in enumerate(reads) if own == layer]].mean(0) for layer in dict.fromkeys(reads)
            ]
        return torch.stack(answers)


class World:
    """One recording: its baseline, its encoders and the images of its arms. The truth is read in `score` alone."""

    def __init__(self, session: str, options: argparse.Namespace) -> None:
        self.session, self.options, self.out = session, options, options.out / session
        self.out.mkdir(parents=True, exist_ok=True)
        self.project = Project.open(options.benchmark / f"project_{session}")
        self.data = gather(self.project, [])
        self.natural = NaturalImages.load(self.project.data).pixels()
        self.light = natural_luminance(self.project.display, self.natural)
        self.default, self.validator = load_pair(self.project, 1)
        eligible = list(self.default.target_ids)
        drawn = np.random.default_rng(options.seed).permutation(len(eligible))[: options.sites]
        self.targets = [eligible[i] for i in sorted(drawn)]
        self.progress = Progress()

    # ---- encoders

    def encoder(self, name: str) -> Any:
        """One of the encoders that the arms name, fitted where it is not yet on disk."""
        if name == "default":
            return self.default
        if name == "single":
            return self.default.members[len(self.default.members) // 2]
        if name == "two":  # each on 81 % of the photographs, tuned on 90 %
            return Joint([self.encoder("tuned"), self.encoder("tuned2")])
        if name == "four":
            return Joint([self.encoder(n) for n in ("tuned", "tuned2", "tuned_b", "tuned2_b")])
        if name == "own_mixed_final":
            return Families([self.encoder("own_ridge_final"), self.encoder("own_final")])
        folder, networks = self.out / name, (self.options.networks or self.out) / self.session
        if (first := name.removesuffix("_final")) != name and self.encoder(first) and not folder.is_dir():
            raise SystemExit(f"{self.out / first} has no final encoder (an earlier version's): delete it and run again")
        if not any(folder.glob("enc_*")):
            makers: dict[str, Callable[[], AnyEncoder]] = {
                "frozen": lambda: self.by_project(folder, layers="diverse", fine_tune=0),
                "own": lambda: self.by_project(folder),
                "own_ridge": lambda: self.by_project(
                    folder, readout="ridge", fine_tune=0, networks_from=self.encoder("own_final")
                ),
                "own_other": lambda: self.by_project(folder, networks_from=Encoder.load(next(networks.glob("enc_*")))),
                "more": lambda: self.fit(LITE0, "diverse").encoder,
                "more2": lambda: self.fit("offline:efficientnet_lite2", DEFAULT_LAYERS).encoder,
                "more_b": lambda: self.fit(LITE0, "diverse", 1).encoder,
                "more2_b": lambda: self.fit("offline:efficientnet_lite2", DEFAULT_LAYERS, 1).encoder,
                "tuned": lambda: self.tune(self.encoder("more"), 4),
                "tuned2": lambda: self.tune(self.encoder("more2"), 3),
                "tuned_b": lambda: self.tune(self.encoder("more_b"), 4, 1),
                "tuned2_b": lambda: self.tune(self.encoder("more2_b"), 3, 1),
            }
            begun = time.monotonic()
            makers[name]().save(folder)
            print(f"{self.session} {name}: {time.monotonic() - begun:.0f} s", flush=True)
        return Encoder.load(next(folder.glob("enc_*")))

    def by_project(self, folder: Path, *, layers: str = "two_networks", **changes: Any) -> AnyEncoder:
        """The encoder that is scored; the final one is saved beside it."""
        pair = self.fit(LITE0, layers, **PROJECT | changes)
        assert pair.final is not None
        pair.final.save(folder.with_name(f"{folder.name}_final"))
        return pair.encoder

    def held(self, seed: int = 0) -> Bools:
        """Photographs that neither fit nor tuning is made on; they choose the pass of the tuning."""
        seed += self.project.config.encoder.seed
        return hold_out(group_names(self.data.pixels, self.data.groups), 0.1, seed=seed)

    def fit(self, backbone: str, layers: str | tuple[str, ...], seed: int = 0, **how: Any) -> FittedPair:
        """An encoder of the project's kind on more of the photographs; another `seed` holds out others and draws other folds."""
        data, display = self.data, self.project.display
        held_out = None if how else self.held(seed)
        earlier = how.pop("networks_from", None)
        how = how or {"folds": 10}
        sites = list(data.site_ids)
        if seed:  # the sites of the first draw, however reliable they look in this one
            sites, how = list(self.encoder("more").site_ids), how | {"reliability_fit": 0.0}
        values = data.values[:, [data.site_ids.index(s) for s in sites]]
        recording = Recording(
            pixels=data.pixels,
            values=values,
            image_index=data.image_index,
            site_ids=sites,
            unit=data.unit,
            field_of_view_deg=display.size_deg,
            background=display.background,
            colour=display.colour,
            groups=data.groups,
            averages=data.averaged_over is not None,
            repeats=data.averaged_over,
            held_out=held_out,
        )
        options = FitOptions(backbone=backbone, layers=layers, seed=seed, **how)
        return fit_encoder(recording, options, networks_from=earlier, cache=self.project.cache, progress=self.progress)

    def tune(self, encoder: AnyEncoder, epochs: int, seed: int = 0) -> AnyEncoder:
        """The encoder with its network tuned on the photographs that are not held out."""
        columns = [self.data.site_ids.index(s) for s in encoder.site_ids]
        means, _ = repeat_means(self.data.values[:, columns], self.data.image_index, len(self.data.pixels))
        shown = np.isfinite(means).any(1)
        tuned = fine_tune(
            encoder, self.data.pixels, means, fitted=shown & ~self.held(seed), stopping=shown & self.held(seed),
            groups=self.data.groups, epochs=epochs, seed=seed, progress=self.progress,
        )  # fmt: skip
        print(f"{self.session}: errors on the held-out photographs {tuned.report.stopping_errors}", flush=True)
        return tuned.encoder

    def sd_of_means(self, sites: Sequence[str]) -> Tensor:
        """SD over photographs of what was measured, (U,)."""
        columns = [self.data.site_ids.index(s) for s in sites]
        means, _ = repeat_means(self.data.values[:, columns], self.data.image_index, len(self.data.pixels))
        return torch.from_numpy(np.nanstd(means, 0, ddof=1))

    # ---- images

    def make(self, name: str, objective: str) -> None:
        """The images of one arm, saved; the choice among seeds is made here, without the truth."""
        path = self.path(name, objective)
        if path.is_file():
            return
        arm, begun = ARMS[name], time.monotonic()
        encoder, shape = self.encoder(arm.encoder), self.project.display.shape
        if arm.unit == "means":
            encoder = copy.deepcopy(encoder)
            encoder.natural_sd.copy_(self.sd_of_means(encoder.site_ids))
        declared = (
            one_hot(self.targets, temperature=arm.temperature) if objective == "one_hot" else stretch(self.targets)
        )
        start, ids = self.starts(objective, arm) if arm.start == "natural" else (None, None)
        steps = min(arm.steps, self.options.steps or arm.steps)
        batch = ascend(
            encoder,
            cautious(declared, arm.kappa) if arm.kappa else declared,
            seeds=range(arm.seeds),
            steps=max(steps, 1),
            snapshots=() if steps else (0,),
            constraints=self.project.display.constraints(**self.light),
            **recipe(arm, shape),
            start=start,
            start_ids=ids,
            progress=self.progress,
        )
        if not steps and batch.graded is not None:
            batch = batch.graded
        if arm.seeds > 1 and arm.chosen_by == "validator":
            batch = batch.validate(self.validator)
        batch.best_per_target().save(path)
        print(f"{self.session} {name}, {objective}: {time.monotonic() - begun:.0f} s", flush=True)

    def starts(self, objective: str, arm: Arm) -> tuple[Tensor, list[list[str]]]:
        """The best measured photographs of every target, as a round takes them."""
        sites = Key((), tuple(site_rows(self.default)))
        best = best_natural(self.data, sites, self.targets, objectives=(objective,), count=arm.seeds, temperature=1.0)
        rows = [best[objective, t] for t in self.targets]
        images = torch.from_numpy(np.stack([self.data.pixels[r] for r in rows])).movedim(-1, -3).float() / 255
        return images, [[self.data.source_ids[i] for i in r] for r in rows]

    def path(self, name: str, objective: str) -> Path:
        """The file of one arm's images."""
        file: Path = self.out / f"{name.replace(' ', '_').replace('/', '')}_{objective}.h5"
        return file

    # ---- truth

    def score(self, arms: Sequence[str]) -> dict[str, Any]:
        """True responses of every arm, as made and at equal chroma and local contrast."""
        subject = Subject.load(self.options.benchmark / f"hidden_{self.session}" / "subject")
        truth = Truth(subject, self.default.site_ids, self.targets, kept=self.out / "truth")
        equal = Equaliser(self.project, self.default.site_ids, self.targets, light=self.light, natural=self.natural)
        rows = []
        for objective in OBJECTIVES:
            base = truth.of(StimulusBatch.load(self.path("default", objective)).images, objective)
            for name in arms:
                images = StimulusBatch.load(self.path(name, objective)).images
                values, held = truth.of(images, objective), truth.of(equal(images), objective)
                bars, contrast = truth.bar(objective), equal.measured(images)
                rows.append(row(name, objective, values=values, equal=held, base=base, bars=bars, contrast=contrast))
        r = np.nanmedian([v for v in self.default.scores["held_out_r"] if v is not None])
        return {
            "targets": len(self.targets),
            "sites": self.targets,
            "population": len(self.default.site_ids),
            "r": round(float(r), 3),
            "rows": rows,
        }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Fixed-width text."""
    lines = []
    for objective in OBJECTIVES:
        chosen = [r for r in rows if r["objective"] == objective]
        bars = list(chosen[0]["above"])
        heads = "".join(f"{'> ' + bar:>24}" for bar in bars)
        lines.append(
            f"{objective:<14}{'median':>22}{'change from default':>26}{heads}{'chroma':>8}{'local':>7}{'equalised':>11}"
        )
        for r in chosen:
            shares = "".join(
                f"{a['successes'] / a['of']:>10.0%} [{a['low']:.0%}, {a['high']:.0%}]".rjust(24)
                for a in r["above"].values()
            )
            lines.append(
                f"{r['arm']:<14}{triple(r['median']):>22}{triple(r['change'], '+'):>26}{shares}{r['chroma']:>8.2f}{r['local']:>7.2f}"
                f"{r['median_equal'][0]:>11.2f}"
            )
    return "\n".join(lines)


def triple(values: Sequence[float], sign: str = "") -> str:
    """Value [low, high]."""
    return f"{values[0]:{sign}.2f} [{values[1]:{sign}.2f}, {values[2]:{sign}.2f}]"


if __name__ == "__main__":
    main()
