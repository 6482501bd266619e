"""How images are made for an objective: by gradient ascent, or sampled from a prior; the same display, targets and
seeds either way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from encoders import Encoder, Ensemble
from protocols.progress import Reporter
from protocols.project.folder import Project
from synth import Objective, StimulusBatch, ascend, guide

from .priors import open_prior, portable, solver
from .request import Request

__all__ = ["GENERATORS", "make_part"]


GENERATORS = ("gradient", "diffusion")


def make_part(
    generator: str,
    project: Project,
    encoder: Encoder | Ensemble,
    *,
    objective: Objective,
    request: Request,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> StimulusBatch:
    """Images of all rows of `objective`, in this process."""
    asked: dict[str, Any] = {
        "seeds": request.seeds,
        "batch_size": request.batch_size,
        "device": device,
        "progress": progress,
    }
    if generator == "gradient":
        return ascend(
            encoder,
            objective,
            **request.recipe,
            **asked,
            steps=request.steps,
            keep_seeds=request.keep_seeds,
            budget_s=request.budget_s,
            snapshots=request.snapshots,
            start=request.start,
            start_ids=request.start_ids,
        )
    if generator != "diffusion":
        raise ValueError(f"generator {generator!r}; expected one of {', '.join(GENERATORS)}")
    settings = request.diffusion
    prior = open_prior(settings, request.shape, project.folder)
    batch = guide(
        encoder,
        objective,
        prior,
        method=settings.method,
        strength=settings.strength,
        solver=solver(settings.solver, prior),
        steps=settings.steps,
        constraints=request.recipe["constraints"],
        transforms=request.recipe["transforms"],
        **asked,
    )
    diffusion = settings.model_copy(update={"prior": portable(settings.prior)}).model_dump(mode="json")
    return replace(batch, settings={**batch.settings, "diffusion": diffusion})
