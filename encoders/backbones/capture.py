"""Features of named layers by forward hooks; the network stops after the last of them.

A layer is a module path, such as ``layer2.0``, or one call of a module that the network calls more than once:
``layer2.0.relu:1`` is the first. Without a number it is the last call, as plain hooks give it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .tensors import unknown_name


class _Stop(Exception):
    """Raised by the hook of the last named layer, to stop the forward pass."""


class Capture:
    """Forward hooks that keep one output of every layer of `modules` and stop the pass when all are there.

    Parameters
    ----------
    modules : dict of str to nn.Module
    calls : dict of str to int, optional
        Which call of the module is kept, counted from 1. Default: the first.
    """

    def __init__(self, modules: Mapping[str, nn.Module], calls: Mapping[str, int] | None = None) -> None:
        self.modules = modules
        self.calls = calls or {}
        self.counted = dict.fromkeys(modules, 0)
        self.features: dict[str, Tensor] = {}

    def run(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """Features of every layer, in the order of `modules`; hooks are removed even after an error."""
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]
        try:
            network(images)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.modules if name not in self.features]
        if missing:
            raise ValueError(f"the network never called layer {missing[0]!r}; name a module that its forward pass uses")
        return {name: self.features[name] for name in self.modules}

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self.counted[name] += 1
            if self.counted[name] != self.calls.get(name, 1):
                return
            features = _only_tensor(name, module, output)
            if len(self.features) + 1 == len(self.modules):
                self.features[name] = features
                raise _Stop
            self.features[name] = features.clone()  # later layers may work in place

        return hook


def _only_tensor(name: str, module: nn.Module, output: Any) -> Tensor:
    """The output of a layer, or the one tensor in it where it is a tuple, list or dict."""
    if isinstance(output, Tensor):
        return output
    parts = list(output.values()) if isinstance(output, Mapping) else output
    tensors = [part for part in parts if isinstance(part, Tensor)] if isinstance(parts, list | tuple) else []
    if len(tensors) == 1 and all(part is None or isinstance(part, Tensor) for part in parts):
        return tensors[0]
    raise ValueError(
        f"layer {name!r} ({type(module).__name__}) gives a {type(output).__name__}, expected one tensor; "
        "name a layer inside or after it"
    )


def split_call(layer: str, names: Sequence[str]) -> tuple[str, int | None]:
    """Module path and number of the call, None where the layer names none; `names` are the paths of the network."""
    path, _, number = layer.rpartition(":")
    return (path, int(number)) if layer not in names and path and number.isdecimal() else (layer, None)


def layer_modules(network: nn.Module, layers: Sequence[str], uri: str) -> dict[str, nn.Module]:
    """The module of every layer; `uri` names the network in errors.

    Raises
    ------
    ValueError
        If the network has no such module.
    """
    known = {name: module for name, module in network.named_modules(remove_duplicate=False) if name}
    paths = {layer: split_call(layer, list(known))[0] for layer in layers}
    for layer, path in paths.items():
        if path not in known:
            raise ValueError(unknown_name(f"layer of {uri}", layer, list(known)))
    return {layer: known[path] for layer, path in paths.items()}


def chosen_calls(layers: Sequence[str], names: Sequence[str], counts: Mapping[str, int]) -> dict[str, int]:
    """Which call of its module each layer is, for those that are not the first; `counts` gives the calls per module.

    Raises
    ------
    ValueError
        If a layer names a call that does not exist.
    """
    calls = {}
    for layer in layers:
        path, number = split_call(layer, names)
        most = max(counts.get(path, 1), 1)
        if number is not None and not 1 <= number <= most:
            raise ValueError(
                f"layer {layer!r}: the network calls {path} {most} time{'s' if most > 1 else ''}; expected "
                f"{path}:1{f' to {path}:{most}' if most > 1 else ''}"
            )
        calls[layer] = number or most
    return {layer: call for layer, call in calls.items() if call > 1}


def count_calls(network: nn.Module, images: Tensor) -> tuple[dict[str, int], Exception | None]:
    """How often one forward pass calls each module, by path, and the error that ended the pass, None if none did.

    A module that stands in the network under several paths counts under each of them.
    """
    counts: dict[str, int] = {}

    def note(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            counts[path] = counts.get(path, 0) + 1

        return hook

    paths = [(path, module) for path, module in network.named_modules(remove_duplicate=False) if path]
    handles = [module.register_forward_hook(note(path)) for path, module in paths]
    try:
        network(images)
    except Exception as error:  # a network of unknown origin may raise anything
        return counts, error
    finally:
        for handle in handles:
            handle.remove()
    return counts, None
