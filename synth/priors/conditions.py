"""What a diffusion model needs beside noise, read from its configuration: refused, or put where it belongs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["check_conditions", "check_embedding", "latent_statistics"]

# keys of a U-Net's configuration, the values that need no more than noise, a text and a class, and what others need
MORE: tuple[tuple[str, tuple[str | None, ...], str], ...] = (
    ("addition_embed_type", (None,), "added conditions: pooled text, sizes or images (Stable Diffusion XL, Kandinsky)"),
    ("encoder_hid_dim_type", (None, "text_proj"), "an embedded image (IP-Adapter, Kandinsky)"),
    ("class_embed_type", (None, "timestep"), "class embeddings made elsewhere (an upscaling or unCLIP model)"),
    ("time_cond_proj_dim", (None,), "the strength of a distilled guidance (a latent consistency model)"),
)


def check_conditions(source: str, config: Mapping[str, Any]) -> None:
    """Refuse a U-Net that needs more than noise, a text and a class.

    Raises
    ------
    ValueError
    """
    for key, without, needs in MORE:
        value = config.get(key)
        if value not in without:
            raise ValueError(
                f"the U-Net of {source!r} has {key} {value!r} and needs {needs}, which is not given here; expected one "
                "of noise, text or classes alone, such as Stable Diffusion 1 and 2, or a model of pixels (DDPM, ADM)"
            )


def check_embedding(source: str, embedding: Tensor, width: Any) -> None:
    """Refuse a text embedding that is not (1, L, D), finite, with the D that the U-Net attends to.

    Raises
    ------
    ValueError
    """
    widths = set(width) if isinstance(width, list | tuple) else {width}
    if (
        not isinstance(embedding, Tensor)
        or embedding.dim() != 3
        or len(embedding) != 1
        or embedding.shape[2] not in widths
    ):
        shape = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
        raise ValueError(
            f"embedding of shape {shape} for {source!r}; expected (1, L, {' or '.join(map(str, sorted(widths)))}): the "
            "text encoder that the model was trained with gives it"
        )
    if not bool(torch.isfinite(embedding).all()):
        raise ValueError(f"the embedding for {source!r} holds NaN or infinity; expected finite numbers")


def latent_statistics(source: str, config: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Mean and SD (1, C, 1, 1) of the latent codes of a VAE whose configuration has them; None where it has neither.

    Codes are then clean * SD / scaling_factor + mean, as in diffusers' pipelines (Playground 2.5).

    Raises
    ------
    ValueError
        One without the other, another number than of channels, a scaling that is not a number above 0, or a shift that
        is not a finite one.
    """
    scaling, channels = config.get("scaling_factor", 1.0), int(config.get("latent_channels") or 0)
    if (
        isinstance(scaling, bool)
        or not isinstance(scaling, int | float)
        or not (scaling > 0 and math.isfinite(scaling))
    ):
        raise ValueError(f"the VAE of {source!r} has scaling_factor {scaling!r}; expected a number above 0")
    shift = config.get("shift_factor")
    if shift is not None and (
        isinstance(shift, bool) or not isinstance(shift, int | float) or not math.isfinite(shift)
    ):
        raise ValueError(
            f"the VAE of {source!r} has shift_factor {shift!r}; expected a finite number, or null for none"
        )
    given = [config.get("latents_mean"), config.get("latents_std")]
    if given == [None, None]:
        return None
    fits = all(isinstance(v, list | tuple) and len(v) == channels for v in given)
    mean, sd = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) if fits else torch.zeros(1) for v in given)
    if not fits or not bool(torch.isfinite(mean).all()) or not bool((sd > 0).all()) or config.get("shift_factor"):
        raise ValueError(
            f"the VAE of {source!r} has latents_mean {given[0]}, latents_std {given[1]} and shift_factor "
            f"{config.get('shift_factor')}; expected a mean and an SD above 0 for each of {channels} channels, and no "
            "shift beside them"
        )
    return mean, sd
