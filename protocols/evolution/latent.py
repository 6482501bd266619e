"""The latent that ``[evolution]`` of project.toml names."""

from __future__ import annotations

from protocols.project.folder import Project
from protocols.synthesis.evolution import EvolutionOptions
from protocols.synthesis.evolution import open_latent as opened
from synth.evolution.latents import Latent


def open_latent(project: Project, *, device: str = "cpu") -> Latent:
    """What is evolved for the display of `project`: Fourier coefficients, the noise of a prior, or a decoder's latents.

    Raises
    ------
    DataError
        V10: it cannot be opened, or has no way back from an image to start from.
    """
    settings = project.config.evolution
    file = project.folder / settings.latent
    options = EvolutionOptions(
        latent=str(file) if file.is_file() else settings.latent,
        cutoff=settings.cutoff,
        hybrid=settings.start != "noise",
    )
    return opened(project, options, device=device)
