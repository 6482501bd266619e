"""Models in the format of the diffusers library, from the hub or a folder: networks that hold all of their weights."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .weights import check_finite, check_stored, prefix_of, read_tensors

__all__ = ["component", "diffusers_library", "embed", "hub_answers", "index_of", "noise_levels"]

COMPONENTS = ("unet", "vae", "vqvae", "scheduler", "text_encoder", "tokenizer")
NAME = "diffusion_pytorch_model"
DAMAGED = "Likely cause: an incomplete copy, or a training that diverged; copy or download it again"


def diffusers_library() -> Any:
    """The diffusers library, imported; refused with what to install where it is missing."""
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise ValueError(
            "diffusers is not installed; it is an optional extra: pip install 'stimsynth[diffusion]'. The embedded "
            "priors (`spectral`, `blind`) do without it"
        ) from error


def index_of(source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Component -> [library, class] of a saved pipeline; of a U-Net alone, that under the name ""."""
    folder = Path(source)
    if folder.is_dir():
        for name in ("model_index.json", "config.json"):
            if (folder / name).is_file():
                content = _read_json(folder / name)
                alone = {"": ["diffusers", content.get("_class_name")]}
                return _entries(content, folder / name) if name == "model_index.json" else alone
        raise ValueError(
            f"the folder {source} holds neither model_index.json (a pipeline) nor config.json (a U-Net); expected what "
            "save_pretrained of diffusers writes"
        )
    diffusers = diffusers_library()
    try:
        content = dict(diffusers.DiffusionPipeline.load_config(source, **options))
    except (OSError, ValueError):
        pass  # perhaps a U-Net alone
    else:
        return _entries(content, source)
    try:
        return {"": ["diffusers", diffusers.UNet2DModel.load_config(source, **options).get("_class_name")]}
    except (OSError, ValueError) as error:
        raise unreachable(source, error) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON: {_first_line(error)}. Likely cause: an incomplete copy; copy it again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected an object, as save_pretrained writes it")
    return content


def _entries(content: dict[str, Any], source: str | Path) -> dict[str, Any]:
    """The components that an index names; a pipeline says by null that it has no such one."""
    for name in COMPONENTS:
        value = content.get(name)
        if value is not None and not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(f"{source} names {value!r} as {name}; expected [library, class], or null for none")
    return {name: value for name, value in content.items() if isinstance(value, list | tuple) and len(value) == 2}


def hub_answers() -> bool:
    """Whether the model hub can be reached: asked once, since its library would try again for a minute."""
    diffusers_library()  # says what to install, where it is missing
    utils, constants = (importlib.import_module(f"huggingface_hub.{name}") for name in ("utils", "constants"))
    try:
        utils.get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever library it uses for HTTP; offline mode too
        return False
    return True


def unreachable(source: str, error: Exception) -> ValueError:
    """The error of a source that is neither a folder here nor a model of the hub."""
    return ValueError(
        f"{source!r} is no folder here, and the model hub gave nothing under that name: no network, a network that "
        f"does not reach the hub, or a name that is wrong or withdrawn ({_first_line(error)}). Way out: a "
        "folder with the downloaded model, or an embedded prior, such as synth.priors.spectral(shape)"
    )


def component(
    source: str,
    index: Mapping[str, Any],
    name: str,
    *,
    known: Sequence[str],
    options: Mapping[str, Any],
    variant: str | None = None,
) -> Any:
    """One network, by the class that the index names; nothing but the known classes is ever loaded.

    Weights whose names stand behind a prefix, as saved from `torch.compile` or DDP, are loaded without it.

    Raises
    ------
    ValueError
        Another class, no readable weights, missing weights, or weights that are not finite.
    """
    alone = "" in index
    _, class_name = index[""] if alone else (index.get(name) or (None, None))
    if class_name not in known:
        raise ValueError(f"{name} of {source!r} is of class {class_name}; expected one of {', '.join(known)}")
    kind = getattr(diffusers_library(), str(class_name))
    place = {} if alone else {"subfolder": name}
    folder = Path(source) if alone else Path(source) / name
    chosen = variant if variant is not None or not folder.is_dir() else _variant_of(folder)
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            network, told = kind.from_pretrained(source, **place, **options, variant=chosen, output_loading_info=True)
    except Exception as error:  # the loaders of four libraries raise errors of many kinds
        if Path(source).is_dir():
            raise ValueError(
                f"{name} of {source!r} cannot be loaded: {_first_line(error)}. Expected in {folder}: config.json and "
                f"{NAME}.safetensors (or .bin), whole; copy or download them again"
            ) from error
        raise unreachable(source, error) from error
    missing, unexpected = list(told["missing_keys"]), list(told["unexpected_keys"])
    if missing:
        network = _without_prefix(kind, folder, f"{name} of {source!r}", missing=missing, unexpected=unexpected)
    for file in _loaded_files(folder, chosen):
        check_stored(file)
    check_finite([*network.named_parameters(), *network.named_buffers()], f"{name} of {source!r}", DAMAGED)
    return network


def _loaded_files(folder: Path, variant: str | None) -> list[Path]:
    """The files of a folder that its weights were read from; none of a model of the hub."""
    if not folder.is_dir():
        return []
    stem = NAME if variant is None else f"{NAME}.{variant}"
    own = re.compile(rf"{re.escape(stem)}(?:-\d+-of-\d+)?")
    files = [p for p in sorted(folder.iterdir()) if p.suffix in (".safetensors", ".bin") and own.fullmatch(p.stem)]
    return [p for p in files if p.suffix == ".safetensors"] or files


def _variant_of(folder: Path) -> str | None:
    """The variant of the weights in a folder, such as "fp16", where there are no plain ones.

    Raises
    ------
    ValueError
        Several variants.
    """
    names = [p.name for p in folder.iterdir()]
    pattern = re.compile(rf"{NAME}(?:\.([^.-]+))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
    variants = {m.group(1) for m in map(pattern.fullmatch, names) if m}
    if not variants or None in variants:
        return None
    if len(variants) > 1:
        raise ValueError(
            f"{folder} holds the variants {', '.join(sorted(map(str, variants)))} and no plain weights; choose one by "
            f"variant=, or leave the files of one variant there"
        )
    return str(variants.pop())


def _without_prefix(kind: Any, folder: Path, whose: str, *, missing: list[str], unexpected: list[str]) -> Any:
    """The network of a folder, its weights read by the names behind the prefix that all of them have.

    Raises
    ------
    ValueError
        Weights are missing, under whatever prefix.
    """
    prefix = prefix_of(unexpected, missing)
    if not prefix:
        raise ValueError(
            f"{whose} lacks {len(missing)} of its weights, such as {', '.join(sorted(missing)[:3])}"
            + (
                f" (and holds {len(unexpected)} that it does not know, such as {sorted(unexpected)[0]})"
                if unexpected
                else ""
            )
            + f"; they would be random numbers. {DAMAGED}"
        )
    files = [p for p in folder.glob(f"{NAME}*") if p.suffix in (".safetensors", ".bin")] if folder.is_dir() else []
    if len(files) != 1:
        raise ValueError(
            f"the weights of {whose} are named {prefix}NAME, as saved from a wrapped network (torch.compile, DDP); "
            "expected their names without it. Save the inner network: model._orig_mod (of torch.compile) or "
            "model.module (of DDP), by its save_pretrained"
        )
    state = {name.removeprefix(prefix): value for name, value in read_tensors(files[0]).items()}
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        network = kind.from_config(kind.load_config(folder))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights of {whose} do not fit its config.json: {_first_line(error)}") from error
    return network


def noise_levels(
    source: str, index: Mapping[str, Any], given: Mapping[str, Any] | None, *, options: Mapping[str, Any]
) -> Any:
    """A scheduler that knows the noise levels of training, and what the network predicts.

    Raises
    ------
    ValueError
        No scheduler that can be read, or one without discrete noise levels; settings in `given` that it does not have.
    """
    diffusers = diffusers_library()
    if given is not None:
        try:
            return diffusers.DDPMScheduler(**given)
        except Exception as error:  # wrong names, types and values raise errors of many kinds
            raise ValueError(
                f"noise_schedule {dict(given)} is refused by diffusers' DDPMScheduler: {_first_line(error)}; expected "
                "its settings, such as {'beta_schedule': 'linear', 'prediction_type': 'epsilon'}"
            ) from error
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
    try:
        loaded = scheduler.from_pretrained(source, subfolder="scheduler", **options)
    except Exception as error:  # the loader raises errors of many kinds
        raise ValueError(
            f"the scheduler of {source!r} cannot be loaded: {_first_line(error)}. Expected scheduler/"
            "scheduler_config.json: copy or download it again, or give noise_schedule= where you know the noise levels "
            "of the training, such as {'beta_schedule': 'linear', 'prediction_type': 'epsilon'}"
        ) from error
    if not hasattr(loaded, "alphas_cumprod"):
        raise ValueError(
            f"the scheduler of {source!r} is {class_name}, a flow-matching or continuous one; expected a discrete-time "
            "schedule with alphas_cumprod (DDPM, DDIM, DPM-Solver, UniPC, Euler, Heun, DEIS, LMS)"
        )
    return loaded


def embed(source: str, index: Mapping[str, Any], prompt: str, *, options: Mapping[str, Any]) -> Tensor:
    """The text encoder's last hidden states (1, L, D) of a prompt.

    Raises
    ------
    ValueError
        No text encoder of CLIP that can be read whole, or no transformers package.
    """
    if "text_encoder" not in index or "tokenizer" not in index:
        raise ValueError(f"{source!r} attends to text but holds no text encoder; give embedding=, a tensor (1, L, D)")
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(
            f"{source!r} attends to text, and to embed a prompt, the empty one included, the transformers package is "
            "needed: pip install transformers. Or give embedding=, a tensor (1, L, D) made elsewhere"
        ) from error
    if index["text_encoder"][1] != "CLIPTextModel":
        raise ValueError(
            f"the text encoder of {source!r} is of class {index['text_encoder'][1]}; expected CLIPTextModel. Give "
            "embedding=, a tensor (1, L, D) made elsewhere"
        )
    try:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(source, subfolder="tokenizer", **options)
        with torch.random.fork_rng(devices=[]):
            encoder, told = transformers.CLIPTextModel.from_pretrained(
                source, subfolder="text_encoder", output_loading_info=True, **options
            )
    except Exception as error:  # the loaders raise errors of many kinds
        raise ValueError(
            f"the text encoder of {source!r} cannot be loaded: {_first_line(error)}. Copy or download it again, or "
            "give embedding=, a tensor (1, L, D) made elsewhere"
        ) from error
    if told["missing_keys"]:
        lacks = ", ".join(sorted(told["missing_keys"])[:3])
        raise ValueError(f"the text encoder of {source!r} lacks weights, such as {lacks}. {DAMAGED}")
    check_finite(encoder.named_parameters(), f"the text encoder of {source!r}", DAMAGED)
    tokens = tokenizer(
        prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        states: Tensor = encoder.eval()(tokens.input_ids)[0]
    return states


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
