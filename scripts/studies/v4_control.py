"""What makes a controller strong: true control of V4-model sites in round one, arm by arm at the same sites, display and baseline.

Works on the folders that `python scripts/studies/v4_benchmark.py --data ../shared/data/v4_cowley2023 --out V4` leaves: the baseline recording of
each subject, the encoder fitted to it, and the hidden subject. Every arm makes images for the same target sites (drawn among the
eligible ones) from the same trials, at the natural images' median luminance and contrast, in 8 bits; only when all arms are made
is the truth asked, once for all of them. Nothing is tuned on these sites here.

Arms differ from `default` (the project's own recipe, one seed) in what their names say. Printed: truth by arm, paired differences
from `default` with 95 % intervals (bootstrap over sites), RMS contrast of colour and of luminance at the site's receptive field,
and the truth once more with all images brought to the same colour contrast; of several draws: `scripts/studies/v4_control_draws.py`.
Run: python scripts/studies/v4_control.py --benchmark V4 --out DIR [--sessions 210225,201025] [--sites 40] [--arms default,strong]
(about an hour a recording on one core; killed runs go on where they stood)
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders import DEFAULT_LAYERS, Encoder, Ensemble, FitOptions, FittedPair, Recording, fine_tune, fit_encoder
from encoders.metrics import repeat_means
from encoders.splits import group_names, hold_out
from protocols.arrays import Floats, Pixels
from protocols.disk.files import sha256_bytes, write_json
from protocols.models.pair import load_pair, site_rows
from protocols.progress import Progress
from protocols.project.display import LUMINANCE_WEIGHTS
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import gather
from protocols.recordings.natural import best_natural
from protocols.rounds.contrast import measure, site_masks
from protocols.simulate.subject import Subject
from protocols.stats.intervals import wilson_interval
from protocols.stats.trials import margins
from protocols.synthesis.request import natural_luminance
from synth import StimulusBatch, ascend, cautious, fourier, jitter, one_hot, stretch
from synth.recipes.bashivan2019 import bashivan_2019
from synth.recipes.few_steps import quick

AnyEncoder = Encoder | Ensemble

OBJECTIVES = {"stretch": stretch, "one_hot": one_hot}
LITE0, DRAWS = "offline:efficientnet_lite0", 4000
PROJECT = {"folds": 5, "fine_tune": 8, "final_fit": True}


@dataclass(frozen=True)
class Arm:
    """How the images of one arm are made; the defaults are the project's."""

    encoder: str = "default"
    start: str = "natural"
    seeds: int = 1
    steps: int = 60
    decay: float = 1.75
    jitter: float = 0.07
    kappa: float = 0.5
    chosen_by: str = "validator"
    variables: str = "fourier"
    learning_rate: float = 0.05
    temperature: float = 1.0
    unit: str = "signal"
    about: str = field(default="", compare=False)


ARMS = {
    "photographs": Arm(steps=0, about="the best measured photograph itself, at the controllers' luminance and contrast"),
    "default": Arm(about="the project's recipe: three readouts on three depths, start at the best measured photograph"),
    "noise start": Arm(start="noise", about="from noise"),
    "decay 1": Arm(decay=1.0, about="Fourier amplitudes 1/f"),
    "SD of means": Arm(unit="means", about="z in SDs of the measured means over photographs, trial noise included"),
    "default final": Arm(encoder="frozen_final", about="the default's encoder once more, fitted to all photographs (final_fit): 80 % of them in each member, not 64 %"),
    "rate 0.02": Arm(learning_rate=0.02, about="smaller steps"),
    "rate 0.01": Arm(learning_rate=0.01, about="much smaller steps"),
    "no jitter": Arm(jitter=0.0, about="no random shifts"),
    "one readout": Arm(encoder="single", kappa=0.0, about="one readout, on the middle depth"),
    "1/f baseline": Arm(encoder="single", start="noise", decay=1.0, kappa=0.0, about="one readout, noise start, 1/f Fourier: the customary recipe"),
    "quick": Arm(variables="quick", steps=10, jitter=0.0, about="ten large steps (synth.recipes.quick)"),
    "quick 30": Arm(variables="quick", steps=30, jitter=0.0, about="thirty of them"),
    "quick 60 shifted": Arm(variables="quick", steps=60, about="sixty of them, with the default shifts"),
    "Bashivan 2019": Arm(encoder="single", start="noise", kappa=0.0, variables="bashivan", steps=200, about="one readout, and that paper's own recipe (synth.recipes.bashivan_2019), jitter to scale"),
    "more data": Arm(encoder="more", about="10 % of photographs held out, ten folds (81 % of them in each member, not 64 %)"),
    "tuned": Arm(encoder="tuned", about="more data, and the network tuned end to end"),
    "two tuned": Arm(encoder="two", about="tuned EfficientNet-Lite0 and tuned EfficientNet-Lite2, all members of both"),
    "two tuned T 0.3": Arm(encoder="two", temperature=0.3, about="the same; one-hot softmax of a lower temperature, closer to the margin"),
    "two tuned T 2": Arm(encoder="two", temperature=2.0, about="the same; of a higher temperature"),
    "two tuned kappa 1.5": Arm(encoder="two", kappa=1.5, about="the same; three times the caution about members that disagree"),
    "two tuned by a project": Arm(encoder="own", about='preset = "two_networks", fine_tune = 8: 58 % of the photographs in each member, 72 % in the tuning'),
    "two tuned other days": Arm(encoder="own_other", about="the same, beginning with networks that other recordings of the animal tuned (--networks)"),
    "by a project final": Arm(encoder="own_final", about="the first once more, fitted to all photographs (final_fit): 80 % of them in each member, all in the tuning"),
    "other days final": Arm(encoder="own_other_final", about="the second once more, fitted to all photographs"),
    "four tuned": Arm(encoder="four", about="two of each, fitted and tuned on other draws of photographs"),
    "strong": Arm(encoder="two", seeds=3, chosen_by="encoder", about="two tuned networks, the encoder's own choice of three starts"),
}  # fmt: skip


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
    parser.add_argument("--sites", type=int, default=40, help="target sites a recording, drawn among the eligible ones")
    parser.add_argument("--arms", help="comma-separated; default: all")
    parser.add_argument("--steps", type=int, help="gradient steps an image in every arm, for a first look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def recipe(arm: Arm, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Variables, transforms and rule of an arm, as `ascend` takes them."""
    if arm.variables == "bashivan":
        published = bashivan_2019(shape, jitter_px=round(19 * shape[2] / 299))
        return {name: published[name] for name in ("parameterisation", "rule", "learning_rate", "transforms")}
    if arm.variables == "quick":
        chosen = quick(shape)
        moves = [jitter(arm.jitter)] if arm.jitter else []
        return {name: chosen[name] for name in ("parameterisation", "rule", "learning_rate")} | {"transforms": moves}
    moves = [jitter(arm.jitter)] if arm.jitter else []
    return {
        "parameterisation": fourier(shape, decay=arm.decay),
        "transforms": moves,
        "learning_rate": arm.learning_rate,
    }


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
        folder, networks = self.out / name, (self.options.networks or self.out) / self.session
        if (first := name.removesuffix("_final")) != name and self.encoder(first) and not folder.is_dir():
            raise SystemExit(f"{self.out / first} has no final encoder (an earlier version's): delete it and run again")
        if not any(folder.glob("enc_*")):
            makers: dict[str, Callable[[], AnyEncoder]] = {
                "frozen": lambda: self.by_project(folder, layers="diverse", fine_tune=0),
                "own": lambda: self.by_project(folder),
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

    def held(self, seed: int = 0) -> NDArray[np.bool_]:
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
        truth = Truth(subject, self.default.site_ids, self.targets, self.out / "truth")
        equal = Equaliser(self.project, self.default.site_ids, self.targets, self.light, self.natural)
        rows = []
        for objective in OBJECTIVES:
            base = truth.of(StimulusBatch.load(self.path("default", objective)).images, objective)
            for name in arms:
                images = StimulusBatch.load(self.path(name, objective)).images
                values, held = truth.of(images, objective), truth.of(equal(images), objective)
                rows.append(row(name, objective, values, held, base, truth.bar(objective), equal.measured(images)))
        r = np.nanmedian([v for v in self.default.scores["held_out_r"] if v is not None])
        return {
            "targets": len(self.targets),
            "sites": self.targets,
            "population": len(self.default.site_ids),
            "r": round(float(r), 3),
            "rows": rows,
        }


class Truth:
    """Noise-free answers of the subject at the target sites, one image a site."""

    def __init__(self, subject: Subject, site_ids: Sequence[str], targets: Sequence[str], kept: Path) -> None:
        self.subject, self.kept = subject, kept
        self.columns = [subject.site_ids.index(s) for s in site_ids]
        self.at = np.array([list(site_ids).index(t) for t in targets])
        natural = subject.natural_expected[:, self.columns]
        self.mean, self.sd = natural.mean(0), natural.std(0)
        self.maximum, self.m = natural.max(0)[self.at], subject.saturation[self.columns][self.at]
        self.margin = margins((natural - self.mean) / self.sd)[:, self.at].max(0)

    def of(self, images: Pixels, objective: str) -> Floats:
        """Stretch: response / M of each image's own site; one-hot: margin in natural SDs."""
        expected = self.expected(images)[:, self.columns]
        own = np.arange(len(images))
        if objective == "stretch":
            found: Floats = expected[own, self.at] / self.m
        else:
            found = margins((expected - self.mean) / self.sd)[own, self.at]
        return found

    def expected(self, images: Pixels) -> Floats:
        """Noise-free responses of all sites, kept on disk: asking takes longer than making the images."""
        path = self.kept / f"{sha256_bytes(images.tobytes())[:16]}.npy"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            found = self.subject.expected(images)
            with open(path, "wb") as file:
                np.save(file, found, allow_pickle=False)
        kept: Floats = np.load(path, allow_pickle=False)
        return kept

    def bar(self, objective: str) -> dict[str, Floats]:
        """What counts as success, a site."""
        return (
            {"M": np.ones(len(self.at)), "natural maximum": self.maximum / self.m}
            if objective == "stretch"
            else {"best natural margin": self.margin}
        )


class Equaliser:
    """Brings images to the photographs' median chroma and local contrast at the target's receptive field, at the same mean and RMS."""

    def __init__(
        self, project: Project, site_ids: Sequence[str], targets: Sequence[str], light: dict[str, float], natural: Pixels
    ) -> None:  # fmt: skip
        self.display = project.display
        record = json.loads((project.fitted / "for_round_01.json").read_text(encoding="utf-8"))
        self.masks = site_masks(self.display, record, targets)
        self.constraints = self.display.constraints(**light)
        found = measure(self.display, natural, self.masks)
        self.chroma, self.local = float(np.median(found.chroma)), np.median(found.local, 0)

    def measured(self, images: Pixels) -> dict[str, float]:
        """Medians of chroma and of local contrast, each in units of the photographs' median."""
        found = measure(self.display, images, self.masks)
        own = np.arange(len(images))
        local = (found.local[own, own] / self.local)[np.isfinite(self.local)]
        return {"chroma": float(np.median(found.chroma) / self.chroma), "local": float(np.median(local))}

    def __call__(self, images: Pixels) -> Pixels:
        """uint8 (S, H, W, C), image i for target i -> the same, equalised."""
        own = np.arange(len(images))
        colour, gain = np.ones(len(images)), np.ones(len(images))
        shown = images
        for _ in range(14):
            found = measure(self.display, shown, self.masks)
            colour *= np.clip(self.chroma / np.maximum(found.chroma, 1e-3), 0.5, 2)
            local = np.where(np.isfinite(self.local), self.local / np.maximum(found.local[own, own], 1e-3), 1.0)
            gain *= np.clip(local**3, 0.2, 5)  # the projection takes back most of a change
            shown = self.show(images, np.clip(colour, 0, 20), np.clip(gain, 0, 20))
        return shown

    def show(self, images: Pixels, colour: Floats, gain: Floats) -> Pixels:
        """Colour scaled by one factor an image, luminance contrast in the receptive field by another, then projected."""
        x = torch.from_numpy(images).movedim(-1, 1).double() / 255
        weights = torch.tensor(LUMINANCE_WEIGHTS, dtype=torch.float64)[:, None, None]
        luminance = (x * weights).sum(1, keepdim=True)
        tint = (x - luminance) * torch.from_numpy(colour)[:, None, None, None]
        bump = torch.nan_to_num(self.masks / self.masks.flatten(1).amax(1)[:, None, None])[:, None]
        centre = (luminance * bump).sum((2, 3), keepdim=True) / bump.sum((2, 3), keepdim=True).clamp_min(1e-9)
        scaled = centre + (luminance - centre) * (1 + (torch.from_numpy(gain)[:, None, None, None] - 1) * bump)
        made = (scaled + tint).float()
        for constraint in self.constraints:
            made = constraint(made)
        pixels: Pixels = self.constraints[-1].quantise(made).numpy()
        return pixels


def row(
    name: str, objective: str, values: Floats, equal: Floats, base: Floats, bars: dict[str, Floats], contrast: dict[str, float]
) -> dict[str, Any]:  # fmt: skip
    """One line of the table: medians, shares above the bars, paired difference from `default`."""
    hits = {bar: values > limit for bar, limit in bars.items()}
    above = {bar: share(found) for bar, found in hits.items()}
    return {
        "arm": name,
        "objective": objective,
        "median": interval(values, np.median),
        "above": above,
        "above_equal": {bar: share(equal > limit) for bar, limit in bars.items()},
        "median_equal": interval(equal, np.median),
        "change": interval(values - base, np.mean),
        **contrast,
        "values": values.round(4).tolist(),
        "hits": {bar: found.tolist() for bar, found in hits.items()},
    }


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """A proportion of sites with its Wilson interval."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"successes": int(hits.sum()), "of": len(hits), "low": low, "high": high}


def interval(values: Floats, statistic: Callable[..., Any]) -> tuple[float, float, float]:
    """A statistic over sites with its 95 % percentile interval, sites drawn with replacement."""
    draws = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(statistic(values[draws], axis=1), (0.025, 0.975))
    return float(statistic(values)), float(low), float(high)


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
