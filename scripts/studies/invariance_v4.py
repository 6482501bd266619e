"""Whether what an encoder calls invariant is invariant at the site: level sets and metamers judged by hidden V4 models.

    python scripts/studies/invariance_v4.py --data ../shared/data/v4_cowley2023 --out invariance_v4

Compact models of recorded V4 sites (session 201025) answer to photographs, with trial noise; an encoder and its validator
are fitted to these trials alone. Level sets and metamers of the encoder are then shown to the models, which nothing
before has seen but through the trials. Beside each point of a path stands the plain mixture of source and target that
lies as far from the target: what the search adds to blending.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders.fitting.fit import fit_encoder
from encoders.fitting.options import FitOptions
from encoders.fitting.recording import Recording
from protocols.arrays import Floats, Pixels
from protocols.progress import Progress
from protocols.simulate.v4 import fold, model_responses, read_images, read_models
from synth import exact_statistics
from synth.answers import images_of, z_scores_to
from synth.invariance.levels import Traversal, traverse
from synth.invariance.likeness import rms_difference
from synth.invariance.metamers import Matching, find_metamers, largest_deviation, starts_of
from synth.invariance.site import shown
from synth.objectives.bound import column_of

REPEATS = 8
NOISE = 1.0  # SD of a trial, in natural SDs
TOLERANCE = 0.25
SMOOTH = (0.0, 1.5, 3.0)


class Truth:
    """The hidden models in natural SDs: pixels (N, H, W, 3) -> (N, U)."""

    def __init__(self, data: Path, session: str, count: int, *, photographs: Pixels) -> None:
        models = read_models(data, session)
        chosen = [sorted(models)[int(i)] for i in np.linspace(0, len(models) - 1, count)]
        self.sites = [fold(models[site]) for site in chosen]
        self.names = tuple(f"v4_{site:03d}" for site in chosen)
        self.responses = model_responses(photographs, self.sites, progress=Progress())
        self.mean, self.sd = self.responses.mean(0), self.responses.std(0)

    def __call__(self, pixels: Pixels) -> Floats:
        """Responses in natural SDs of the photographs."""
        z: Floats = (model_responses(pixels, self.sites) - self.mean) / self.sd
        return z


def share(changes: Floats) -> float:
    return round(float((np.abs(changes) < TOLERANCE).mean()), 3)


def blended(source: Pixels, target: Pixels, far: Floats, *, limits: Sequence[Any]) -> Pixels:
    """Mixtures of two images on the display that lie about as far from the target as `far` (K,) says."""
    weights = np.linspace(0, 1, 41)[:, None, None, None]
    mixed = ((1 - weights) * source + weights * target).round().astype(np.uint8)
    mixed = shown(mixed, limits)
    distance = rms_difference(images_of(mixed), images_of(target[None]).expand(len(mixed), -1, -1, -1)).numpy()
    return mixed[[int(np.abs(distance - d).argmin()) for d in far]]


def levels(pair: Any, truth: Truth, images: Pixels, *, limits: Sequence[Any], points: int) -> list[dict[str, Any]]:
    """Shares of the points of paths that stay at the source's level: encoder, validator, truth, and of mixtures."""
    best = z_scores_to(pair.encoder, images).argmax(0)
    sites = list(pair.encoder.site_ids)
    source = images[np.repeat(best, 2)]
    target = images[
        [int(i) for u in range(len(sites)) for i in ((best[u] + 7) % len(images), (best[u] + 23) % len(images))]
    ]
    names = [s for s in sites for _ in range(2)]
    rows = []
    for smooth in SMOOTH:
        settings = replace(Traversal(), steps=40, step=0.1, smooth=smooth, tolerance=TOLERANCE)
        labels = [f"{name} {i}" for i, name in enumerate(names)]
        paths = traverse(
            pair.encoder, names, source, target=target, constraints=limits, settings=settings, names=labels
        ).spaced(points, target)
        changes: dict[str, list[Floats]] = {"encoder": [], "validator": [], "truth": [], "mixture_truth": []}
        half: list[Floats] = []
        for name, found, begin, goal in zip(names, paths.points, source, target, strict=True):
            far = rms_difference(images_of(found), images_of(goal[None]).expand(len(found), -1, -1, -1)).numpy()
            mixed = blended(begin, goal, far[1:], limits=limits)
            both = np.concatenate([found, mixed])
            column = truth.names.index(name)
            true = truth(both)[:, column]
            for who, judge in (("encoder", pair.encoder), ("validator", pair.validator)):
                z = z_scores_to(judge, found)[:, column_of(name, judge.site_ids)]
                changes[who].append(z[1:] - z[0])
            changes["truth"].append(true[1 : len(found)] - true[0])
            changes["mixture_truth"].append(true[len(found) :] - true[0])
            half.append(changes["truth"][-1][far[1:] > 0.5 * far[0]])
        joined = {who: np.concatenate(values) for who, values in changes.items()}
        agree = joined["truth"][np.abs(joined["validator"]) < TOLERANCE]
        row = {"smooth": smooth, "points": len(joined["truth"]), **{who: share(v) for who, v in joined.items()}}
        row["median_true_change"] = round(float(np.median(np.abs(joined["truth"]))), 3)
        row["median_true_change_of_mixtures"] = round(float(np.median(np.abs(joined["mixture_truth"]))), 3)
        row |= {"truth_where_validator_agrees": share(agree), "points_where_validator_agrees": len(agree)}
        row["truth_in_the_first_half_of_the_way"] = share(np.concatenate(half))
        rows.append(row)
        print(json.dumps(row))
    return rows


def metamers(pair: Any, truth: Truth, images: Pixels, *, limits: Sequence[Any], references: int) -> dict[str, Any]:
    """Response distances of metamers and of pairs of photographs, by encoder, validator and truth."""
    sites = list(pair.encoder.site_ids)
    chosen = {f"p{i}": images[10 + i] for i in range(references)}
    starts = {name: starts_of(image, images[40:], 3, name=name)[0] for name, image in chosen.items()}
    batch = find_metamers(
        pair.encoder,
        sites,
        chosen,
        starts=starts,
        constraints=limits,
        settings=Matching(steps=120, tolerance=TOLERANCE),
    )
    own = np.repeat(np.stack(list(chosen.values())), 3, axis=0)
    order = [truth.names.index(s) for s in sites]
    judges: dict[str, Callable[[Pixels], Floats]] = {
        "encoder": lambda p: z_scores_to(pair.encoder, p),
        "validator": lambda p: z_scores_to(pair.validator, p)[
            :, [column_of(s, pair.validator.site_ids) for s in sites]
        ],
        "truth": lambda p: truth(p)[:, order],
    }
    met = largest_deviation(judges["encoder"](batch.images), judges["encoder"](own)) <= TOLERANCE
    result: dict[str, Any] = {"images": len(batch), "metamers": int(met.sum())}
    for name, judge in judges.items():
        far = np.sqrt(np.square(judge(batch.images) - judge(own)).mean(1))[met]
        pool = judge(images[:40])
        pairs = [float(np.sqrt(np.square(pool[i] - pool[j]).mean())) for i in range(40) for j in range(i)]
        result[name] = {"metamers": round(float(np.median(far)), 3), "photographs": round(float(np.median(pairs)), 3)}
    print(json.dumps(result))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder for the result")
    parser.add_argument("--session", default="201025")
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--images", type=int, default=360)
    parser.add_argument("--points", type=int, default=5, help="per path, its source among them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    photographs = read_images(options.data, options.session)[: options.images]
    truth = Truth(options.data, options.session, options.sites, photographs=photographs)
    rng = np.random.default_rng(options.seed)
    z = (truth.responses - truth.mean) / truth.sd
    index = np.repeat(np.arange(len(photographs)), REPEATS)
    recording = Recording(
        pixels=photographs,
        values=5 + z[index] + NOISE * rng.standard_normal((len(index), options.sites)),
        image_index=index,
        site_ids=truth.names,
        unit="z",
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
    )
    pair = fit_encoder(recording, FitOptions(folds=3), progress=Progress())
    statistics = exact_statistics((3, 112, 112)).statistics(images_of(photographs[:100]))
    typical: dict[str, Any] = {k: float(v.median()) for k, v in statistics.items()}
    limits = [exact_statistics((3, 112, 112), **typical)]
    images = shown(photographs[:120], limits)
    own, true = z_scores_to(pair.encoder, images), truth(images)
    order = [truth.names.index(s) for s in pair.encoder.site_ids]
    fit = [float(np.corrcoef(own[:, i], true[:, u])[0, 1]) for i, u in enumerate(order)]
    result = {
        "settings": {
            k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k not in ("data", "out")
        },
        "sites": list(pair.encoder.site_ids),
        "median_r_encoder_truth": float(np.median(fit)),
        "levels": levels(pair, truth, images, limits=limits, points=options.points),
        "metamers": metamers(pair, truth, images, limits=limits, references=3),
    }
    (options.out / "invariance_v4.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"median r of encoder and truth on these images: {result['median_r_encoder_truth']:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
