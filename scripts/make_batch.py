"""A batch for tomorrow: controllers of the first sites from a project's encoder, judged by its validator.

Run: python scripts/make_batch.py demo/project tomorrow.h5 [--sites 2] [--seeds 2] [--steps 60] [--device cuda]
"""

import argparse

from protocols import Project
from protocols.models.pair import load_pair
from synth import ascend, fourier, one_hot, stretch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("project")
parser.add_argument("out")
parser.add_argument("--sites", type=int, default=2)
parser.add_argument("--seeds", type=int, default=2)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--device", default="cpu")
given = parser.parse_args()

project = Project.open(given.project)
if project.fitted_for(1) is None:
    parser.error(f"{given.project} has no encoder yet: run `stimsynth fit {given.project}`")
encoder, validator = load_pair(project, 1)
sites = encoder.target_ids[: given.sites]
batch = ascend(
    encoder.to(given.device),
    stretch(sites) | one_hot(sites),
    fourier(project.display.shape),
    constraints=project.display.constraints(rms=0.18),
    seeds=range(given.seeds),
    steps=given.steps,
    device=given.device,
)
best = batch.validate(validator.to(given.device)).best_per_target()
best.save(given.out)
for i, judged in enumerate(best.validator_scores if best.validator_scores is not None else best.scores):
    print(f"{best.row_names[i]:<24} encoder {best.scores[i]:6.2f}   validator {judged:6.2f}   (standardised units)")
