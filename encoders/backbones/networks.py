"""Networks by name, with their weights and input normalisation.

timm and torchvision are imported inside the functions that need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .offline import build_offline
from .tensors import unknown_name

DEFAULT_BACKBONE = "offline:efficientnet_lite0"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_network(uri: str, weights: str, seed: int) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    """Network with its weights, mean and SD of its input normalisation."""
    family, _, name = uri.partition(":")
    makers = {"offline": build_offline, "timm": _build_timm, "torchvision": _build_torchvision}
    if family not in makers or not name:
        raise ValueError(
            f"backbone {uri!r}; expected offline:NAME, timm:NAME or torchvision:NAME, such as {DEFAULT_BACKBONE}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network, mean, std = makers[family](name, weights == "pretrained")
    if weights not in ("pretrained", "random"):
        _load_file(network, Path(weights))
    return network, mean, std


def _build_timm(name: str, pretrained: bool) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    import timm
    from timm.data import resolve_model_data_config  # type: ignore[attr-defined]

    if name.split(".")[0] not in timm.list_models():
        raise ValueError(unknown_name("timm model", name, timm.list_models()))
    network = timm.create_model(name, pretrained=pretrained)
    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    return network, data["mean"], data["std"]


def _build_torchvision(name: str, pretrained: bool) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    from torchvision import models  # type: ignore[import-untyped]

    if name not in models.list_models():
        raise ValueError(unknown_name("torchvision model", name, models.list_models()))
    options = {} if name not in ("inception_v3", "googlenet") or pretrained else {"init_weights": True}
    network = models.get_model(name, weights="DEFAULT" if pretrained else None, **options)
    transforms = models.get_model_weights(name)["DEFAULT"].transforms()
    return network, getattr(transforms, "mean", IMAGENET_MEAN), getattr(transforms, "std", IMAGENET_STD)


def _load_file(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"no weights file {path}; expected 'pretrained', 'random' or the path of a state dict")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state: Any = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ValueError(f"{path.name} holds a {type(state).__name__}; expected a state dict: tensors by name")
    expected = network.state_dict()
    missing, unknown = ([name for name in a if name not in b] for a, b in ((expected, state), (state, expected)))
    other = [n for n in expected if n in state and getattr(state[n], "shape", None) != expected[n].shape]
    faults = {"missing": missing, "unknown": unknown, "of another shape": other}
    if wrong := [f"{len(names)} {what} (the first: {names[0]})" for what, names in faults.items() if names]:
        raise ValueError(
            f"{path.name} does not fit {type(network).__name__}: of {len(expected)} tensors expected "
            f"{', '.join(wrong)}. Likely cause: the weights of another network, or of another version of it. Fix: name "
            "the network that they belong to"
        )
    network.load_state_dict(state, strict=True)
