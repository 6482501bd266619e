"""Sections ``[synthesis]`` and ``[diffusion]`` of project.toml: how controller images are made (docs/diffusion.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.project.objectives import DEFAULT, OBJECTIVES, ObjectiveName

from .section import Count, Fraction, Name, Section


class SynthesisConfig(Section):
    """Section ``[synthesis]``: how controller images are made."""

    objectives: tuple[ObjectiveName, ...] = Field(
        default=DEFAULT,
        strict=False,
        min_length=1,
        description="[names] " + "; ".join(f'"{o.name}": {o.description}' for o in OBJECTIVES.values()) + ".",
    )
    targets: Literal["all"] | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = Field(
        default="all", description='[site ids] Sites to control, or "all": every site above reliability_target.'
    )
    generator: Literal["gradient", "diffusion"] = Field(
        default="gradient",
        description=(
            '[name] "gradient": ascent from photographs or noise; "diffusion": guided samples of the prior of '
            "[diffusion], which look like the images that the prior knows. steps, learning_rate, decay, start and the"
            " graded images belong to the ascent."
        ),
    )
    seeds: Count = Field(
        default=1, description="[count] Images made for each target and objective, from different starts."
    )
    steps: Count = Field(default=60, description="[count] Gradient steps per image.")
    learning_rate: float = Field(
        default=0.05, gt=0, le=10, description="[step size of Adam] Step size for the image's parameters."
    )
    decay: float = Field(
        default=1.75,
        ge=0,
        le=4,
        description=(
            "[exponent] Fourier amplitudes are scaled by 1 / frequency to this power; higher: smoother images."
        ),
    )
    jitter_fraction: float = Field(
        default=0.07,
        ge=0,
        lt=0.5,
        description="[fraction of the image side] Largest random shift per step; it makes images robust.",
    )
    start: Literal["natural", "noise"] = Field(
        default="natural",
        description=('[name] "natural": start from the target\'s best photographs; "noise": from random images.'),
    )
    mean_luminance: Fraction | None = Field(
        default=None,
        description=(
            "[relative luminance, 0..1] Mean of every controller inside the aperture. Left out: the natural images' "
            "median."
        ),
    )
    rms_contrast: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None,
        description=(
            "[relative luminance, 0..0.5] Standard deviation of every controller inside the aperture. Left out: the "
            "natural images' median."
        ),
    )
    max_chroma: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description=(
            "[relative luminance, 0..1] Colour displays: largest distance of a channel's light from its pixel's "
            "luminance. Left out: that of the photographs (99th percentile of their pixels). 1: no limit; 0: grey."
        ),
    )
    kappa: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="[standard deviations] Caution: score = mean - kappa * SD over the encoder's members.",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="[natural standard deviations] Temperature of the one_hot softmax."
    )
    graded_steps: Annotated[tuple[Count, ...], Field(strict=False)] | None = Field(
        default=None,
        description=(
            "[gradient steps] Earlier iterates of each confirmatory controller that are shown too, to test whether "
            "responses rise with prediction. Left out: 7, 17 and 37 % of steps; []: none."
        ),
    )
    graded_repeats: Count = Field(
        default=8, description="[count] Presentations of each graded image, at most as many as of a controller."
    )
    accentuate_levels: int = Field(
        default=0,
        ge=0,
        le=50,
        description=(
            "[count] Levels, from 25 % below to 50 % above a target's natural range, to which photographs are changed "
            "by feature accentuation; they are graded images too, and their photographs are shown as well. 0: none."
        ),
    )
    accentuate_photographs: Count = Field(
        default=3, description="[count] Photographs of each target that are changed to these levels."
    )


def graded_steps(settings: SynthesisConfig) -> tuple[int, ...]:
    """Steps of the ascent whose iterates are shown as graded images: those of the configuration, else 4, 10 and 22 of
    60, to scale.
    """
    if settings.graded_steps is not None:
        return settings.graded_steps
    scaled = {round(step * settings.steps / 60) for step in (4, 10, 22)}
    return tuple(sorted(step for step in scaled if 0 < step < settings.steps))


class DiffusionConfig(Section):
    """Section ``[diffusion]``: how images are sampled from a prior, where the generator is "diffusion"."""

    prior: str = Field(
        default="natural64",
        min_length=1,
        description=(
            '[name] "natural64" (trained, in the package), "spectral" (1/f, no weights), a file of weights or a '
            "folder of a diffusers model (relative to this folder), or a hub id such as google/ddpm-church-256."
        ),
    )
    strength: Literal["weak", "natural", "strong", "optimum"] | Annotated[float, Field(ge=0)] = Field(
        default="natural",
        description=(
            "[posterior standard deviations] How far each step is guided: weak 0.1, natural 0.3, strong 0.6, optimum "
            "1. 0: a sample of the prior."
        ),
    )
    method: Literal["guided", "guided_fast"] = Field(
        default="guided",
        description=(
            '[name] "guided": gradient through the prior\'s network; "guided_fast": gradient at its clean estimate, in'
            " about half the time."
        ),
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
        description=(
            '[name] Solver from noise to image. "": ancestral (fresh noise in every step), or coarse_to_fine for a '
            "blind denoiser."
        ),
    )
    steps: Count = Field(default=50, description="[count] Noise levels from noise to image.")
    size_px: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        default=None,
        description=(
            "[px] Shorter side of the image that the prior samples, which is then scaled to the display. Left out: "
            "the size that suits the prior."
        ),
    )
    noise_schedule: Literal["", "linear", "scaled_linear", "squaredcos_cap_v2"] = Field(
        default="",
        description=(
            "[name] Noise levels of a network that was saved without its scheduler (1000 levels, epsilon prediction)."
        ),
    )
    prompt: str = Field(
        default="",
        description=("[text] Text for a diffusers model that attends to text; it needs the transformers package."),
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32",
        description=(
            "[number format] Number format of a diffusers model's network; other networks compute in float32."
        ),
    )
    save_memory: bool = Field(
        default=False,
        description=(
            "[true or false] Gradient checkpointing and VAE slicing of a diffusers model: less memory, more time."
        ),
    )
