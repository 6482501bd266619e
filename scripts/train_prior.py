"""Train the network of the prior `natural` on dead leaves and photographs: reproducible, and resumed where it stopped.

``python scripts/train_prior.py --out natural64.safetensors --steps 20000`` writes the prior, and beside it ``.run.safetensors``, from which
the same command goes on, and ``.leaves.npz``, the dead leaves. Photographs: those of the package (protocols/data, licences in its CSV), or a
folder of one's own with ``--photographs``; their share of the crops is ``--share``. Every sixth picture is set apart for the errors printed at the
end. Set OMP_NUM_THREADS to the cores that the training may use.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from protocols.arrays import Pixels
from protocols.project.prior_photographs import photographs
from synth.priors.training.images import TrainingImages, digest, leaf, set_apart
from synth.priors.training.training import Plan, Training, clean_errors

LEAVES = 1500


def bank(path: Path, seen: list[Pixels], *, seed: int, count: int, size: int, jobs: int) -> Pixels:
    """`count` images of dead leaves (count, size, size, 3) in the colours of the photographs, drawn once and kept."""
    settings = json.dumps({"seed": seed, "count": count, "size": size, "photographs": digest(seen)})
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            if str(file["told"]) != settings:
                raise SystemExit(
                    f"{path} holds leaves of other settings or photographs: remove it, and they are drawn again"
                )
            kept: Pixels = file["leaves"]
        return kept
    with ProcessPoolExecutor(jobs, initializer=_give, initargs=(seen,)) as pool:
        images = np.stack(list(pool.map(_leaf, [seed] * count, range(count), [size] * count, chunksize=16)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez(temporary, leaves=images, told=settings)
    temporary.replace(path)
    return images


_PHOTOGRAPHS: list[Pixels] = []  # of a worker process


def _give(seen: list[Pixels]) -> None:
    _PHOTOGRAPHS[:] = seen


def _leaf(seed: int, i: int, size: int) -> Pixels:
    return leaf(seed, i, size, photographs=_PHOTOGRAPHS)


def command(given: argparse.Namespace) -> str:
    """The call that makes the same weights, without the folders of this machine."""
    words = ["python", "scripts/train_prior.py"]
    for name in ("out", "steps", "batch", "crop", "widths", "seed", "photographs", "share", "leaves"):
        value = getattr(given, name)
        if value is not None:
            values = value if isinstance(value, list) else [value.name if isinstance(value, Path) else value]
            words += [f"--{name}", *map(str, values)]
    return shlex.join(words)


def parse() -> argparse.Namespace:
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
    parser.add_argument(
        "--leaves", type=int, default=LEAVES, help="images of dead leaves, of 1.5 times the crop's size"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that draw the dead leaves")
    parser.add_argument("--stop-after", type=int, help="stop, resumably, after so many steps of this call")
    parser.add_argument("--save-every", type=int, default=500)
    return parser.parse_args()


def main() -> None:
    given = parse()
    pictures, origin = photographs(given.photographs)
    images, held_out = set_apart(pictures)
    small = [i for i in (*images, *held_out) if min(i.shape[:2]) < given.crop]
    if small:
        raise SystemExit(f"{len(small)} photographs are smaller than the crop of {given.crop} pixels; lower --crop")
    if not held_out:
        raise SystemExit(f"{len(pictures)} photographs; expected at least 6, so that some can be set apart")
    place = given.out.with_suffix(".leaves.npz")
    leaves = bank(
        place, images, seed=given.seed, count=given.leaves, size=given.crop + given.crop // 2, jobs=given.jobs
    )
    data = TrainingImages(photographs=images, held_out=held_out, leaves=leaves, size=given.crop, share=given.share)
    config = {"widths": given.widths, "exponent": 1.3}
    plan = Plan(given.steps, given.batch, given.crop, seed=given.seed, config=config, data=data.describe())
    training = Training(plan, data.draw)
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
            print(f"step {training.done}: loss {mean:.4f} (Wiener = 1), {each:.2f} CPU-s per step", flush=True)
    clean = np.stack([data.unseen(np.random.default_rng([2**31, i])) for i in range(256)])
    errors = clean_errors(training.averaged(), torch.from_numpy(clean).permute(0, 3, 1, 2))
    print(json.dumps(errors, indent=1))
    record = {
        **origin,
        "errors_of_held_out_images": errors,
        "command": command(given),
        "torch": torch.__version__,
    }
    training.export(given.out, record)
    print(f"wrote {given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
