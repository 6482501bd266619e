"""Diffusion models in the format of the diffusers library as priors: a hub id, or a folder on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .conditions import check_conditions, check_embedding, latent_statistics
from .loading import component, diffusers_library, embed, hub_answers, index_of, noise_levels
from .weights import check_finite

__all__ = ["pretrained"]

NETWORKS = ("UNet2DModel", "UNet2DConditionModel")
DECODERS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PIXEL_LIMITS = (-1.2, 1.2)
SNAP = 1e-3  # of a time step: below it, a time is one of those that the network was trained at


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def pretrained(
    source: str | Path,
    *,
    prompt: str | None = None,
    embedding: Tensor | None = None,
    label: int | None = None,
    noise_schedule: Mapping[str, Any] | None = None,
    size: int | tuple[int, int] | None = None,
    dtype: str = "float32",
    gradient_checkpointing: bool = False,
    vae_slicing: bool = False,
    vae_tiling: bool = False,
    revision: str | None = None,
    variant: str | None = None,
    local_files_only: bool = False,
) -> Pretrained:
    """A U-Net, with its scheduler's noise levels and its VAE where it has one, by `from_pretrained`.

    Parameters
    ----------
    source : hub id or folder
        A saved pipeline (model_index.json; components unet, scheduler, vae or vqvae, text_encoder, tokenizer), or a
        saved U-Net alone (config.json), which needs `noise_schedule`. Components: `UNet2DModel`, networks of learned
        variance included (its half of the output is not used), `UNet2DConditionModel`; `AutoencoderKL`,
        `AutoencoderTiny`, `VQModel`.
    prompt : str, or None
        For networks that attend to text; None = the empty prompt. Needs the transformers package.
    embedding : Tensor of shape (1, L, D), or None
        Text embedding made elsewhere, instead of a prompt.
    label : int, or None
        For networks that take a class.
    noise_schedule : dict, or None
        Configuration of a `DDPMScheduler` (beta_schedule, beta_start, prediction_type, ...), where the source has none.
    size : int or (int, int), or None
        Height and width of x; None = what the network was trained at.
    dtype : "float32" | "float16" | "bfloat16"
        Of the network; x stays in float32, and a VAE that overflows in float16 too.
    gradient_checkpointing, vae_slicing, vae_tiling : bool
        Less memory for more time; tiling leaves seams.
    revision, variant, local_files_only : as in `from_pretrained`
        Where a folder holds the weights of one variant alone, such as "fp16", those are taken.

    Raises
    ------
    ValueError
        A source that cannot be read whole (missing, cut or damaged files, missing weights, NaN), a network of another
        kind or one that needs more than noise and text, arguments that it does not take. The message says how to mend
        it.
    """
    if dtype not in TYPES:
        raise ValueError(f"dtype {dtype!r}; expected one of {', '.join(TYPES)}")
    source = str(source)
    near = local_files_only or not (Path(source).is_dir() or hub_answers())
    options = {
        "local_files_only": near,
        "revision": revision,
    }  # without a network, what was downloaded earlier, at once
    with warnings.catch_warnings():  # of the hub's library, about what diffusers asks of it
        warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument")
        index = index_of(source, options)
        network = component(source, index, "unet", known=NETWORKS, options=options, variant=variant)
        decoder_name = next((name for name in ("vae", "vqvae") if (index.get(name) or [None])[0]), None)
        decoder = (
            None
            if decoder_name is None
            else component(source, index, decoder_name, known=DECODERS, options=options, variant=variant)
        )
        schedule = noise_levels(source, index, noise_schedule, options=options)
    check_conditions(source, network.config)
    attends = type(network).__name__ == "UNet2DConditionModel"
    if not attends and (prompt is not None or embedding is not None):
        raise ValueError(f"a text for {source!r}, whose {type(network).__name__} takes no text; leave it out")
    if prompt is not None and embedding is not None:
        raise ValueError(f"prompt {prompt!r} and an embedding; expected one of them")
    if attends and embedding is None:
        embedding = embed(source, index, prompt or "", options=options)
    if embedding is not None:
        check_embedding(source, embedding, network.config.encoder_hid_dim or network.config.cross_attention_dim)
    prior = Pretrained(
        source, network, decoder, schedule=schedule, embedding=embedding, label=label, size=size, dtype=dtype
    )
    if gradient_checkpointing:
        prior.network.enable_gradient_checkpointing()
    for wanted, option in ((vae_slicing, "enable_slicing"), (vae_tiling, "enable_tiling")):
        if wanted and decoder is None:
            raise ValueError(f"{option} is asked of {source!r}, which has no VAE; leave it out")
        if wanted:
            getattr(decoder, option)()
    if gradient_checkpointing and decoder is not None and getattr(decoder, "_supports_gradient_checkpointing", False):
        decoder.enable_gradient_checkpointing()
    return prior


class Pretrained(nn.Module):
    """See `pretrained`."""

    embedding: Tensor | None
    latents_mean: Tensor | None
    latents_sd: Tensor | None
    network: Any
    decoder: Any

    def __init__(
        self,
        source: str,
        network: Any,
        decoder: Any,
        *,
        schedule: Any,
        embedding: Tensor | None,
        label: int | None,
        size: int | tuple[int, int] | None,
        dtype: str,
    ) -> None:
        super().__init__()
        self.source, self.label, self.dtype_name = source, label, dtype
        self.network = nn.Module.to(network, TYPES[dtype]).eval().requires_grad_(False)
        self.decoder = (
            None
            if decoder is None
            else nn.Module.to(decoder, _decoder_type(decoder, dtype)).eval().requires_grad_(False)
        )
        for part in (self.network, *(() if decoder is None else (self.decoder,))):
            overflow = f"Likely cause: {dtype} cannot hold them; use dtype bfloat16 or float32"
            check_finite(part.named_parameters(), f"{type(part).__name__} of {source!r} in {dtype}", overflow)
        latents = None if decoder is None else latent_statistics(source, decoder.config)
        for name, values in zip(("latents_mean", "latents_sd"), latents or (None, None), strict=True):
            self.register_buffer(name, values, persistent=False)  # (1, C, 1, 1)
        self.register_buffer("embedding", embedding)
        self.scheduler_config = {**schedule.config}
        self.prediction = str(getattr(schedule.config, "prediction_type", None))
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"{source!r} predicts {self.prediction!r}; expected one of {', '.join(PREDICTIONS)}")
        kept = schedule.alphas_cumprod.double().clamp(1e-8, 1 - 1e-8)
        self.log_sigmas = ((1 - kept) / kept).log() / 2  # (T,), rising; float64, on the CPU
        if len(kept) < 2 or not bool((self.log_sigmas.diff() >= 0).all()):
            raise ValueError(f"the noise levels of {source!r} do not rise with time; expected those of a training")
        self.sigmas = (float(self.log_sigmas[0].exp()), float(self.log_sigmas[-1].exp()))
        self.shape = self._shape(size)
        self._check_label()

    @property
    def sd(self) -> float:
        """SD of clean values: 1 for scaled latent codes, 0.5 for pixels in [-1, 1]."""
        return 0.5 if self.decoder is None else 1.0

    @property
    def limits(self) -> tuple[float, float] | None:
        """Pixels in [-1, 1] may exceed their range a little; latent codes have none."""
        return PIXEL_LIMITS if self.decoder is None else None

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean estimate (B, *shape) of `x` (B, *shape) at the noise levels `sigma` (B,)."""
        sigmas = sigma.view(-1, 1, 1, 1)
        norm = (1 + sigmas**2).sqrt()
        inputs = x / norm  # as in training: sqrt(abar) clean + sqrt(1 - abar) noise
        predicted = self._network(inputs, self.times(sigma))[:, : x.shape[1]]  # the rest is a learned variance
        if self.prediction == "epsilon":
            return x - sigmas * predicted
        if self.prediction == "sample":
            return predicted
        return inputs / norm - (sigmas / norm) * predicted

    def times(self, sigma: Tensor) -> Tensor:
        """Times (B,) of noise levels: linear in log sigma between those of training (Karras et al. 2022, app. C)."""
        wanted = sigma.detach().double().cpu().log()
        upper = torch.searchsorted(self.log_sigmas, wanted).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[upper - 1], self.log_sigmas[upper]
        time = (upper - 1 + (wanted - low) / (high - low)).clamp(0, len(self.log_sigmas) - 1)
        time = torch.where((time - time.round()).abs() < SNAP, time.round(), time)
        return time.to(sigma.device, torch.float32)

    def decode(self, clean: Tensor) -> Tensor:
        """Images (B, C, H, W) of clean values, through the VAE where there is one."""
        if self.decoder is None:
            return (clean + 1) / 2
        config = self.decoder.config
        if self.latents_mean is not None and self.latents_sd is not None:
            code = clean * self.latents_sd / config.scaling_factor + self.latents_mean
        else:
            code = clean / config.get("scaling_factor", 1.0) + (config.get("shift_factor") or 0.0)
        decoded: Tensor = self.decoder.decode(code.to(next(self.decoder.parameters()).dtype)).sample
        return (decoded.float() + 1) / 2

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {
            "name": "pretrained",
            "source": self.source,
            "network": type(self.network).__name__,
            "decoder": None if self.decoder is None else type(self.decoder).__name__,
            "weights": self.fingerprint,
            "prediction": self.prediction,
            "sigmas": list(self.sigmas),
            "shape": list(self.shape),
            "dtype": self.dtype_name,
            "label": self.label,
            "embedding": None if self.embedding is None else _weights_digest([self.embedding]),
            "diffusers": diffusers_library().__version__,
            "knows": "what its training images show, their biases included; see the model's own card and licence",
        }

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all weights."""
        return _weights_digest(
            [*self.network.parameters(), *([] if self.decoder is None else self.decoder.parameters())]
        )

    def _network(self, inputs: Tensor, times: Tensor) -> Tensor:
        weights = TYPES[self.dtype_name]
        arguments: dict[str, Any] = {}
        if self.embedding is not None:
            arguments["encoder_hidden_states"] = self.embedding.expand(len(inputs), -1, -1).to(weights)
        if self.label is not None:
            arguments["class_labels"] = torch.full((len(inputs),), self.label, device=inputs.device)
        predicted: Tensor = self.network(inputs.to(weights), times, **arguments).sample
        return predicted.float()

    def _shape(self, size: int | tuple[int, int] | None) -> tuple[int, int, int]:
        channels, trained = int(self.network.config.in_channels), self.network.config.sample_size
        expected = 3 if self.decoder is None else int(self.decoder.config.latent_channels)
        if channels != expected and not (self.decoder is None and channels == 1):
            raise ValueError(
                f"the U-Net of {self.source!r} takes {channels} channels; expected "
                f"{expected}{' or 1' if self.decoder is None else ''}. Likely cause: an inpainting or upscaling model, "
                "which needs a second image"
            )
        chosen = trained if size is None else size
        if chosen is None:
            raise ValueError(f"the U-Net of {self.source!r} does not say at which size it was trained; give size=")
        height, width = (chosen, chosen) if isinstance(chosen, int) else tuple(chosen)
        return channels, int(height), int(width)

    def _check_label(self) -> None:
        classes = getattr(self.network.config, "num_class_embeds", None)
        if (classes is None) != (self.label is None):
            takes = "no class" if classes is None else f"one of {classes} classes"
            raise ValueError(f"label {self.label} for {self.source!r}, which takes {takes}")
        if classes is not None and self.label is not None and not 0 <= self.label < classes:
            raise ValueError(f"label {self.label} for {self.source!r}; expected 0 to {classes - 1}")


def _decoder_type(decoder: Any, dtype: str) -> torch.dtype:
    upcast = dtype == "float16" and getattr(decoder.config, "force_upcast", False)
    return torch.float32 if upcast else TYPES[dtype]


def _weights_digest(tensors: Sequence[Tensor]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of tensors as float32, whatever their type."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
