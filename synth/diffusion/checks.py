"""Checks of the arguments of `guide`, and what it asks of a prior, before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from synth.contract import Images, check_shape, draw
from synth.priors.prior import Prior
from synth.probe import ask, check_weights
from synth.steady import check_frozen, tensor_of, watched

from .run import Run

__all__ = ["ask_prior", "check_run", "image_shape"]

PROBES = 2


def ask_prior(prior: Prior, device: torch.device) -> None:
    """Ask a prior five times for clean estimates of at most 2 noisy images, and five times to decode them.

    Raises
    ------
    ValueError
        Training mode, chance, answers that depend on the other images, a changed buffer, another shape. The message
        says how to mend it.
    """
    check_frozen(prior, "prior")
    check_weights(prior, "prior")
    sigma = math.sqrt(prior.sigmas[0] * prior.sigmas[1])
    noisy = sigma * draw([torch.Generator().manual_seed(i) for i in range(PROBES)], prior.shape).to(device)

    def denoised(x: Tensor) -> Tensor:
        clean = tensor_of(prior(x, x.new_full((len(x),), sigma)), "prior", "of clean values (B, C, H, W)")
        if clean.shape != x.shape:
            raise ValueError(f"the prior gives clean values of shape {tuple(clean.shape)}; expected {tuple(x.shape)}")
        return clean

    def decoded(clean: Tensor) -> Tensor:
        images = tensor_of(prior.decode(clean), "prior's decoder", "of images (B, C, H, W)")
        if images.dim() != 4 or len(images) != len(clean):
            raise ValueError(
                f"the prior decodes to images of shape {tuple(images.shape)}; expected ({len(clean)}, C, H, W)"
            )
        return images

    try:
        with watched(prior, "prior", device), torch.no_grad():
            clean = denoised(noisy[:1])
            decoded(clean)
    except (ValueError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a network of unknown origin may raise anything
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"the prior fails on x of shape {('B', *prior.shape)}, float32, on {device}: {first}. Likely cause: "
            "weights of another floating-point type or on another device; prior.float(), or give guide a device="
        ) from error
    clean = ask(denoised, noisy, what="prior", watch=prior)
    ask(decoded, clean, what="prior's decoder", watch=prior)


def image_shape(
    shape: Sequence[int] | None, constraints: Sequence[Images], prior: Prior, *, device: torch.device
) -> tuple[int, int, int]:
    """(C, H, W) of the images: as given, else that of the constraints, else that of the decoded prior.

    Raises
    ------
    ValueError
        A constraint for images of another shape, or no shape of grey or RGB images.
    """
    wanted = shape
    for constraint in constraints:
        own = getattr(constraint, "shape", None)
        if own is not None and wanted is not None and tuple(own) != tuple(wanted):
            raise ValueError(
                f"a constraint for images of {tuple(own)}, but {tuple(wanted)} elsewhere; expected one shape"
            )
        wanted = own if wanted is None else wanted
    if wanted is None:
        with torch.no_grad():
            wanted = prior.decode(torch.zeros(1, *prior.shape, dtype=torch.float32, device=device)).shape[1:]
    return check_shape(wanted)


def check_run(run: Run, rows: int, seeds: Sequence[int], *, batch_size: int | None) -> None:
    """Refuse counts below 1, a window that is none, and no images at all.

    Raises
    ------
    ValueError
    """
    for name, value in {"steps": run.steps, "repeats": run.travel.repeats, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if not run.travel.window[0] < run.travel.window[1]:
        raise ValueError(f"window {run.travel.window}; expected (lowest, highest) noise level")
    if not seeds or not rows:
        raise ValueError(
            f"nothing to make: {'no seeds' if rows else 'an objective without rows'}; expected at least one"
        )
