"""Optimisers on convolutional units against published numbers (Wang & Ponce 2022, GECCO, arXiv 2204.06765).

There: units of AlexNet, the 4096 numbers of the generator DeePSiM, 3000 images in 75 generations of 40, multiplicative noise (score x
max(0, 1 + level x normal)), and as the result of a run the highest noise-free score among all of its images, divided by the highest that
any optimiser in any run ever reached for that unit. Here the same, with what is at hand: units of EfficientNet-Lite0 (the centre of a map,
rectified), and a low-pass Fourier code of about as many numbers in place of the generator. Only the relative numbers can be compared: how
far a run comes within what this code and these optimisers can reach. Their spherical CMA-ES is written here again, since it sets the
normaliser where there is no noise.

Run: python scripts/studies/evolution_published.py --out FILE.json [--units 6] [--runs 2], about eight minutes on one core; for the earlier layer
--layer blocks.1 --noise 0.5.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.backbones.build import backbone
from protocols.arrays import Floats
from protocols.disk.files import write_json
from synth.evolution.fourier_code import FourierCode
from synth.evolution.optimisers import make_optimiser

METHODS = ("genetic", "cma", "sphere")
PUBLISHED = {
    ("genetic", 0.2): 0.358,
    ("cma", 0.2): 0.618,
    ("cma", 0.0): 0.758,
    ("sphere", 0.2): 0.570,
    ("sphere", 0.0): 0.859,
    ("genetic", 0.5): 0.406,
    ("cma", 0.5): 0.633,
    ("sphere", 0.5): 0.548,
}
"""Normalised scores of units of conv4, at noise 0.5 of the earlier layer conv2."""
SHAPE = (3, 64, 64)
GENERATIONS, POPULATION = 75, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layer", default="blocks.3")
    parser.add_argument("--units", type=int, default=6)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--noise", default="0,0.2")
    parser.add_argument("--cutoff", type=float, default=20.0)
    options = parser.parse_args()
    latent, layer = FourierCode(SHAPE, cutoff=options.cutoff), Layer(options.layer)
    channels = layer.responsive(latent)[: options.units]
    kept = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.is_file() else []
    for channel in channels:
        for run in range(options.runs):
            for noise in map(float, options.noise.split(",")):
                for method in METHODS:
                    key = {"channel": channel, "run": run, "noise": noise, "method": method}
                    if not any(key.items() <= row.items() for row in kept):
                        clean = evolved(method, layer, channel, latent=latent, noise=noise, seed=1000 * run + channel)
                        kept.append({**key, "highest": float(clean.max()), "last": float(clean[-POPULATION:].mean())})
                        write_json(options.out, {"size": latent.size, "layer": options.layer, "rows": kept})
    print(text_of(kept, latent.size))


class Layer:
    """The rectified centre of the maps of one layer."""

    def __init__(self, name: str) -> None:
        self.network, self.name = backbone("offline:efficientnet_lite0", [name], input_size=SHAPE[1]), name

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Floats:
        """(n, channels)."""
        maps = self.network(images)[self.name]
        centre = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        answers: Floats = centre.clamp(min=0).double().numpy()
        return answers

    def responsive(self, latent: FourierCode) -> list[int]:
        """Channels in a random order that answer at least a tenth of random images."""
        random = np.random.default_rng(0)
        answers = self(latent.decode(random.standard_normal((200, latent.size))))
        able = (answers > 0).mean(0) >= 0.1
        return [int(c) for c in random.permutation(answers.shape[1]) if able[c]]


def evolved(method: str, layer: Layer, channel: int, *, latent: FourierCode, noise: float, seed: int) -> Floats:
    """Noise-free scores of all images of a run, in the order shown."""
    random = np.random.default_rng([seed, round(100 * noise)])
    clean = []

    def scores(codes: Floats) -> Floats:
        clean.append(layer(latent.decode(codes))[:, channel])
        gain: Floats = np.maximum(0, 1 + noise * random.standard_normal(len(codes)))
        return clean[-1] * gain

    if method == "sphere":
        sphere(scores, latent.size, random)
    else:
        optimiser = make_optimiser(method, np.zeros(latent.size), population=POPULATION, seed=seed)
        for _ in range(GENERATIONS):
            optimiser.tell(scores(optimiser.ask()))
    return np.concatenate(clean)


def sphere(scores: Any, size: int, random: np.random.Generator) -> None:
    """Spherical CMA-ES with an exponential step size (ZOHA_Sphere_lr_euclid, the numbers of the benchmark script)."""
    radius = 300 / np.sqrt(4096) * np.sqrt(size)
    steps = np.radians(np.logspace(np.log10(50), np.log10(7.33), GENERATIONS)) / np.sqrt(size)
    weights = np.maximum(np.log(20.5) - np.log(np.arange(1, POPULATION + 1)), 0)
    weights[20:] = 0

    def on_sphere(codes: Floats) -> Floats:
        placed: Floats = codes * (radius / np.linalg.norm(codes, axis=-1, keepdims=True))
        return placed

    codes = on_sphere(random.standard_normal((POPULATION, size)))
    for generation, step in enumerate(steps):
        told = scores(codes)
        ranked = codes if generation == 0 else codes[1:]  # the first is the centre, which takes no rank
        order = np.argsort(-(told if generation == 0 else told[1:]))
        centre = on_sphere((weights / weights.sum()) @ ranked[order])
        if generation:
            centre = slerp(codes[0], centre, 1.5)
        tangent = random.standard_normal((POPULATION, size))
        tangent = step * (tangent - np.outer(tangent @ centre, centre) / radius**2)  # radians x a unit of length
        angle = np.linalg.norm(tangent, axis=1, keepdims=True)
        moved = np.cos(angle) * centre + np.sin(angle) * radius * tangent / angle
        codes = on_sphere(np.concatenate([centre[None], moved]))


def slerp(a: Floats, b: Floats, share: float) -> Floats:
    """The point `share` of the way from a to b along the great circle."""
    angle = np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
    along: Floats = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return along


def text_of(rows: list[dict[str, Any]], size: int) -> str:
    """Normalised scores: mean over units and runs, with the standard error over units."""
    highest: dict[int, float] = {}
    for row in rows:
        highest[row["channel"]] = max(highest.get(row["channel"], 0.0), row["highest"])
    lines = [f"{len(highest)} units, {size} numbers; highest noise-free score / highest of any run of the unit"]
    for noise in sorted({row["noise"] for row in rows}):
        for method in METHODS:
            by_unit = [
                np.mean([r["highest"] for r in rows if (r["channel"], r["noise"], r["method"]) == (c, noise, method)])
                / top
                for c, top in highest.items()
            ]
            published = PUBLISHED.get((method, noise))
            error = np.std(by_unit, ddof=1) / np.sqrt(len(by_unit)) if len(by_unit) > 1 else np.nan
            lines.append(f"noise {noise}: {method:<8} {np.mean(by_unit):.3f} +- {error:.3f}   published {published}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
