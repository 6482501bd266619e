"""Recipes of seed papers on one hidden subject: what each asks of the encoder, what another encoder and the hidden sites say of the images.

The update rules are those of the released codes (`synth.recipes`, each tested step by step; `egg` of `synth.diffusion`), the network, the
sites and the prior are what is at hand. Every image is brought to the same display (mean, RMS contrast, 8 bits) before it is judged.

Run: python -m scripts.peers.recipes [--data ../shared/data/v4_cowley2023] [--json FILE]; about ten CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from protocols.arrays import Floats, Pixels
from synth import ascend, fourier, jitter, stretch
from synth.diffusion import guide
from synth.priors import natural
from synth.recipes.bashivan2019 import bashivan_2019
from synth.recipes.pierzchlewicz2023 import v4_gradient_ascent
from synth.recipes.walker2019 import walker_2019

from .page import recipe_table
from .records import paired_difference, paired_ratio
from .run import data_of
from .world import Sizes, World, as_tensor, make

EGG_STRENGTH = 10 * 64 / 256  # theirs is an L2 norm at 256 x 256 px; the prior here has 64 x 64
BASELINE, PHOTOGRAPH = "gradient ascent of the EGG paper", "best measured photograph"


def arms(world: World, *, share: float = 1.0) -> dict[str, Callable[[], Any]]:
    """Every recipe with its published number of steps, or `share` of it."""
    shape = (3, *world.images.shape[1:3])
    pixels = as_tensor(world.images)
    mean, sd = float(pixels.mean()), float(pixels.std())
    goal, encoder = stretch(world.targets), world.pair.encoder

    def steps(published: int) -> int:
        return max(2, round(share * published))

    def climbed(recipe: Any) -> Callable[[], Any]:
        return lambda: ascend(encoder, goal, **recipe)

    def egg(n: int) -> Callable[[], Any]:
        prior = natural(shape=(3, 64, 64))
        return lambda: guide(
            encoder,
            goal,
            prior,
            method="egg",
            strength=EGG_STRENGTH,
            steps=steps(n),
            constraints=[world.display],
            transforms=(),
            shape=shape,
        )

    bashivan: dict[str, Any] = dict(bashivan_2019(shape, jitter_px=max(1, round(19 * shape[2] / 299))))
    bashivan |= {"steps": steps(200), "check_every": steps(200)}
    ours = {
        "parameterisation": fourier(shape),
        "constraints": [world.display],
        "transforms": [jitter()],
        "steps": steps(60),
    }
    found = {
        "Bashivan 2019": climbed(bashivan),
        "Walker 2019": climbed(walker_2019(shape, pixel_sd=sd, steps=steps(1000))),
        BASELINE: climbed(
            v4_gradient_ascent(shape, pixel_mean=mean, pixel_sd=sd, norm=25 * shape[2] / 100, steps=steps(1000))
        ),
        "EGG, 100 steps": egg(100),
        "EGG, 50 steps": egg(50),
        "default, from noise": climbed(ours),
        "default, from the best photograph": climbed(ours | {"start": world.best_photographs()}),
    }
    return found


def judged(world: World, pixels: Pixels) -> dict[str, Floats]:
    """Encoder's and validator's score in natural SDs, and the true response in M, each (T,)."""
    encoder: Any = world.pair.encoder
    bound = stretch(world.targets).bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    images = as_tensor(pixels)
    with torch.no_grad():
        score = bound(images, encoder(images))
    return {
        "encoder": score.double().numpy(),
        "validator": world.validator_scores(pixels),
        "truth": world.truth(pixels)[0],
    }


def measure(world: World, *, share: float = 1.0) -> dict[str, Any]:
    """All recipes, and each beside the gradient ascent of the EGG paper."""
    found: dict[str, dict[str, Floats]] = {}
    seconds: dict[str, float] = {}
    for name, run in arms(world, share=share).items():
        begin = time.process_time()
        images = as_tensor(run().images)
        seconds[name] = time.process_time() - begin
        found[name] = judged(world, world.shown(images))
        print(
            name,
            {k: round(float(v.mean()), 2) for k, v in found[name].items()},
            round(seconds[name]),
            "CPU s",
            flush=True,
        )
    found[PHOTOGRAPH], seconds[PHOTOGRAPH] = judged(world, world.shown(world.best_photographs())), 0.0
    base, photograph = found[BASELINE], found[PHOTOGRAPH]
    rows = {}
    for name, scores in found.items():
        rows[name] = {
            "cpu_seconds": round(seconds[name], 1),
            "means": {k: float(v.mean()) for k, v in scores.items()},
            "above_m": int((scores["truth"] > 1).sum()),
            "kept_by_validator": paired_ratio(scores["validator"], scores["encoder"]),
            "truth_less_baseline": paired_difference(scores["truth"], base["truth"]),
            "truth_less_photograph": paired_difference(scores["truth"], photograph["truth"]),
            "validator_less_baseline": paired_difference(scores["validator"], base["validator"]),
        }
    return {"subject": world.about, "targets": len(world.targets), "recipes": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder v4_cowley2023; default: ../shared/data, where present")
    parser.add_argument("--json", type=Path, help="also write the record here")
    options = parser.parse_args()
    record = measure(make(Sizes(), data_of(options.data)))
    print(recipe_table(record))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
