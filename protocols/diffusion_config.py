"""Section ``[diffusion]`` of a project.toml: the prior that images are sampled from, and how far they are guided (docs/diffusion.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ._config_section import Count, Section


class DiffusionConfig(Section):
    """Section ``[diffusion]``: how images are sampled from a prior, where the generator is "diffusion"."""

    prior: str = Field(
        default="natural64",
        min_length=1,
        description='[name] "natural64" (trained, in the package), "spectral" (1/f, no weights), a file of weights or a folder of a diffusers '
        "model, relative to this folder, or a hub id such as google/ddpm-church-256.",
    )
    strength: Literal["weak", "natural", "strong", "optimum"] | Annotated[float, Field(ge=0)] = Field(
        default="natural",
        description="[posterior standard deviations] How far a step is guided: weak 0.1, natural 0.3, strong 0.6, optimum 1; 0: a sample of the prior.",
    )
    method: Literal["guided", "guided_fast"] = Field(
        default="guided",
        description='[name] "guided": gradient through the prior\'s network; "guided_fast": at its clean estimate, in about half the time.',
    )
    solver: Literal[
        "",
        "ddim",
        "ancestral",
        "coarse_to_fine",
        "ddpm",
        "dpm",
        "dpm_single",
        "unipc",
        "euler",
        "euler_ancestral",
        "heun",
        "deis",
        "lms",
    ] = Field(
        default="",
        description='[name] From noise to image; "": ancestral (fresh noise in every step), for a blind denoiser coarse_to_fine.',
    )
    steps: Count = Field(default=50, description="[count] Noise levels from noise to image.")
    size_px: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        default=None,
        description="[px] Shorter side of what the prior samples, then scaled to the display; left out: what suits the prior.",
    )
    noise_schedule: Literal["", "linear", "scaled_linear", "squaredcos_cap_v2"] = Field(
        default="",
        description="[name] Noise levels of a network saved without its scheduler, 1000 of them, epsilon prediction.",
    )
    prompt: str = Field(
        default="", description="[text] For a diffusers model that attends to text; needs the transformers package."
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="[number format] Of a diffusers model's network; the others are float32."
    )
    save_memory: bool = Field(
        default=False,
        description="[true or false] Gradient checkpointing and VAE slicing of a diffusers model: less memory, more time.",
    )
