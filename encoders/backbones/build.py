"""Frozen feature networks by name: `backbone`, the same again from its description, and the layers of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .capture import count_calls, layer_modules
from .folding import PROBE_SIZE, fold_batch_norm, pool_before_relu, rewritten
from .frozen import CHANNELS_LAST, Backbone, BackboneConfig
from .networks import build_network
from .strided import quicken_first_convolution
from .tensors import hash_tensors


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
    return _built(uri, layers, input_size=input_size, weights=weights, seed=seed)


def _built(
    uri: str,
    layers: Sequence[str],
    *,
    input_size: int | None,
    weights: str | Path,
    seed: int,
    calls: Mapping[str, int] | None = None,
) -> Backbone:
    """See `backbone`; `calls` are those of a description, None = the last where a layer names none."""
    layers = tuple(dict.fromkeys(layers))
    if not layers:
        raise ValueError("no layer named; list_layers(uri) lists them")
    side = input_size or PROBE_SIZE
    network, mean, std, notes = build_network(uri, str(weights), seed, layers=layers, side=side)
    _check_size(network, uri, input_size)
    layer_modules(network, layers, uri)
    for module in network.modules():  # a later in-place activation must not change features that were handed out
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    digest = hash_tensors(network.state_dict())
    plain = network.eval()
    config = BackboneConfig(
        uri=uri,
        layers=layers,
        input_size=input_size,
        weights=str(weights),
        seed=seed if weights == "random" else 0,
        weights_sha256=digest,
        built_for=layers,
        calls=None if calls is None else tuple(calls.items()),
    )
    first = Backbone(plain, config, mean=mean, std=std)
    first.check_runs((side, side))
    config = first.settings
    how: dict[str, Any] = {"input_size": input_size, "calls": dict(config.calls or ())}
    folded = rewritten(plain, fold_batch_norm, layers, **how)  # 1.9 x faster image gradients on a CPU
    network = rewritten(folded, pool_before_relu, layers, **how)
    quicken_first_convolution(network)
    if uri.startswith(CHANNELS_LAST):
        network.to(memory_format=torch.channels_last)
    built = first.like(network, folded=folded is not plain)
    built.notes = (*notes, *first.notes)
    return built


def backbone_from_config(
    config: dict[str, Any], *, weights: str | Path | None = None, adapted: Mapping[str, Tensor] | None = None
) -> Backbone:
    """Build the backbone that ``Backbone.config()`` described; other weights, or other `adapted` ones, are an error."""
    built = _built(
        config["uri"],
        config.get("built_for", config["layers"]),
        input_size=config["input_size"],
        weights=config["weights"] if weights is None else weights,
        seed=config["seed"],
        calls=config.get("calls", {}),
    )
    from_file = config["weights"] not in ("pretrained", "random")
    if from_file and getattr(built.network, "transform_input", False) and not config.get("transform_input"):
        built.network.transform_input = False  # type: ignore[assignment]  # as versions that did not set it were fitted
    if built.is_laid_out and "reading" not in config:
        built = built.like(built.network, reading=1)
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
    """All module paths of the network `uri`, in order of definition; no weights are fetched.

    A module that the network calls n > 1 times is followed by its calls, PATH:1 ... PATH:n; PATH alone is the last.
    """
    network, mean, std, _ = build_network(uri, "random", 0)
    side = _only_size(network) or PROBE_SIZE
    middle = (0.5 - torch.tensor(mean)) / torch.tensor(std)
    with torch.no_grad():
        counts, _ = count_calls(network.eval(), middle.view(1, 3, 1, 1).expand(1, 3, side, side))
    names = [name for name, _ in network.named_modules() if name]
    calls = {name: [f"{name}:{i + 1}" for i in range(counts.get(name, 1))] for name in names}
    return [entry for name in names for entry in ([name, *calls[name]] if len(calls[name]) > 1 else [name])]


def _check_size(network: nn.Module, uri: str, input_size: int | None) -> None:
    """Refuse another size than the one input size that a network has: nothing is resized silently."""
    fixed = _only_size(network)
    if fixed is not None and input_size != fixed:
        raise ValueError(f"{uri} takes images of {fixed} x {fixed} only; pass input_size={fixed}, found {input_size}")


def _only_size(network: nn.Module) -> int | None:
    """The one side of images that a network takes, None if it takes several."""
    settings = getattr(network, "pretrained_cfg", None) or {}
    fixed = settings["input_size"][-1] if settings.get("fixed_input_size") else getattr(network, "image_size", None)
    return fixed if isinstance(fixed, int) else None
