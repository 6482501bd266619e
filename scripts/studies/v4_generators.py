"""Gradient ascent and guided samples of a prior on models of V4 sites: predictions, naturalness, and the hidden truth.

Works on the folders that `python scripts/studies/v4_benchmark.py --data ../shared/data/v4_cowley2023 --out V4` leaves: the baseline recording of
each subject, the encoder and validator fitted to it, and the hidden subject. All images meet the photographs' median luminance and contrast,
in 8 bits. Every arm has the same sites and seeds; of the seeds the validator chooses. Only when all arms are made is the truth asked.

Predictions are held against the best of 4000 natural images (four crops of each picture of ``--photographs``, as they are and brought to the
controllers' luminance and contrast, whichever is higher), as the validator predicts them.

Run: python scripts/studies/v4_generators.py --benchmark V4 --photographs ../shared/data/imagenet_sample_1000/images --out DIR [--sessions 210225]
Killed runs go on where they stood. About an hour per recording on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from encoders import Encoder, Ensemble
from protocols.arrays import Bools, Floats
from protocols.disk.files import sha256_bytes, write_json
from protocols.memory import keep_memory
from protocols.progress import Progress
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.folder import Project
from protocols.rounds.contrast import measure, site_masks
from protocols.simulate.subject import Subject
from protocols.stats.intervals import wilson_interval
from protocols.stats.trials import margins
from protocols.synthesis.batch import BatchOptions, plan_batch
from protocols.synthesis.compare import iterates, nearest
from protocols.synthesis.comparison import GeneratorImages
from protocols.synthesis.image_statistics import image_statistics
from protocols.synthesis.priors import open_prior
from protocols.synthesis.shards import make
from synth import ConstraintError, Objective, StimulusBatch, cautious, one_hot, stretch
from synth.priors.training.images import crop

OBJECTIVES = {"stretch": stretch, "one_hot": one_hot}
CROPS = 4
GUIDED = {
    "unguided": DiffusionConfig(strength=0.0),
    "weak": DiffusionConfig(strength="weak"),
    "natural": DiffusionConfig(strength="natural"),
    "strong": DiffusionConfig(strength="strong"),
    "optimum": DiffusionConfig(strength="optimum"),
    "spectral": DiffusionConfig(strength="natural", prior="spectral"),
}
ARMS = ("gradient", "gradient matched", *GUIDED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmark", type=Path, required=True, help="the --out folder of scripts/studies/v4_benchmark.py"
    )
    parser.add_argument(
        "--photographs", type=Path, required=True, help="a folder of pictures, sides of 112 pixels or more"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--sessions", default="210225,201025")
    parser.add_argument(
        "--sites", type=int, default=40, help="target sites per recording, drawn among the eligible ones"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--prior",
        default="natural64",
        help="of the guided arms but `spectral`; a path is relative to the working folder",
    )
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--objectives", default="stretch,one_hot")
    options = parser.parse_args()
    keep_memory()
    results = {}
    for session in options.sessions.split(","):
        results[session] = Study(session, options).run()
        write_json(options.out / "v4_generators.json", results)


class Study:
    """One recording. The truth is read in `row` alone, after all images are made."""

    def __init__(self, session: str, options: argparse.Namespace) -> None:
        self.session, self.options, self.out = session, options, options.out / session
        self.out.mkdir(parents=True, exist_ok=True)
        self.project = Project.open(options.benchmark / f"project_{session}")
        plan = plan_batch(self.project, options=BatchOptions(seeds=options.seeds))
        self.encoder, self.validator, self.request = plan.encoder, plan.validator, plan.request
        eligible = list(self.encoder.target_ids)
        drawn = np.random.default_rng(0).permutation(len(eligible))[: options.sites]
        self.targets = [eligible[i] for i in sorted(drawn)]
        self.at = [list(self.encoder.site_ids).index(t) for t in self.targets]
        self.arms = options.arms.split(",")
        self.objectives = options.objectives.split(",")

        told = {
            "targets": self.targets,
            "seeds": options.seeds,
            "prior": self.prior_digest(),
            "photographs": options.photographs.name,
        }
        kept = self.out / "settings.json"
        if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) != told:
            raise SystemExit(f"{self.out} holds images of other settings than {told}: give another --out")
        write_json(kept, told)

    def prior_digest(self) -> str:
        """The weights of the guided arms."""
        known = open_prior(self.guided("natural"), self.project.display.shape, self.project.folder).describe()
        return str(known.get("trained", {}).get("sha256", known.get("weights", known["name"])))

    def guided(self, name: str) -> DiffusionConfig:
        """The settings of one guided arm."""
        given = self.options.prior
        place = str(Path(given).resolve()) if Path(given).exists() else given
        return GUIDED[name] if name == "spectral" else GUIDED[name].model_copy(update={"prior": place})

    def run(self) -> dict[str, Any]:
        """All images, then the truth; prints a table."""
        for objective in self.objectives:
            for name in sorted(self.arms, key=lambda a: a == "gradient matched"):  # it needs those of `natural`
                self.make(name, objective)
        natural = self.natural()
        rows = [self.row(name, objective, natural) for objective in self.objectives for name in self.arms]
        print(
            f"\n{self.session}: {len(self.targets)} sites of {len(self.encoder.site_ids)}, {self.options.seeds} seeds, {len(natural[0])} natural images"
        )
        print(table(rows))
        return {"targets": len(self.targets), "seeds": self.options.seeds, "rows": rows}

    def declared(self, objective: str) -> Objective:
        """One row per target, less the ensemble's disagreement as in a round."""
        kappa = self.project.config.synthesis.kappa
        rows = OBJECTIVES[objective](self.targets)
        return cautious(rows, kappa) if kappa else rows

    def path(self, name: str, objective: str) -> Path:
        """The file of one arm's images."""
        file: Path = self.out / f"{name.replace(' ', '_')}_{objective}.h5"
        return file

    def make(self, name: str, objective: str) -> None:
        """The images of one arm, all seeds, validated; kept on disk with the CPU seconds per image."""
        path = self.path(name, objective)
        if path.is_file():
            return
        begin = time.process_time()
        if name == "gradient matched":
            climbed = StimulusBatch.load(self.path("gradient", objective))
            guided = StimulusBatch.load(self.path("natural", objective))
            batch = nearest(GeneratorImages("gradient", climbed, 0.0), GeneratorImages("natural", guided, 0.0)).batch
        else:
            generator = "gradient" if name == "gradient" else "diffusion"
            asked = replace(self.request, start=self.starts(objective) if name == "gradient" else None, start_ids=None)
            if name == "gradient":
                asked = replace(asked, snapshots=iterates(asked.steps))
            else:
                asked = replace(asked, diffusion=self.guided(name))
            rows = self.declared(objective)
            batch = make(
                generator, self.project, self.encoder, objective=rows, request=asked, progress=Progress()
            ).validate(self.validator)
        seconds = (time.process_time() - begin) / len(batch)
        replace(batch, settings={**batch.settings, "cpu_seconds": seconds}).save(path)
        print(f"{self.session} {objective} {name}: {seconds:.2f} CPU-s an image", flush=True)

    def starts(self, objective: str) -> torch.Tensor:
        """The best measured photographs of every target, one per seed."""
        from protocols.project.photographs import NaturalImages
        from protocols.synthesis.starts import measured_z, starts_for

        z = measured_z(self.project, self.encoder)
        rows = starts_for(self.declared(objective), self.encoder.site_ids, z, seeds=self.options.seeds)
        pixels = NaturalImages.load(self.project.data).pixels()
        return torch.from_numpy(pixels[rows]).movedim(-1, -3).float() / 255

    def natural(self) -> tuple[Floats, Floats]:
        """What the validator predicts of 4000 natural images, z (N, U): as they are, and at the controllers' luminance and contrast."""
        path = self.out / "natural.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as found:
                return found["raw"], found["matched"]
        files = sorted(p for p in self.options.photographs.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files:
            raise SystemExit(f"{self.options.photographs} holds no pictures")
        raw, matched = [], []
        constraint = self.request.recipe["constraints"]
        for i, file in enumerate(files):
            with Image.open(file) as opened:
                picture = np.asarray(opened.convert("RGB"))
            crops = [
                crop(np.random.default_rng([7, i, k]), [picture], self.project.display.shape[1]) for k in range(CROPS)
            ]
            images = (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) + 1) / 2
            raw.append(z_of(self.validator, images))
            matched.append(z_of(self.validator, torch.cat([brought(image[None], constraint) for image in images])))
        found = np.concatenate(raw), np.concatenate(matched)
        np.savez(path, raw=found[0], matched=found[1])
        return found

    def row(self, name: str, objective: str, natural: tuple[Floats, Floats]) -> dict[str, Any]:
        """One line of the table."""
        batch = StimulusBatch.load(self.path(name, objective))
        chosen = batch.take(batch.best_indices())
        statistics = image_statistics(batch.images).summary()
        order = {t: i for i, t in enumerate(chosen.targets)}
        place = [order[t] for t in self.targets]
        images = chosen.images[place]
        own = np.arange(len(place))
        shown = torch.from_numpy(images).movedim(-1, 1).float() / 255
        judged = np.concatenate([z_of(self.validator, part) for part in torch.split(shown, 32)])
        bar = np.maximum(*(score(z, objective)[:, self.at].max(0) for z in natural))
        predicted = score(judged, objective)[own, self.at]
        subject = Subject.load(self.options.benchmark / f"hidden_{self.session}" / "subject")
        columns = [subject.site_ids.index(s) for s in self.encoder.site_ids]
        truth = self.out / f"truth_{sha256_bytes(images.tobytes())[:16]}.npy"
        if not truth.is_file():
            np.save(truth, subject.expected(images)[:, columns])
        expected = np.load(truth, allow_pickle=False)
        known = subject.natural_expected[:, columns]
        if objective == "stretch":
            values = expected[own, self.at] / subject.saturation[columns][self.at]
            limits = {
                "M": np.ones(len(own)),
                "natural maximum": known.max(0)[self.at] / subject.saturation[columns][self.at],
            }
        else:
            mean, sd = known.mean(0), known.std(0)
            values = margins((expected - mean) / sd)[own, self.at]
            limits = {"best natural margin": margins((known - mean) / sd)[:, self.at].max(0)}
        record = json.loads((self.project.fitted / "for_round_01.json").read_text(encoding="utf-8"))
        contrast = measure(self.project.display, images, site_masks(self.project.display, record, self.targets))
        return {
            "arm": name,
            "objective": objective,
            "score": float(np.median(batch.scores)),
            "validator": float(np.median(predicted)),
            "above_natural": share(predicted > bar),
            **statistics,
            "distance": None if batch.distance is None else float(np.median(batch.distance)),
            "chroma": float(np.median(contrast.chroma)),
            "local": float(np.nanmedian(contrast.local[own, own])),
            "true": float(np.median(values)),
            "true_above": {limit: share(values > level) for limit, level in limits.items()},
            "cpu_seconds": batch.settings["cpu_seconds"],
            "values": np.round(values, 4).tolist(),
        }


def brought(image: torch.Tensor, constraints: Any) -> torch.Tensor:
    """An image (1, C, H, W) at the controllers' luminance and contrast, in 8 bits; as it is where it cannot be brought there."""
    held = image
    try:
        for constraint in constraints:
            held = constraint(held)
        pixels = constraints[-1].quantise(held)
    except ConstraintError:
        return image
    shown: torch.Tensor = torch.from_numpy(pixels.numpy()).movedim(-1, 1).float() / 255
    return shown


@torch.no_grad()
def z_of(encoder: Encoder | Ensemble, images: torch.Tensor) -> Floats:
    """Predicted responses in natural SDs, (N, U), mean over members."""
    answers = encoder(images)
    mean = answers if answers.ndim == 2 else answers.mean(0)
    z: Floats = ((mean - encoder.natural_mean) / encoder.natural_sd).double().numpy()
    return z


def score(z: Floats, objective: str) -> Floats:
    """Stretch: z; one-hot: log softmax over sites at temperature 1 (Bashivan et al. 2019); (N, U)."""
    return (
        z
        if objective == "stretch"
        else z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)
    )


def share(hits: Bools) -> dict[str, Any]:
    """A proportion of sites with its Wilson interval."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"successes": int(hits.sum()), "of": len(hits), "low": low, "high": high}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = []
    for objective in dict.fromkeys(r["objective"] for r in rows):
        chosen = [r for r in rows if r["objective"] == objective]
        limits = list(chosen[0]["true_above"])
        heads = [
            "score",
            "validator",
            "above 4000 natural",
            "slope",
            "kurtosis 4 / 8 px",
            "distance",
            "chroma",
            "local",
            "true",
            *(f"> {n}" for n in limits),
            "CPU-s",
        ]
        lines += ["", f"| {objective} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for r in chosen:
            cells = [
                f"{r['score']:.2f}", f"{r['validator']:.2f}", percent(r["above_natural"]),
                f"{r['slope']['value']:.2f} [{r['slope']['low']:.2f}, {r['slope']['high']:.2f}]",
                f"{r['kurtosis_4']['value']:.1f} / {r['kurtosis_8']['value']:.1f}",
                "-" if r["distance"] is None else f"{r['distance']:.2f}", f"{r['chroma']:.3f}", f"{r['local']:.3f}", f"{r['true']:.2f}",
                *(percent(r["true_above"][n]) for n in limits), f"{r['cpu_seconds']:.2f}",
            ]  # fmt: skip
            lines.append(f"| {r['arm']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(found: dict[str, Any]) -> str:
    """90 % [77, 96]."""
    return f"{100 * found['successes'] / found['of']:.0f} % [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"


if __name__ == "__main__":
    main()
