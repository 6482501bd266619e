"""A copy of an encoder whose network and readouts can be tuned by gradient descent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from encoders.backbones import Backbone
from encoders.backbones.multiple import Backbones, join_layer
from encoders.backbones.tensors import unknown_name
from encoders.encoder import Encoder, Ensemble
from encoders.readouts import Readout, build_readout

SOLVED = ("coef", "intercept")  # what is tuned of a readout that was solved, not trained


class Tunable:
    """A copy of an encoder: its network or networks, and the tensors of each readout that may be tuned.

    Parameters
    ----------
    encoder : Encoder or Ensemble
        It stays as it is.
    device : device
    shared : Backbone or Backbones, optional
        Use this network, on `device`, instead of a copy of the encoder's own.

    Raises
    ------
    ValueError
        If the encoder is adjusted.
    """

    def __init__(
        self,
        encoder: Encoder | Ensemble,
        device: torch.device | str,
        *,
        shared: Backbone | Backbones | None = None,
    ) -> None:
        check_unadjusted(encoder)
        self.backbone: Backbone | Backbones = encoder.backbone.adapt({}).to(device) if shared is None else shared
        copies = [copy.deepcopy(readout).to(device) for readout in encoder.readouts]
        self.readouts: list[Readout] = copies  # type: ignore[assignment]
        self.network: dict[str, Tensor] = {}  # those that are tuned
        self.tensors = [_free_tensors(readout) for readout in self.readouts]

    def free(self, parameters: Mapping[str, Tensor], *, network: bool, readouts: bool) -> None:
        """Let the parameters of the network (if `network`) and the tensors of the readouts (if `readouts`) be tuned."""
        self.network = {name: parameter.requires_grad_(True) for name, parameter in parameters.items() if network}
        for tensors in self.tensors if readouts else []:
            for tensor in tensors.values():
                tensor.requires_grad_(True)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of the network that hold tuned parameters."""
        return tuple(dict.fromkeys(name.rpartition(".")[0] for name in self.network))

    @property
    def n_parameters(self) -> int:
        """Number of tuned parameters of the network, counted as numbers."""
        return sum(parameter.numel() for parameter in self.network.values())

    def groups(self, rates: tuple[float, float], *, network: bool = True) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser, with their highest learning rates, or of the readouts alone."""
        readouts = [tensor for tensors in self.tensors for tensor in tensors.values() if tensor.requires_grad]
        pairs = zip((list(self.network.values()) if network else [], readouts), rates, strict=True)
        return [{"params": tensors, "lr": rate, "highest": rate} for tensors, rate in pairs if tensors]

    def anchor(self) -> list[Tensor]:
        """Copies of the tuned parameters of the network, for `distance`."""
        return [tensor.detach().clone() for tensor in self.network.values()]

    def distance(self, anchor: Sequence[Tensor]) -> Tensor:
        """Squared distance of the network's parameters from `anchor`: L2-SP (Li, Grandvalet & Davoine 2018, eq. 2)."""
        pairs = zip(self.network.values(), anchor, strict=True)
        return torch.stack([(tensor - start).square().sum() for tensor, start in pairs]).sum()

    def predict(self, images: Tensor) -> Tensor:
        """Predictions of each member for images (B, C, H, W) in [0, 1], (M, B, U)."""
        features = self.backbone(images)
        pairs = zip(self.readouts, self.tensors, strict=True)
        return torch.stack([functional_call(readout, tensors, (features,)) for readout, tensors in pairs])

    def state(self, *, network: bool = True) -> list[Tensor]:
        """Copies of all tuned tensors; without `network` those of the readouts alone."""
        return [tensor.detach().clone() for tensor in self._all(network)]

    @torch.no_grad()
    def restore(self, state: Iterable[Tensor], *, network: bool = True) -> None:
        """Write back the tensors that `state` returned; of an iterator no more than these are taken."""
        left = iter(state)
        for tensor in self._all(network):
            tensor.copy_(next(left))

    def _all(self, network: bool) -> list[Tensor]:
        groups = (self.network, *self.tensors) if network else self.tensors
        return [tensor for group in groups for tensor in group.values()]

    def rebuilt_readouts(self) -> list[Readout]:
        """The readouts as they are now, frozen, on the CPU."""
        rebuilt = []
        for readout, tensors in zip(self.readouts, self.tensors, strict=True):
            state = readout.state_dict() | {name: tensor.detach() for name, tensor in tensors.items()}
            rebuilt.append(build_readout(readout.config(), {name: tensor.cpu() for name, tensor in state.items()}))
        return rebuilt


def check_unadjusted(encoder: Encoder | Ensemble) -> None:
    """Refuse an encoder with gain and offset: readouts that are fitted anew to raw responses would lose them.

    Raises
    ------
    ValueError
        If the encoder is adjusted.
    """
    if encoder.is_adjusted:
        raise ValueError(
            "the encoder carries gain and offset of its sites; expected an encoder without. Likely cause: a refit with "
            "the mode 'gain' made it. Fix: pass encoder.unadjusted(), and estimate gain and offset anew afterwards"
        )


def _free_tensors(readout: Readout) -> dict[str, Tensor]:
    """Copies of a readout's parameters, and of the coefficients of its parts that were solved."""
    trained = {name for name, _ in readout.named_parameters()}
    return {
        name: tensor.detach().clone()
        for name, tensor in readout.state_dict().items()
        if name in trained or name.rpartition(".")[2] in SOLVED
    }


def free_parameters(
    backbone: Backbone | Backbones, layers: Sequence[str] | str, probe: Tensor
) -> dict[str, nn.Parameter]:
    """Parameters of the named modules that the features depend on.

    Parameters
    ----------
    backbone : Backbone or Backbones
    layers : sequence of str, "late" or "all"
        Modules; of several networks as "NETWORK/MODULE". "late": the stage (`stage`) of the layer that each network
        calls last.
    probe : Tensor of shape (1, C, H, W), in [0, 1]

    Raises
    ------
    ValueError
        If a module is unknown, or none holds a parameter that the features depend on.
    """
    if isinstance(layers, str) and layers not in ("all", "late"):
        raise ValueError(f"layers {layers!r}; expected 'late', 'all' or a list of modules, such as ['blocks.4']")
    networks = backbone.networks if isinstance(backbone, Backbones) else {"": backbone}
    parameters, known = backbone.tunable(), []
    for name, part in networks.items():
        known += [join_layer(name, module) for module, _ in part.network.named_modules() if module]
    if layers == "late":
        last = {name: stage(_last_layer(part, probe)) for name, part in networks.items()}
        layers = [join_layer(name, module) for name, module in last.items()]
    for layer in layers if layers != "all" else []:
        if layer not in known:
            raise ValueError(unknown_name(f"module of {backbone.uri}", layer, known))
    named = {n: p for n, p in parameters.items() if layers == "all" or any(n.startswith(f"{x}.") for x in layers)}
    with torch.enable_grad():
        for parameter in named.values():
            parameter.requires_grad_(True)
        total = torch.stack([part.sum() for part in backbone(probe).values()]).sum()
        reached = torch.autograd.grad(total, list(named.values()), allow_unused=True) if total.requires_grad else []
        backbone.requires_grad_(False)
    free = {n: p for (n, p), gradient in zip(named.items(), reached, strict=False) if gradient is not None}
    if not free:
        raise ValueError(
            f"modules {', '.join(layers)}: no parameter of theirs reaches the layers {', '.join(backbone.layers)}. "
            "Likely cause: modules after the last layer read, or without parameters. Fix: name earlier ones, or "
            "layers='all'"
        )
    return free


def stage(layer: str) -> str:
    """The part of a module path that names the stage: "blocks.4.0" -> "blocks.4", "layer2.0.conv1" -> "layer2"."""
    first, *rest = layer.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() and not first[-1].isdigit() else first


def _last_layer(backbone: Backbone, probe: Tensor) -> str:
    """The module of the layer that the network calls last."""
    called: list[str] = []

    def note(layer: str) -> Callable[..., None]:
        return lambda *_: called.append(layer)

    handles = [module.register_forward_hook(note(layer)) for layer, module in backbone.layer_modules().items()]
    try:
        with torch.no_grad():
            backbone(probe)
    finally:
        for handle in handles:
            handle.remove()
    return backbone.layer_paths()[list(dict.fromkeys(called))[-1]]
