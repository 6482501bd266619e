"""Frozen feature networks: ``backbone(uri, layers)`` maps images in [0, 1] to the features of named layers.

The backbone handles input range, channel count, resizing and normalisation, so that all other code uses pixel value /
255.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .capture import Capture
from .folding import fold_batch_norm, pool_before_relu, rewritten
from .networks import build_network
from .strided import quicken_first_convolution
from .tensors import copy_parameters, hash_tensors, unknown_name

CHANNELS_LAST = ("offline:", "torchvision:")  # families that run faster in this memory format


@dataclass(frozen=True)
class BackboneConfig:
    """Everything needed to build a backbone again.

    Attributes
    ----------
    uri, layers, input_size, weights, seed
        See `backbone`.
    weights_sha256 : str
        Of the weights before any adaptation; checked when the backbone is built again.
    built_for : tuple of str
        Layers that it was first built for, which decide what `fold_batch_norm` folds; empty = `layers`.
    adapted : tuple of str
        Names of the parameters that `Backbone.adapt` was given.
    folded : bool
        Batch normalisation was folded into the convolutions.
    """

    uri: str
    layers: tuple[str, ...]
    input_size: int | None
    weights: str
    seed: int
    weights_sha256: str
    built_for: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    folded: bool = False


class Backbone(nn.Module):
    """Frozen network, cut after the last named layer.

    Parameters
    ----------
    network : nn.Module
        Takes normalised RGB images. Its parameters are frozen, and it always stays in evaluation mode.
    config : BackboneConfig
    mean, std : sequences of 3 floats
        Input normalisation (x - mean) / std of images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, config: BackboneConfig, *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        _check_layers(network, config.layers, config.uri)
        self.network = network.eval().requires_grad_(False)
        self._config = config
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    @property
    def uri(self) -> str:
        """Where the network comes from."""
        return self._config.uri

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that `forward` gives, in this order."""
        return self._config.layers

    @property
    def input_size(self) -> int | None:
        """Side in pixels to which images are resized (bilinear, antialiased); None = their own size."""
        return self._config.input_size

    @property
    def weights_sha256(self) -> str:
        """Hash of the network's tensors as they were loaded (`hash_tensors`), combined with that of the adapted
        tensors.
        """
        base = self._config.weights_sha256
        return (
            base if not self._config.adapted else hashlib.sha256((base + self._adapted_sha256()).encode()).hexdigest()
        )

    @property
    def untuned_sha256(self) -> str:
        """Hash of the network's tensors as they were loaded, without the adapted ones."""
        return self._config.weights_sha256

    @property
    def folded(self) -> bool:
        """Whether batch normalisation was folded into the convolutions; adapted weights fit one of the two cases."""
        return self._config.folded

    @property
    def adapted(self) -> dict[str, Tensor]:
        """Copies of the parameters that `adapt` was given, by name in the network after folding."""
        parameters = dict(self.network.named_parameters())
        return {name: parameters[name].detach().clone() for name in self._config.adapted}

    def config(self) -> dict[str, Any]:
        """JSON-able description; ``backbone_from_config`` builds the same backbone and checks its weights."""
        described = asdict(self._config) | {"layers": list(self.layers)}
        del described["built_for"], described["adapted"], described["folded"]
        if self._config.adapted:
            described |= {
                "built_for": list(self._config.built_for or self.layers),
                "adapted": self._adapted_sha256(),
                "folded": self._config.folded,
            }
        return described

    def select(self, layers: Sequence[str]) -> Backbone:
        """The same network (shared, not copied, with its adapted weights), cut after the last of `layers`, a part of
        its layers.
        """
        strangers = [layer for layer in layers if layer not in self.layers]
        if strangers:
            raise ValueError(
                f"layer {strangers[0]!r} is not among those this backbone was built for: {', '.join(self.layers)}"
            )
        config = replace(self._config, layers=tuple(dict.fromkeys(layers)))
        return Backbone(self.network, config, mean=self.mean.flatten().tolist(), std=self.std.flatten().tolist()).to(
            self.mean.device
        )

    def adapt(self, tensors: Mapping[str, Tensor]) -> Backbone:
        """A copy with other parameters; this backbone and its network stay as they are.

        Parameters
        ----------
        tensors : dict of str to Tensor
            By name in ``network.named_parameters()``. Statistics of batch norms are not parameters and never change.

        Raises
        ------
        ValueError
            If a name is unknown, or a tensor of another shape or not finite.
        """
        network = copy.deepcopy(self.network)
        copy_parameters(tensors, network, self.uri)
        config = replace(self._config, adapted=tuple(sorted({*self._config.adapted, *tensors})))
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        return Backbone(network, config, mean=mean, std=std).to(self.mean)

    def tunable(self) -> dict[str, nn.Parameter]:
        """Parameters of the network under the names that `adapt` takes."""
        return dict(self.network.named_parameters())

    def _adapted_sha256(self) -> str:
        return hash_tensors({name: tensor.float() for name, tensor in self.adapted.items()})

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, whatever `mode` is: the network is frozen."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of the named layers.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
            C = 1 (repeated to three channels) or 3.

        Returns
        -------
        dict of str to Tensor of shape (B, C', h, w), (B, T, C') or (B, C')
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise ValueError(
                f"images of shape {tuple(images.shape)}, {images.dtype}; expected floating (B, C, H, W), C = 1 or 3, "
                "in [0, 1]"
            )
        size = self.input_size
        if size is not None and tuple(images.shape[-2:]) != (size, size):
            images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        normalised = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        if self.uri.startswith(CHANNELS_LAST):
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return Capture({name: self.network.get_submodule(name) for name in self.layers}).run(self.network, normalised)


def backbone(
    uri: str,
    layers: Sequence[str],
    *,
    input_size: int | None = None,
    weights: str | Path = "pretrained",
    seed: int = 0,
) -> Backbone:
    """A frozen feature network by name.

    Parameters
    ----------
    uri : str
        ``offline:efficientnet_lite0`` or ``..._lite2`` (trained weights from an installed package, no network access),
        ``timm:NAME``, ``torchvision:NAME`` (their own loaders fetch the trained weights).
    layers : sequence of str
        Module paths, such as ``blocks.2.0``; `list_layers` lists them.
    input_size : int, optional
        Resize images to this side inside the backbone. Default: the images' own size.
    weights : "pretrained", "random" or path
        A path names a local state dict (safetensors, or a file that opens with ``weights_only=True``).
    seed : int
        Of the random weights.

    Returns
    -------
    Backbone
    """
    layers = tuple(dict.fromkeys(layers))
    if not layers:
        raise ValueError("no layer named; list_layers(uri) lists them")
    network, mean, std = build_network(uri, str(weights), seed)
    _check_size(network, uri, input_size)
    for module in network.modules():  # a later in-place activation must not change features that were handed out
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    digest = hash_tensors(network.state_dict())
    _check_layers(network, layers, uri)
    plain = network.eval()
    folded = rewritten(plain, fold_batch_norm, layers, input_size=input_size)  # 1.9 x faster image gradients on a CPU
    network = rewritten(folded, pool_before_relu, layers, input_size=input_size)
    quicken_first_convolution(network)
    if uri.startswith(CHANNELS_LAST):
        network.to(memory_format=torch.channels_last)
    config = BackboneConfig(
        uri=uri,
        layers=layers,
        input_size=input_size,
        weights=str(weights),
        seed=seed if weights == "random" else 0,
        weights_sha256=digest,
        built_for=layers,
        folded=folded is not plain,
    )
    return Backbone(network, config, mean=mean, std=std)


def backbone_from_config(
    config: dict[str, Any], *, weights: str | Path | None = None, adapted: Mapping[str, Tensor] | None = None
) -> Backbone:
    """Build the backbone that ``Backbone.config()`` described; other weights, or other `adapted` ones, are an error."""
    built = backbone(
        config["uri"],
        config.get("built_for", config["layers"]),
        input_size=config["input_size"],
        weights=config["weights"] if weights is None else weights,
        seed=config["seed"],
    )
    if built.weights_sha256 != config["weights_sha256"]:
        raise ValueError(
            f"backbone {config['uri']!r} has weights {built.weights_sha256[:12]}, expected "
            f"{config['weights_sha256'][:12]}. Likely cause: another version of the weights or of the library that "
            "makes them. Fix: install the version that was used, or pass weights=FILE with the original weights"
        )
    tensors = dict(adapted or {})
    if (hash_tensors(tensors) if tensors else None) != config.get("adapted"):
        raise ValueError(
            f"backbone {config['uri']!r}: found {len(tensors)} adapted tensors, which are not those described. Likely "
            "cause: they were altered, left out or belong to another encoder. Fix: pass Backbone.adapted of the "
            "backbone that was described"
        )
    if tensors and built.folded != (expected := config.get("folded", config["uri"].startswith("offline:"))):
        raise ValueError(
            f"backbone {config['uri']!r}: adapted weights of a network whose batch normalisation was "
            f"{'' if expected else 'not '}folded into its convolutions, for one where it is "
            f"{'' if built.folded else 'not '}folded. Likely cause: another version of stimsynth or of torch. Fix: "
            "adapt the encoder again from its recording"
        )
    selected = built.select(config["layers"])
    return selected.adapt(tensors) if tensors else selected


def list_layers(uri: str) -> list[str]:
    """All module paths of the network `uri`, in order of definition; no weights are fetched."""
    return [name for name, _ in build_network(uri, "random", 0)[0].named_modules() if name]


def _check_size(network: nn.Module, uri: str, input_size: int | None) -> None:
    """Refuse another size than the one input size that a network has: nothing is resized silently."""
    fixed = getattr(network, "image_size", None)
    settings = getattr(network, "pretrained_cfg", None) or {}
    if settings.get("fixed_input_size"):
        fixed = settings["input_size"][-1]
    if isinstance(fixed, int) and input_size != fixed:
        raise ValueError(f"{uri} takes images of {fixed} x {fixed} only; pass input_size={fixed}, found {input_size}")


def _check_layers(network: nn.Module, layers: Sequence[str], uri: str) -> None:
    names = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        if layer not in names:
            raise ValueError(unknown_name(f"layer of {uri}", layer, names))
