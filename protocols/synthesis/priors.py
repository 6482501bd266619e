"""Opening the prior of guided diffusion that a project names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from protocols.errors import DataError
from protocols.project.config.synthesis import DiffusionConfig
from synth.diffusion import coarse_to_fine, ddim, scheduler
from synth.priors import Prior, blind, natural, pretrained, spectral

LARGEST = 128  # pixels per side of what the trained prior samples: its receptive field covers no more
MULTIPLE = 16  # what its levels halve
LATENT_MULTIPLE = 8  # what those of most diffusers models do


def open_prior(settings: DiffusionConfig, shape: tuple[int, int, int], folder: Path) -> Prior:
    """The prior that `settings` name, for images of `shape` (C, H, W); paths are relative to `folder`.

    Raises
    ------
    DataError
        G01: no such prior, or a file or folder that is none.
    """
    name, (channels, height, width) = settings.prior, shape
    path = folder / name
    model = path.is_dir() or (not path.is_file() and "/" in name)
    if settings.noise_schedule and not model:
        raise _no_prior(name, f"noise_schedule {settings.noise_schedule!r}, which only a diffusers model takes")
    try:
        if name == "spectral":
            return spectral((channels, *scaled(height, width, settings.size_px)))
        if name == "natural64":
            return natural(shape=(3, *trained_size(height, width, settings.size_px)))
        if path.is_file():
            if path.suffix == ".safetensors" and _is_natural(path):
                return natural(path, (3, *trained_size(height, width, settings.size_px)))
            return blind(path, scaled(height, width, settings.size_px))
        if model:
            return _diffusers_model(settings, (height, width), path if path.is_dir() else None)
    except (ValueError, OSError, ImportError, KeyError, TypeError, RuntimeError) as error:
        raise _no_prior(name, str(error) if str(error) else type(error).__name__) from error
    raise _no_prior(name, "no such name, file or folder")


def _diffusers_model(settings: DiffusionConfig, display: tuple[int, int], folder: Path | None) -> Prior:
    """A model of a folder or the hub, at its own size, or at one of the display's proportions; tried once where the
    size is not its own.
    """
    schedule = {"beta_schedule": settings.noise_schedule} if settings.noise_schedule else None
    source = settings.prior if folder is None else folder
    options: dict[str, Any] = {"noise_schedule": schedule, "prompt": settings.prompt or None, "dtype": settings.dtype}
    prior = pretrained(source, **options)
    if settings.size_px is not None or display[0] != display[1]:
        short = min(prior.shape[1:]) if settings.size_px is None else settings.size_px
        prior = pretrained(source, **options, size=scaled(*display, short, multiple=LATENT_MULTIPLE))
        with torch.no_grad():
            prior(torch.zeros(1, *prior.shape), torch.full((1,), prior.sigmas[0]))
    if settings.save_memory:
        prior.network.enable_gradient_checkpointing()
        if prior.decoder is not None:
            prior.decoder.enable_slicing()
    if folder is not None:
        prior.source = portable(settings.prior)
    return prior


def portable(prior: str) -> str:
    """The name of a prior without the folders of this machine; the digest of its weights identifies it."""
    return Path(prior).name if Path(prior).is_absolute() else prior


def solver(name: str, prior: Prior) -> Any:
    """The solver `name`; "" = what suits the prior."""
    if not name:
        name = "coarse_to_fine" if getattr(prior, "blind", False) else "ancestral"
    if name == "coarse_to_fine":
        return coarse_to_fine()
    return ddim(1.0 if name == "ancestral" else 0.0) if name in ("ddim", "ancestral") else scheduler(name)


def scaled(height: int, width: int, size_px: int | None, *, multiple: int = 1) -> tuple[int, int]:
    """Height and width with the shorter side brought to `size_px` (None = as they are), both multiples of
    `multiple`.
    """
    factor = 1.0 if size_px is None else size_px / min(height, width)
    return tuple(max(multiple, multiple * math.ceil(round(factor * n) / multiple)) for n in (height, width))  # type: ignore[return-value]


def trained_size(height: int, width: int, size_px: int | None) -> tuple[int, int]:
    """What the trained prior samples for a display: as many pixels, but not more than it has learned to fill."""
    return scaled(height, width, min(height, width, LARGEST) if size_px is None else size_px, multiple=MULTIPLE)


def _is_natural(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return "prior" in (file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a safetensors file ({error})") from error


def _no_prior(name: str, found: str) -> DataError:
    fix = "name the embedded prior natural64, or copy the model's folder here and name that"
    if name == "natural64":
        fix = "install stimsynth again: its weights are part of the package; or use --prior spectral, which needs none"
    elif "noise_schedule" in found and "takes" in found:
        fix = "leave out noise_schedule (--noise-schedule)"
    elif "noise_schedule" in found:
        fix = (
            "say it with --noise-schedule linear, or noise_schedule in [diffusion]; or copy the folder of the whole "
            "pipeline"
        )
    return DataError(
        f"prior {name!r}",
        found=found,
        expected=(
            "natural64, spectral, a file of weights (.safetensors, .pt), a folder of a diffusers model, or a hub id "
            "such as owner/name"
        ),
        cause="a slip of the pen, a path relative to another folder, a missing package, or no network for a hub id",
        fix=fix,
        code="G01",
    )
