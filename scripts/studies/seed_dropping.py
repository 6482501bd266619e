"""What it costs to drop the worst seeds early: the share of the gain of eight seeds that is left, and the share of the steps.

Eight seeds of every target are climbed to the end on the encoder of a project; who would have been kept after some steps is then
read from the scores at that step. Gains are in the score that is climbed: what the kept seeds reach less the mean seed, over the
best seed less the mean seed, both mean over targets. Beside it: as many plain seeds, mean over all choices of them.

Run: python scripts/studies/seed_dropping.py --benchmark V4 [--session 201025] [--sites 20] (the --out folder of scripts/studies/v4_benchmark.py). Five minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocols.arrays import Floats
from protocols.models.pair import load_pair, site_rows
from protocols.progress import Progress
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import gather
from protocols.recordings.natural import best_natural
from protocols.synthesis.request import natural_luminance
from synth import ascend, cautious, fourier, jitter, one_hot, stretch

SEEDS, STEPS, EVERY = 8, 60, 5
DROPPED = ((5, 2), (10, 1), (10, 2), (15, 2), (20, 2))  # steps, seeds kept
PLAIN = (2, 3, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument("--session", default="201025")
    parser.add_argument("--sites", type=int, default=20)
    options = parser.parse_args()
    project = Project.open(options.benchmark / f"project_{options.session}")
    heads = [f"{keep} after {after}: {(SEEDS * after + keep * STEPS) / (SEEDS * STEPS):.2f}" for after, keep in DROPPED]
    heads += [f"{n} plain: {n / SEEDS:.2f}" for n in PLAIN]
    print("share of the gain of eight seeds, by what is kept and its share of the steps")
    print(" " * 18 + "".join(f"{head:>17}" for head in heads))
    for objective, start in itertools.product(("stretch", "one_hot"), ("photographs", "noise")):
        shares = gains(traces(project, objective, from_photographs=start == "photographs", sites=options.sites))
        print(f"{objective + ', ' + start:<18}" + "".join(f"{share:>17.2f}" for share in shares), flush=True)


def traces(project: Project, objective: str, *, from_photographs: bool, sites: int) -> Floats:
    """Score of every target, seed and check, (sites, SEEDS, checks)."""
    encoder, _ = load_pair(project, 1)
    natural = NaturalImages.load(project.data).pixels()
    drawn = np.random.default_rng(0).permutation(len(encoder.target_ids))[:sites]
    targets = [encoder.target_ids[i] for i in sorted(drawn)]
    begin: dict[str, Any] = {}
    if from_photographs:
        data = gather(project, [])
        best = best_natural(
            data, Key((), tuple(site_rows(encoder))), targets, objectives=(objective,), count=SEEDS, temperature=1.0
        )
        pixels = np.stack([data.pixels[best[objective, t]] for t in targets])
        begin["start"] = torch.from_numpy(pixels).movedim(-1, -3).float() / 255
    declared = one_hot(targets) if objective == "one_hot" else stretch(targets)
    batch = ascend(
        encoder,
        cautious(declared, 0.5),
        fourier(project.display.shape, decay=1.75),
        seeds=range(SEEDS),
        steps=STEPS,
        check_every=EVERY,
        transforms=[jitter(0.07)],
        constraints=project.display.constraints(**natural_luminance(project.display, natural)),
        progress=Progress(),
        **begin,
    )
    return batch.trace.reshape(len(targets), SEEDS, -1).astype(np.float64)


def gains(trace: Floats) -> list[float]:
    """Share of the gain of all seeds over one, for `DROPPED` and then for `PLAIN` seeds."""
    reached = trace.max(2)
    whole = (reached.max(1) - reached.mean(1)).mean()
    reached_by = []
    for after, keep in DROPPED:
        kept = np.argsort(-trace[:, :, after // EVERY], 1)[:, :keep]
        reached_by.append(np.take_along_axis(reached, kept, 1).max(1))
    for n in PLAIN:
        choices = [reached[:, list(some)].max(1) for some in itertools.combinations(range(SEEDS), n)]
        reached_by.append(np.mean(choices, 0))
    return [float((f - reached.mean(1)).mean() / whole) for f in reached_by]


if __name__ == "__main__":
    main()
