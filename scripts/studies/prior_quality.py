"""How natural the samples of a trained prior are: spectrum slope, Gabor kurtosis, error of the clean estimate, beside its training images.

``python scripts/studies/prior_quality.py --out quality`` measures the embedded `natural64` (or ``--prior FILE``, trained with the package's photographs)
on ``--samples`` samples and as many training images, and writes ``quality.json``, a table, and ``samples.png``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protocols.project.prior_photographs import photographs
from protocols.synthesis.image_statistics import image_statistics
from synth.contract import draw
from synth.diffusion.sampling import sample
from synth.diffusion.solvers import ddim
from synth.priors import natural
from synth.priors.training.images import TrainingImages, digest, leaf, set_apart
from synth.priors.training.training import clean_errors

NAMES = ("slope", "kurtosis_4", "kurtosis_8")
MICRO_BATCH = 32


def samples(prior: object, count: int, steps: int, eta: float, seed: int = 0) -> Tensor:
    """Unguided samples (count, C, H, W), pixel values in [0, 1], clipped as on a screen."""
    parts = []
    for first in range(0, count, MICRO_BATCH):
        streams = [torch.Generator().manual_seed(seed + i) for i in range(first, min(count, first + MICRO_BATCH))]
        trajectory = ddim(eta).begin(prior, steps, torch.device("cpu"), travels=False)  # type: ignore[arg-type]
        with torch.no_grad():
            noise = draw(streams, prior.shape)  # type: ignore[attr-defined]
            parts.append(prior.decode(sample(prior, trajectory, noise, generators=streams)).clamp(0, 1))  # type: ignore[arg-type, attr-defined]
        print(f"  {first + len(streams)} of {count} samples", flush=True)
    return torch.cat(parts)


def training_images(count: int, plan: dict[str, Any], folder: Path | None, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images that it was trained on and images of the same kind that it was not, (count, 3, crop, crop) in [0, 1]."""
    images, held_out = set_apart(photographs(folder)[0])
    told, size = plan["data"], plan["crop"]
    if (digest(images), digest(held_out)) != (told["photographs_sha256"], told["held_out_sha256"]):
        raise SystemExit(
            "the photographs are not those of the training; give the folder that train_prior.py was given, with --photographs"
        )
    drawn = np.stack(
        [leaf(plan["seed"], i, size + size // 2, photographs=images) for i in range(min(told["leaves"], count))]
    )
    data = TrainingImages(photographs=images, held_out=held_out, leaves=drawn, size=size, share=told["share"])
    found = []
    for draw_one in (data.draw, data.unseen):
        stack = np.stack([draw_one(np.random.default_rng([seed, i])) for i in range(count)])
        found.append((torch.from_numpy(stack).permute(0, 3, 1, 2) + 1) / 2)
    return found[0], found[1]


def sheet(images: Tensor, columns: int = 16) -> Image.Image:
    """Images side by side, two pixels a pixel."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(pixels[i : i + columns]), 1) for i in range(0, len(pixels), columns)]
    whole = Image.fromarray(np.concatenate(rows, 0))
    return whole.resize((whole.width * 3 // 2, whole.height * 3 // 2), Image.Resampling.BICUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--prior", default="natural64", help="natural64, or a file of train_prior.py")
    parser.add_argument("--photographs", type=Path, help="the folder that it was trained on; default: the package's")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--eta", type=float, default=1.0, help="fresh noise in every step: 0 none, 1 ancestral")
    parser.add_argument("--size", type=int, default=64)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    prior = natural(given.prior, (3, given.size, given.size))
    plan = prior.trained.get("plan", {})
    if "data" not in plan:
        raise SystemExit(
            f"{given.prior} does not tell what it was trained on; expected a file of scripts/train_prior.py"
        )
    begin = time.process_time()
    made = samples(prior, given.samples, given.steps, given.eta)
    seconds = (time.process_time() - begin) / given.samples
    trained, held_out = training_images(given.samples, plan, given.photographs)
    measured = {
        "samples": image_statistics(made).summary(),
        "training images": image_statistics(trained).summary(),
        "held-out images": image_statistics(held_out).summary(),
    }
    wiener = image_statistics(samples(prior.wiener, min(given.samples, 128), given.steps, given.eta)).summary()
    measured["spectral prior, 128 samples"] = wiener
    small = natural(given.prior)
    errors = clean_errors(small, 2 * held_out[:256] - 1)
    ratios = {n: measured["samples"][n]["value"] / measured["training images"][n]["value"] for n in NAMES[1:]}
    record = {
        "prior": prior.source, "samples": given.samples, "steps": given.steps, "eta": given.eta, "size": given.size,
        "cpu_seconds_a_sample": seconds, "statistics": measured, "kurtosis_over_training": ratios, "errors_of_held_out_images": errors,
    }  # fmt: skip
    (given.out / "quality.json").write_text(json.dumps(record, indent=1) + "\n")
    sheet(made[:64]).save(given.out / "samples.png")
    sheet(trained[:64]).save(given.out / "training_images.png")
    print(
        f"\n{given.samples} samples of {prior.source}, {given.steps} steps, eta {given.eta:g}, {seconds:.2f} CPU-s each\n"
    )
    print("| | spectrum slope | Gabor kurtosis, 4 px | 8 px |\n|---|---|---|---|")
    for name, found in measured.items():
        cells = [f"{found[n]['value']:.2f} [{found[n]['low']:.2f}, {found[n]['high']:.2f}]" for n in NAMES]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| samples / training images | - | {' | '.join(f'{100 * r:.0f} %' for r in ratios.values())} |")
    print(
        "\n| clean estimate at noise level | "
        + " | ".join(map(str, errors["learned"]))
        + " |\n|---|"
        + "---|" * len(errors["learned"])
    )
    for name, values in errors.items():
        print(f"| {name} | " + " | ".join(f"{v:.4f}" for v in values.values()) + " |")
    below = all(errors["learned"][k] < errors["wiener"][k] for k in errors["learned"])
    slope = measured["samples"]["slope"]["value"]
    print(
        f"\nslope in 1.1 - 1.4: {1.1 <= slope <= 1.4}; kurtosis at least 80 %: {min(ratios.values()) >= 0.8}; errors below Wiener: {below}"
    )


if __name__ == "__main__":
    main()
