"""Most discriminative stimuli on models of V4 sites: are the clusters found again, and do the images tell sites apart in truth?

The photographs of a recording are divided into two halves. On each half's recorded averages an encoder is fitted (one layer, ridge), and the
sites are clustered by it. Then only, the compact models of the sites (Cowley, Stan, Pillow & Smith), which neither encoder has seen, answer to
the images. Shown are

* the adjusted Rand index between the clusters of the two halves, for discriminative stimuli, for the same alternation over photographs, and
  for k-means on response vectors to the photographs (the simple baseline), beside sites in any order;
* the rank of a site's own image among all images by the hidden models, and how often it is the first, beside chance; for the baselines the
  image of a cluster is the photograph that discriminates it best;
* how often a site is typed as by all photographs in truth, from few presentations with trial noise: the argmax over the images, the argmax
  over the best photographs, and the most correlated cluster from random photographs. Single trials are the hidden model's answer in natural
  SDs plus Gaussian noise of `--noise` natural SDs.

Run: OMP_NUM_THREADS=1 python scripts/studies/discriminative_v4.py --data ../shared/data/v4_cowley2023 --out discriminative_v4.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster import vq

from encoders import FitOptions, Recording, fit_encoder
from protocols.arrays import Floats, Ints, Pixels
from protocols.disk.files import write_json
from protocols.simulate.v4 import fold, model_responses, read_averages, read_images, read_models
from synth import fourier, jitter
from synth.answers import images_of
from synth.constraints import exact_statistics
from synth.discriminative import Settings, adjusted_rand, by_photographs, discriminative_stimuli
from synth.discriminative.library import photograph_scores
from synth.discriminative.partition import margins, occupied

STARTS = 20
PRESENTATIONS = (5, 10, 20, 40, 80)
RANDOM_PHOTOGRAPHS = 60
FIT = FitOptions(
    layers="single",
    readout="ridge",
    folds=3,
    input_size=112,
    validator_backbone="offline:efficientnet_lite0",
    validator_layers=("blocks.2.0",),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--sessions", default="210225,201025")
    parser.add_argument("--clusters", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="gradient steps per turn")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, help="only the first so many photographs")
    parser.add_argument("--noise", type=float, default=2.0, help="SD of single trials, in natural SDs")
    options = parser.parse_args()
    results = {}
    for session in options.sessions.split(","):
        results[session] = study(session, options)
        write_json(options.out, {"clusters": options.clusters, "noise": options.noise, "sessions": results})
        show(session, results[session])


def study(session: str, options: argparse.Namespace) -> dict[str, Any]:
    """All numbers of one recording."""
    began = time.process_time()
    models = read_models(options.data, session)
    pixels = read_images(options.data, session)[: options.images]
    recorded = read_averages(options.data, session)[: len(pixels), list(models)]
    order = np.random.default_rng(0).permutation(len(pixels))
    halves = [np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])]
    found = [clusters_of(pixels[half], recorded[half], options) for half in halves]
    hidden = [fold(state) for state in models.values()]
    chosen = np.random.default_rng(1).choice(len(pixels), RANDOM_PHOTOGRAPHS, replace=False)
    natural = model_responses(pixels[chosen], hidden)
    scale = (natural.mean(0), natural.std(0))
    report: dict[str, Any] = {"sites": len(models), "photographs": len(pixels), "methods": {}}
    for method in found[0]:
        pairs = [f[method] for f in found]
        ranks = [ranked(images, labels, hidden, scale) for labels, images in pairs]
        report["methods"][method] = {
            "clusters": [len(images) for _, images in pairs],
            "adjusted_rand": adjusted_rand(pairs[0][0], pairs[1][0]),
            "mean_rank": float(np.mean([r["mean_rank"] for r in ranks])),
            "chance_rank": float(np.mean([(len(images) + 1) / 2 for _, images in pairs])),
            "first": float(np.mean([r["first"] for r in ranks])),
            "chance_first": float(np.mean([1 / len(images) for _, images in pairs])),
            "margin": float(np.mean([r["margin"] for r in ranks])),
        }
    shuffled = [np.random.default_rng(i).permutation(found[1]["discriminative"][0]) for i in range(200)]
    report["adjusted_rand_shuffled"] = float(
        np.percentile([adjusted_rand(found[0]["discriminative"][0], s) for s in shuffled], 95)
    )
    report["typing"] = typing_curves(found[0], hidden, scale, natural=natural, noise=options.noise)
    report["cpu_seconds"] = time.process_time() - began
    return report


def clusters_of(pixels: Pixels, recorded: Floats, options: argparse.Namespace) -> dict[str, tuple[Ints, Pixels]]:
    """Labels of the sites and one image per cluster, by method, from one half of the photographs."""
    sites = [f"v4_{i:03d}" for i in range(recorded.shape[1])]
    recording = Recording(
        pixels=pixels,
        values=recorded,
        image_index=np.arange(len(pixels)),
        site_ids=sites,
        unit="spikes",
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
        averages=True,
    )
    pair = fit_encoder(recording, FIT)
    size = (3, *pixels.shape[1:3])
    natural = {k: float(v.median()) for k, v in exact_statistics(size).statistics(images_of(pixels)).items()}
    clustering = discriminative_stimuli(
        pair.encoder,
        sites,
        fourier(size, decay=1.75),
        validator=pair.validator,
        settings=Settings(
            clusters=options.clusters, steps=options.steps, iterations=options.iterations, final_steps=50, changes=0
        ),
        seeds=range(options.seeds),
        options={
            "transforms": [jitter(0.07)],
            "constraints": [exact_statistics(size, mean=natural["mean"], rms=natural["rms"])],
        },
    )
    z = (recorded - recorded.mean(0)) / recorded.std(0)
    rng = np.random.default_rng(0)
    runs = [by_photographs(z, options.clusters, rng) for _ in range(STARTS)]
    labels, images, _ = max(runs, key=lambda run: run[2])
    simple = k_means((z / np.linalg.norm(z, axis=0)).T, options.clusters, rng)
    best = clustering.best
    return {
        "discriminative": (best.labels, best.batch.images),
        "by photographs": (labels, pixels[images]),
        "k-means": (simple, pixels[photograph_scores(z, simple).argmax(0)]),
    }


def k_means(points: Floats, clusters: int, rng: np.random.Generator) -> Ints:
    """Lloyd's algorithm from random points, the best of `STARTS`: points (sites, features) -> labels (sites,)."""
    centres, _ = vq.kmeans(points, clusters, iter=STARTS, seed=rng)
    return occupied(vq.vq(points, centres)[0].astype(np.int64))[0]


def ranked(images: Pixels, labels: Ints, hidden: list[Any], scale: tuple[Floats, Floats]) -> dict[str, float]:
    """Rank of the own image among all, by the hidden models (1 = it drives the site most)."""
    z = (model_responses(images, hidden) - scale[0]) / scale[1]  # (images, sites)
    ranks = 1 + (z > z[labels, np.arange(len(labels))]).sum(0)
    return {
        "mean_rank": float(ranks.mean()),
        "first": float((ranks == 1).mean()),
        "margin": float(margins(z, labels).mean()),
    }


def typing_curves(
    found: dict[str, tuple[Ints, Pixels]],
    hidden: list[Any],
    scale: tuple[Floats, Floats],
    *,
    natural: Floats,
    noise: float,
) -> dict[str, dict[str, float]]:
    """Share of sites typed as without noise, by method and number of presentations; 50 draws of the noise."""
    truth = (natural - scale[0]) / scale[1]
    curves: dict[str, dict[str, float]] = {}
    for method, (labels, images) in found.items():
        z = (model_responses(images, hidden) - scale[0]) / scale[1]
        curves[method] = _curve(lambda seen: seen.argmax(0), z, noise, wanted=labels)
        if method == "discriminative":
            centres = np.stack([truth[:, labels == c].mean(1) for c in range(labels.max() + 1)])

            def nearest(seen: Floats, centres: Floats = centres) -> Ints:
                known = centres[:, : len(seen)]
                chosen: Ints = np.corrcoef(known, seen.T)[: len(known), len(known) :].argmax(0)
                return chosen

            name = "same clusters from random photographs"
            curves[name] = {
                str(n): _curve(nearest, truth[: min(n, len(truth))], noise, wanted=labels, counts=(n,))[str(n)]
                for n in PRESENTATIONS
            }
    return curves


def _curve(
    choose: Any, z: Floats, noise: float, *, wanted: Ints, counts: tuple[int, ...] = PRESENTATIONS
) -> dict[str, float]:
    rng, curve = np.random.default_rng(2), {}
    for count in counts:
        spread = noise / np.sqrt(max(count / len(z), 1))
        right = [(choose(z + spread * rng.standard_normal(z.shape)) == wanted).mean() for _ in range(50)]
        curve[str(count)] = float(np.mean(right))
    return curve | ({"no noise": float((choose(z) == wanted).mean())} if len(counts) > 1 else {})


def show(session: str, report: dict[str, Any]) -> None:
    print(
        f"\nsession {session}: {report['sites']} sites, {report['photographs']} photographs, {report['cpu_seconds']:.0f} CPU s"
    )
    print(f"{'method':<40} clusters  adjusted Rand  mean rank (chance)  first (chance)  margin")
    for name, r in report["methods"].items():
        print(
            f"{name:<40} {r['clusters']!s:<9} {r['adjusted_rand']:<14.2f} {r['mean_rank']:.2f} ({r['chance_rank']:.2f})"
            f"         {r['first']:.2f} ({r['chance_first']:.2f})     {r['margin']:.2f}"
        )
    print(f"adjusted Rand of shuffled sites, 95th percentile: {report['adjusted_rand_shuffled']:.2f}")
    for name, curve in report["typing"].items():
        print(f"{name:<40} " + "  ".join(f"{n}: {v:.2f}" for n, v in curve.items()))


if __name__ == "__main__":
    main()
