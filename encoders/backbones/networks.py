"""Networks by name, with their weights and input normalisation.

timm and torchvision are imported inside the functions that need them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .capture import Capture, chosen_calls, count_calls, layer_modules
from .offline import build_offline
from .probe import used_tensors
from .sources.files import load_weights
from .sources.hub import fetched, timm_options, torchvision_ready
from .tensors import unknown_name

DEFAULT_BACKBONE = "offline:efficientnet_lite0"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NOT_OF_IMAGES = {
    "detection": "detectors resize and normalise images by themselves, and would do it twice here",
    "video": "it takes videos",
    "optical_flow": "it takes pairs of images",
    "quantization": "quantised networks have no gradient to the image",
}


class Built(NamedTuple):
    """A network with its weights.

    Attributes
    ----------
    network : nn.Module
    mean, std : sequences of 3 floats
        Of its input normalisation.
    notes : tuple of str
        What was done to a file of weights to load it.
    """

    network: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    notes: tuple[str, ...] = ()


def build_network(uri: str, weights: str, seed: int, *, layers: Sequence[str] = (), side: int = 224) -> Built:
    """Network with its weights, mean and SD of its input normalisation.

    Parameters
    ----------
    uri, weights, seed
        See `encoders.backbone`.
    layers : sequence of str
        A file of weights must hold the tensors that these depend on; none = all tensors.
    side : int
        Of the probe image that shows which these are.

    Raises
    ------
    ValueError
        If the name is unknown, the network cannot be built, or the weights cannot be had or do not fit.
    """
    family, _, name = uri.partition(":")
    makers: dict[str, Callable[[str, str], Built]] = {
        "offline": lambda name, kind: Built(*build_offline(name, kind == "pretrained")),
        "timm": _build_timm,
        "torchvision": _build_torchvision,
    }
    if family not in makers or not name:
        raise ValueError(
            f"backbone {uri!r}; expected offline:NAME, timm:NAME or torchvision:NAME, such as {DEFAULT_BACKBONE}"
        )
    kind = weights if weights in ("pretrained", "random") else "file"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            built = makers[family](name, kind)
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # the libraries refuse options and versions in ways of their own
            raise ValueError(
                f"{uri} cannot be built ({type(error).__name__}: {' '.join(str(error).split())[:200]}). Likely cause: "
                "a network that needs another package or version. Fix: name another network, or install what it needs"
            ) from error
    if kind != "file":
        return built
    network = built.network.eval()
    library = sys.modules.get(type(network).__module__)
    notes = load_weights(
        network,
        Path(weights),
        lambda: _used(network, built, layers, uri=uri, side=side),
        rename=renamed_by_torchvision if family == "torchvision" else getattr(library, "checkpoint_filter_fn", None),
    )
    _without_auxiliary(network)
    return built._replace(notes=tuple(notes))


def _used(network: nn.Module, built: Built, layers: Sequence[str], *, uri: str, side: int) -> tuple[set[str], set[str]]:
    """The tensors that `layers` depend on and the modules that run for them; all tensors where no layer is named."""
    if not layers:
        return set(network.state_dict()), {""}
    probe = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    probe = (probe - torch.tensor(built.mean).view(3, 1, 1)) / torch.tensor(built.std).view(3, 1, 1)
    modules = layer_modules(network, layers, uri)
    with torch.no_grad():
        counts, _ = count_calls(network, probe)
    calls = chosen_calls(layers, [name for name, _ in network.named_modules(remove_duplicate=False)], counts)

    def run() -> Mapping[str, Tensor]:
        return Capture(modules, calls).run(network, probe)

    try:
        return used_tensors(network, run)
    except Exception:  # the network cannot take this probe, which is told where it is built: all tensors are needed
        return set(network.state_dict()), {""}


def _build_timm(name: str, kind: str) -> Built:
    import timm
    from timm.data import resolve_model_data_config  # type: ignore[attr-defined]

    base, _, tag = name.partition(".")
    if base not in timm.list_models():
        raise ValueError(unknown_name("timm model", name, timm.list_models()))
    tagged = [n for n in timm.list_pretrained(f"{base}.*") if n.partition(".")[0] == base]
    if tag and name not in tagged:
        raise ValueError(unknown_name(f"weights of timm model {base}", name, tagged or [base]))
    if kind == "pretrained":
        options = timm_options(name)
        network = fetched(f"timm:{name}", _timm_page(name), lambda: timm.create_model(name, pretrained=True, **options))
    else:
        network = timm.create_model(name, pretrained=False)
    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    return Built(network, data["mean"], data["std"])


def _timm_page(name: str) -> str:
    import timm

    published = timm.get_pretrained_cfg(name)
    return f"https://huggingface.co/{published.hf_hub_id}" if published is not None and published.hf_hub_id else name


def _build_torchvision(name: str, kind: str) -> Built:
    from torchvision import models  # type: ignore[import-untyped]

    if name not in models.list_models():
        raise ValueError(unknown_name("torchvision model", name, models.list_models()))
    builder = models.get_model_builder(name)
    group = builder.__module__.split(".")[2]
    if group in NOT_OF_IMAGES:
        raise ValueError(
            f"torchvision:{name} cannot be a backbone: {NOT_OF_IMAGES[group]}. Fix: name a network for classification "
            "or segmentation of single images, such as torchvision:resnet50"
        )
    weights = models.get_model_weights(name)["DEFAULT"]
    if kind == "pretrained":
        torchvision_ready(name, weights.url)
        network = fetched(f"torchvision:{name}", weights.url, lambda: models.get_model(name, weights=weights))
    else:
        network = models.get_model(name, weights=None, **_torchvision_options(name, builder, kind))
    transforms = weights.transforms()
    return Built(network, getattr(transforms, "mean", IMAGENET_MEAN), getattr(transforms, "std", IMAGENET_STD))


def _torchvision_options(name: str, builder: Any, kind: str) -> dict[str, Any]:
    """Options without which torchvision would fetch weights, or build another network than for trained weights."""
    known = inspect.signature(builder).parameters
    options: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in known else {}
    if kind == "file" and "aux_loss" in known:
        options["aux_loss"] = True
    if name in ("inception_v3", "googlenet"):  # their trained weights are for images that the network normalises anew
        options |= {"init_weights": False, "transform_input": True} if kind == "file" else {"init_weights": True}
    return options


def renamed_by_torchvision(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Tensors of files that torchvision publishes under the names that its networks had, by those of `network`.

    Its loaders rename them too: layers of DenseNet (``norm.1``) and of vision transformers (``mlp.linear_1``).
    """
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)
        name = re.sub(r"\.mlp\.linear_([12])\.", lambda found: f".mlp.{3 * int(found[1]) - 3}.", name)
        renamed[name] = tensor
    return renamed


def _without_auxiliary(network: nn.Module) -> None:
    """Take the auxiliary classifiers off GoogLeNet, as torchvision does for trained weights by name."""
    if type(network).__module__ == "torchvision.models.googlenet":
        network.aux_logits = False  # type: ignore[assignment]
        network.aux1 = network.aux2 = None  # type: ignore[assignment]
