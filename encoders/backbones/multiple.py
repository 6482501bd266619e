"""Several networks, or one at several resolutions, as one backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .build import backbone, backbone_from_config
from .frozen import Backbone
from .tensors import unknown_name


class Backbones(nn.Module):
    """Frozen networks side by side: ``forward`` gives the layers of all, each under "NETWORK/LAYER".

    Parameters
    ----------
    networks : dict of str to Backbone
        By the name that precedes their layers; "" = layers without a name before them.
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
        """The uris of all networks, joined."""
        return " + ".join(part.uri for part in self.networks.values())

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that `forward` gives."""
        return tuple(join_layer(name, layer) for name, part in self.networks.items() for layer in part.layers)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all networks, each after its network's name."""
        return tuple(f"{n}: {note}" if n else note for n, part in self.networks.items() for note in part.notes)

    @property
    def weights_sha256(self) -> str:
        """Hash of the networks' hashes."""
        return hashlib.sha256("".join(p.weights_sha256 for p in self.networks.values()).encode()).hexdigest()

    @property
    def adapted(self) -> dict[str, Tensor]:
        """Tuned parameters of every network, by "NETWORK/TENSOR"."""
        return {join_layer(name, key): t for name, part in self.networks.items() for key, t in part.adapted.items()}

    def adapt(self, tensors: Mapping[str, Tensor]) -> Backbones:
        """A copy with other parameters; see `Backbone.adapt`.

        Parameters
        ----------
        tensors : dict of str to Tensor
            By "NETWORK/NAME", as in `adapted`.
        """
        own = _by_network(tensors, self.names)
        return Backbones({name: part.adapt(own[name]) for name, part in self.networks.items()})

    def tunable(self) -> dict[str, nn.Parameter]:
        """Parameters of all networks under the names that `adapt` takes."""
        return {join_layer(name, key): p for name, part in self.networks.items() for key, p in part.tunable().items()}

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
            join_layer(name, layer): features
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
        See `encoders.backbone`; for the layers that name no network. A file of weights also applies to layers that name
        the same network at another size. Networks with other names have their trained weights, or random ones where
        `weights` is "random".
    layers : sequence of str
        "LAYER" of `uri`, or "NETWORK/LAYER" with NETWORK a uri such as ``offline:efficientnet_lite2``, followed by
        ``@160`` where the images are to be resized to 160 pixels for it.
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
        own_weights = weights if not name or network == uri else weights_elsewhere(weights)
        built[name] = backbone(network or uri, own, input_size=side, weights=own_weights, seed=seed)
    return built[""] if list(built) == [""] else Backbones(built)


def weights_elsewhere(weights: str | Path) -> str:
    """Which weights a network takes to which `weights`, a file of another network, does not apply."""
    return "random" if str(weights) == "random" else "pretrained"


def open_config(
    config: Mapping[str, Any], *, weights: str | Path | None = None, adapted: Mapping[str, Tensor] | None = None
) -> Backbone | Backbones:
    """The backbone or backbones that ``config()`` described; other weights than those described are an error."""
    if "networks" not in config:
        return backbone_from_config(dict(config), weights=weights, adapted=dict(adapted or {}))
    parts: Mapping[str, Any] = config["networks"]
    own = _by_network(adapted or {}, tuple(parts))
    moved = {name: weights if _from_file(part) else None for name, part in parts.items()}
    return Backbones({n: backbone_from_config(p, weights=moved[n], adapted=own[n]) for n, p in parts.items()})


def _from_file(config: Mapping[str, Any]) -> bool:
    return config["weights"] not in ("pretrained", "random")


def split_layer(entry: str) -> tuple[str, str]:
    """Network ("" = the encoder's own) and layer of "NETWORK/LAYER"."""
    name, _, layer = entry.rpartition("/")
    return name, layer


def _by_network(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Tensors by "NETWORK/NAME" as those of each network.

    Raises
    ------
    ValueError
        If a network is unknown.
    """
    by_network: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for entry, tensor in tensors.items():
        name, key = split_layer(entry)
        if name not in by_network:
            raise ValueError(unknown_name("network", name, list(names)))
        by_network[name][key] = tensor
    return by_network


def join_layer(name: str, layer: str) -> str:
    """The inverse of `split_layer`."""
    return f"{name}/{layer}" if name else layer
