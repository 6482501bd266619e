"""Train the network of the prior `natural` on dead leaves and photographs: reproducible, and resumed where it stopped.

``python scripts/train_prior.py --out natural64.safetensors --steps 20000`` writes the prior, and beside it ``.run.safetensors``, from which
the same command goes on. Photographs: those of the package (protocols/data, licences in its CSV), or a folder of one's own with
``--photographs``; their share of the crops is ``--share``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import shlex
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from synth.priors.dead_leaves import dead_leaves
from synth.priors.training import Plan, Training, clean_errors

PACKAGED = Path(__file__).parents[1] / "protocols" / "data"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
FLAT = 0.09  # SD in [-1, 1] below which a crop shows nothing


def packaged() -> tuple[list[NDArray[np.uint8]], dict[str, Any]]:
    """The package's photographs (H, W, 3), and what is to be said of them."""
    with open(PACKAGED / "photographs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    images = []
    with zipfile.ZipFile(PACKAGED / "photographs.zip") as archive:
        for row in rows:
            images.append(np.asarray(Image.open(io.BytesIO(archive.read(row["filename"]))).convert("RGB")))
    licences = {r["original_file"]: f"{r['title']}, {r['author']}: {r['licence']}" for r in rows}
    return images, {"photographs": len(images), "pictures": licences, "sha256": digest(images)}


def folder(path: Path) -> tuple[list[NDArray[np.uint8]], dict[str, Any]]:
    """The photographs of a folder, by name; a file that cannot be read is an error."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{path} holds no photographs ({', '.join(sorted(SUFFIXES))})")
    images = [np.asarray(Image.open(p).convert("RGB")) for p in files]
    return images, {"photographs": len(images), "folder": path.name, "sha256": digest(images)}


def digest(images: list[NDArray[np.uint8]]) -> str:
    """SHA-256 of all pixels, in order."""
    total = hashlib.sha256()
    for image in images:
        total.update(image.tobytes())
    return total.hexdigest()


def crop(generator: np.random.Generator, images: list[NDArray[np.uint8]], size: int) -> NDArray[np.float32]:
    """A square of a photograph, at a scale drawn uniformly in log size and never enlarged, perhaps mirrored: (size, size, 3) in [-1, 1]."""
    while True:
        image = images[int(generator.integers(len(images)))]
        short = min(image.shape[:2])
        width = round(size * (max(short, size) / size) ** generator.uniform())
        top, left = (int(generator.integers(n - width + 1)) for n in image.shape[:2])
        square = Image.fromarray(image[top : top + width, left : left + width])
        found = np.asarray(square.resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 127.5 - 1
        if found.std() >= FLAT:
            return found[:, ::-1].copy() if generator.uniform() < 0.5 else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the prior, .safetensors")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--crop", type=int, default=Plan.crop, help="height and width of the crops, in pixels")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[32, 64, 128, 128], help="channels of each level, divisible by 8"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", type=Path, help="a folder instead of the package's own")
    parser.add_argument(
        "--share", type=float, default=0.15, help="of photographs among the crops; the rest are dead leaves"
    )
    parser.add_argument("--stop-after", type=int, help="stop, resumably, after so many steps of this call")
    parser.add_argument("--save-every", type=int, default=500)
    given = parser.parse_args()
    images, origin = packaged() if given.photographs is None else folder(given.photographs)
    small = [i for i in images if min(i.shape[:2]) < given.crop]
    if small:
        raise SystemExit(f"{len(small)} photographs are smaller than the crop of {given.crop} pixels; lower --crop")

    def draw(generator: np.random.Generator) -> NDArray[np.float32]:
        if generator.uniform() < given.share:
            return crop(generator, images, given.crop)
        return dead_leaves(generator, given.crop)

    plan = Plan(given.steps, given.batch, given.crop, seed=given.seed, config={"widths": given.widths, "exponent": 1.3})
    training = Training(plan, draw)
    state = given.out.with_suffix(".run.safetensors")
    if state.is_file():
        training.resume(state)
        print(f"resumed after step {training.done}", flush=True)
    print(f"{sum(p.numel() for p in training.parameters.values())} weights", flush=True)
    last = min(given.steps, training.done + (given.stop_after or given.steps))
    begin, first, mean = time.process_time(), training.done, 0.0
    while training.done < last:
        loss = training.step()
        mean = loss if mean == 0 else 0.98 * mean + 0.02 * loss
        if training.done % given.save_every == 0 or training.done == last:
            training.save(state)
            each = (time.process_time() - begin) / (training.done - first)
            print(f"step {training.done}: loss {mean:.4f} (Wiener = 1), {each:.2f} CPU-s a step", flush=True)
    held_out = torch.from_numpy(np.stack([draw(np.random.default_rng([2**31, i])) for i in range(64)])).permute(
        0, 3, 1, 2
    )
    errors = clean_errors(training.averaged(), held_out)
    print(json.dumps(errors, indent=1))
    record = {
        **origin,
        "share": given.share,
        "errors": errors,
        "command": shlex.join(sys.argv),
        "torch": torch.__version__,
    }
    training.export(given.out, record)
    print(f"wrote {given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
