"""Diffusion models in the format of the diffusers library as priors: a hub id, or a folder on disk."""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
    revision, local_files_only : as in `from_pretrained`
    """
    if dtype not in TYPES:
        raise ValueError(f"dtype {dtype!r}; expected one of {', '.join(TYPES)}")
    source = str(source)
    near = local_files_only or not (Path(source).is_dir() or _hub_answers())
    options = {
        "local_files_only": near,
        "revision": revision,
    }  # without a network, what was downloaded earlier, at once
    with warnings.catch_warnings():  # of the hub's library, about what diffusers asks of it
        warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument")
        index = _index(source, options)
        network = _component(source, index, "unet", known=NETWORKS, options=options)
        decoder_name = next((name for name in ("vae", "vqvae") if (index.get(name) or [None])[0]), None)
        decoder = (
            None if decoder_name is None else _component(source, index, decoder_name, known=DECODERS, options=options)
        )
        schedule = _noise_levels(source, index, noise_schedule, options=options)
    attends = type(network).__name__ == "UNet2DConditionModel"
    if not attends and (prompt is not None or embedding is not None):
        raise ValueError(f"a text for {source!r}, whose {type(network).__name__} takes no text; leave it out")
    if prompt is not None and embedding is not None:
        raise ValueError(f"prompt {prompt!r} and an embedding; expected one of them")
    if attends and embedding is None:
        embedding = _embed(source, index, prompt or "", options=options)
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
        self.register_buffer("embedding", embedding)
        self.scheduler_config = {**schedule.config}
        self.prediction = str(schedule.config.prediction_type)
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"{source!r} predicts {self.prediction!r}; expected one of {', '.join(PREDICTIONS)}")
        kept = schedule.alphas_cumprod.double().clamp(1e-8, 1 - 1e-8)
        self.log_sigmas = ((1 - kept) / kept).log() / 2  # (T,), rising; float64, on the CPU
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
            "diffusers": _diffusers().__version__,
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


def _diffusers() -> Any:
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise ValueError(
            "diffusers is not installed; it is an optional extra: pip install 'stimsynth[diffusion]'. The embedded "
            "priors (`spectral`, `blind`) do without it"
        ) from error


def _index(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Component -> [library, class] of a saved pipeline; of a U-Net alone, that under the name ""."""
    folder = Path(source)
    if folder.is_dir():
        for name in ("model_index.json", "config.json"):
            if (folder / name).is_file():
                content = json.loads((folder / name).read_text(encoding="utf-8"))
                return dict(content) if name == "model_index.json" else {"": ["diffusers", content.get("_class_name")]}
        raise ValueError(
            f"the folder {source} holds neither model_index.json (a pipeline) nor config.json (a U-Net); expected what "
            "save_pretrained of diffusers writes"
        )
    diffusers = _diffusers()
    try:
        return dict(diffusers.DiffusionPipeline.load_config(source, **options))
    except (OSError, ValueError):
        pass  # perhaps a U-Net alone
    try:
        return {"": ["diffusers", diffusers.UNet2DModel.load_config(source, **options).get("_class_name")]}
    except (OSError, ValueError) as error:
        raise _unreachable(source, error) from error


def _hub_answers() -> bool:
    """Whether the model hub can be reached: asked once, since its library would try again for a minute."""
    _diffusers()  # says what to install, where it is missing
    utils, constants = (importlib.import_module(f"huggingface_hub.{name}") for name in ("utils", "constants"))
    try:
        utils.get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever library it uses for HTTP; offline mode too
        return False
    return True


def _unreachable(source: str, error: Exception) -> ValueError:
    return ValueError(
        f"{source!r} is no folder here, and the model hub gave nothing under that name: no network, a network that "
        f"does not reach the hub, or a name that is wrong or withdrawn ({str(error).splitlines()[0]}). Way out: a "
        "folder with the downloaded model, or an embedded prior, such as synth.priors.spectral(shape)"
    )


def _component(
    source: str, index: Mapping[str, Any], name: str, *, known: Sequence[str], options: Mapping[str, Any]
) -> Any:
    """One network, by the class that the index names; nothing but the known classes is ever loaded."""
    alone = "" in index
    _, class_name = index[""] if alone else (index.get(name) or (None, None))
    if class_name not in known:
        raise ValueError(f"{name} of {source!r} is of class {class_name}; expected one of {', '.join(known)}")
    place = {} if alone else {"subfolder": name}
    try:
        return getattr(_diffusers(), str(class_name)).from_pretrained(source, **place, **options)
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise ValueError(f"{name} of {source!r} cannot be loaded: {str(error).splitlines()[0]}") from error
        raise _unreachable(source, error) from error


def _noise_levels(
    source: str, index: Mapping[str, Any], given: Mapping[str, Any] | None, *, options: Mapping[str, Any]
) -> Any:
    """A scheduler that knows the noise levels of training, and what the network predicts."""
    diffusers = _diffusers()
    if given is not None:
        return diffusers.DDPMScheduler(**given)
    if "scheduler" not in index:
        raise ValueError(
            f"{source!r} is a U-Net without a scheduler, so its noise levels are not known; give noise_schedule=, such "
            "as "
            "{'beta_schedule': 'linear', 'prediction_type': 'epsilon'}"
        )
    _, class_name = index["scheduler"]
    kind = getattr(diffusers, str(class_name), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise ValueError(f"the scheduler of {source!r} is of class {class_name}, which diffusers does not have")
    scheduler: Any = kind
    loaded = scheduler.from_pretrained(source, subfolder="scheduler", **options)
    if not hasattr(loaded, "alphas_cumprod"):
        raise ValueError(
            f"the scheduler of {source!r} is {class_name}, a flow-matching or continuous one; expected a discrete-time "
            "schedule with alphas_cumprod (DDPM, DDIM, DPM-Solver, UniPC, Euler, Heun, DEIS, LMS)"
        )
    return loaded


def _embed(source: str, index: Mapping[str, Any], prompt: str, *, options: Mapping[str, Any]) -> Tensor:
    """The text encoder's last hidden states (1, L, D) of a prompt."""
    if "text_encoder" not in index or "tokenizer" not in index:
        raise ValueError(f"{source!r} attends to text but holds no text encoder; give embedding=, a tensor (1, L, D)")
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(
            f"{source!r} attends to text, and to embed a prompt, the empty one included, the transformers package is "
            "needed: pip install transformers. Or give embedding=, a tensor (1, L, D) made elsewhere"
        ) from error
    tokenizer = transformers.CLIPTokenizer.from_pretrained(source, subfolder="tokenizer", **options)
    encoder = transformers.CLIPTextModel.from_pretrained(source, subfolder="text_encoder", **options).eval()
    tokens = tokenizer(
        prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        states: Tensor = encoder(tokens.input_ids)[0]
    return states
