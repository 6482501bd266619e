"""Do the solvers sample a guided Gaussian as they should? Its mean and SD are known in closed form.

    python -m scripts.studies.guided_gaussian

A Gaussian prior (SD 0.5 of the clean values) and a linear objective: the distribution that the exact gradient guides to is the prior moved by
strength * SD^2 = 0.2 along the objective (`universal`). `guided` adds a step in posterior SDs, and moves the mean by strength * SD * arctan(sigma_max / SD)
= 0.1565 where no fresh noise is drawn, by 2 * strength * SD = 0.2 where it is. Printed: SD of unguided samples, and both shifts along the objective.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from synth.diffusion import ddim, scheduler
from synth.diffusion.methods import guided, universal
from synth.diffusion.schedulers import CLASSES
from synth.diffusion.solvers import Solver
from tests.synth.helpers.gaussian_prior import samples

PATTERN = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
PATTERN = PATTERN / PATTERN.square().mean().sqrt()
HEADS = (
    "solver",
    "SD of samples (0.5)",
    "exact tilt, shift (0.2)",
    "`guided`, shift (0.1565 deterministic, 0.2 with fresh noise)",
)


def linear(clean: Tensor) -> Tensor:
    """Objective: clean values (B, 3, 4, 4) -> (B,)."""
    return (clean * PATTERN).sum((1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--prediction", default="epsilon", choices=("epsilon", "sample", "v_prediction"))
    options = parser.parse_args()
    solvers: dict[str, Solver] = {"`ddim()`": ddim(), "`ddim(1)`": ddim(1.0)}
    for name in CLASSES:
        try:
            solvers[name] = scheduler(name, prediction_type=options.prediction)
            samples(solvers[name], steps=3, seeds=(0,))
        except ValueError as refused:  # by diffusers
            solvers.pop(name, None)
            print(refused, file=sys.stderr)
    lines = [HEADS, ("---",) * len(HEADS)]
    how = {"steps": options.steps, "seeds": range(options.samples)}
    for name, solver in solvers.items():
        plain = samples(solver, **how)
        shifts = [
            float(((samples(solver, method=method, strength=strength, score=linear, **how) - plain) * PATTERN).mean())
            for method, strength in ((universal(), 0.8), (guided(), 0.2))
        ]
        lines.append((name, f"{float(plain.std()):.3f}", *(f"{shift:.3f}" for shift in shifts)))
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
