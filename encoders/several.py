"""Several networks, or one at several resolutions, as one backbone: members of an ensemble that differ in what they see."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .backbones import Backbone, backbone, backbone_from_config


class Backbones(nn.Module):
    """Frozen networks side by side: ``forward`` gives the layers of all, each under "NETWORK/LAYER".

    Parameters
    ----------
    networks : dict of str to Backbone
        By the name that stands before the layers; "" = their bare names.
    """

    def __init__(self, networks: Mapping[str, Backbone]) -> None:
        super().__init__()
        self.names = tuple(networks)
        self.parts = nn.ModuleList(networks.values())

    @property
    def networks(self) -> dict[str, Backbone]:
        """Networks by name."""
        return {name: part for name, part in zip(self.names, self.parts, strict=True) if isinstance(part, Backbone)}

    @property
    def uri(self) -> str:
        """The networks' own, joined."""
        return " + ".join(part.uri for part in self.networks.values())

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that `forward` gives."""
        return tuple(_join(name, layer) for name, part in self.networks.items() for layer in part.layers)

    @property
    def weights_sha256(self) -> str:
        """Hash of the networks' hashes."""
        return hashlib.sha256("".join(p.weights_sha256 for p in self.networks.values()).encode()).hexdigest()

    @property
    def adapted(self) -> dict[str, Tensor]:
        """Nothing: several networks cannot be fine-tuned together."""
        return {}

    def adapt(self, tensors: Mapping[str, Tensor]) -> Backbones:
        """Not possible.

        Raises
        ------
        ValueError
            Always: name the layers of one network to fine-tune it.
        """
        raise ValueError(
            f"{len(self.parts)} networks cannot be fine-tuned together. Likely cause: layers of several networks in one encoder. "
            "Fix: fit an encoder on one network and tune that"
        )

    def config(self) -> dict[str, Any]:
        """JSON-able description; `open_config` builds the same again."""
        return {"networks": {name: part.config() for name, part in self.networks.items()}}

    def select(self, layers: Sequence[str]) -> Backbone | Backbones:
        """The networks that `layers` need, each cut after the last of them."""
        kept = {}
        for name, part in self.networks.items():
            own = [layer for layer in layers if split_layer(layer)[0] == name]
            if own:
                kept[name] = part.select([split_layer(layer)[1] for layer in own])
        if list(kept) == [""]:
            return kept[""]
        return Backbones(kept)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of all layers, as `Backbone.forward`."""
        return {
            _join(name, layer): features
            for name, part in self.networks.items()
            for layer, features in part(images).items()
        }


def open_backbone(
    uri: str,
    layers: Sequence[str],
    *,
    input_size: int | None = None,
    weights: str | Path = "pretrained",
    seed: int = 0,
) -> Backbone | Backbones:
    """The network or networks that `layers` name.

    Parameters
    ----------
    uri, input_size, weights, seed
        See `encoders.backbone`; of the layers that name no network.
    layers : sequence of str
        "LAYER" of `uri`, or "NETWORK/LAYER" with NETWORK a uri such as ``offline:efficientnet_lite2``, followed by ``@160`` where the
        images are to be resized to 160 pixels for it.
    """
    by_network: dict[str, list[str]] = {}
    for entry in layers:
        name, layer = split_layer(entry)
        by_network.setdefault(name, []).append(layer)
    built = {}
    for name, own in by_network.items():
        network, _, size = name.partition("@")
        if size and not size.isdigit():
            raise ValueError(f"network {name!r}; expected a size in pixels after @, such as {network}@160")
        side = int(size) if size else input_size if not name else None
        built[name] = backbone(network or uri, own, input_size=side, weights=weights, seed=seed)
    return built[""] if list(built) == [""] else Backbones(built)


def open_config(
    config: Mapping[str, Any], *, weights: str | Path | None = None, adapted: Mapping[str, Tensor] | None = None
) -> Backbone | Backbones:
    """The backbone or backbones that ``config()`` described; other weights than those described are an error."""
    if "networks" not in config:
        return backbone_from_config(dict(config), weights=weights, adapted=dict(adapted or {}))
    return Backbones({name: backbone_from_config(part, weights=weights) for name, part in config["networks"].items()})


def split_layer(entry: str) -> tuple[str, str]:
    """Network ("" = the encoder's own) and layer of "NETWORK/LAYER"."""
    name, _, layer = entry.rpartition("/")
    return name, layer


def _join(name: str, layer: str) -> str:
    return f"{name}/{layer}" if name else layer
