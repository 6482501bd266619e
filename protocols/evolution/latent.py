"""The latent that ``[evolution]`` of project.toml names."""

from __future__ import annotations

from protocols.project.folder import Project
from protocols.synthesis.priors import open_prior
from synth.evolution.latents import FourierCode, Latent, PriorNoise


def open_latent(project: Project, *, device: str = "cpu") -> Latent:
    """What is evolved for the display of `project`: Fourier coefficients, or the initial noise of its prior."""
    settings, shape = project.config.evolution, project.display.shape
    if settings.latent == "prior":
        prior = open_prior(project.config.diffusion, shape, project.folder)
        return PriorNoise(prior, shape, device=device)
    finest = (min(shape[1:]) - 1) // 2
    return FourierCode(shape, cutoff=min(settings.cutoff, finest))
