"""Whether the answer of somebody's network is its own: no chance, no other images, no state that a call changes.

A network may stand behind a function that nothing can look into. So its calls are watched: every module that runs is
seen before it runs, and what a call changes is put back.
"""

from __future__ import annotations

import functools
import inspect
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Watch", "apart", "check_frozen", "tensor_of", "watched"]

# torch's own modules that depend on chance or on the batch in training mode, and whether this one does
_OF_TORCH: tuple[tuple[type[nn.Module], Callable[[Any], bool]], ...] = (
    (nn.modules.batchnorm._BatchNorm, lambda module: True),
    (nn.modules.instancenorm._InstanceNorm, lambda module: module.track_running_stats),
    (nn.modules.dropout._DropoutNd, lambda module: module.p > 0),
    (nn.RReLU, lambda module: module.lower < module.upper),
    (nn.MultiheadAttention, lambda module: module.dropout > 0),
    (nn.RNNBase, lambda module: module.dropout > 0),
)
_HARMLESS = ("torch.nn.", "torch._dynamo.", "torch.fx.")  # their other modules do not ask for their mode
_NOT_CALLS = ("__init__", "train", "eval", "extra_repr", "training")


def unsteady(module: nn.Module) -> bool:
    """Whether a module is in training mode and is not known to answer then as it does in evaluation mode.

    Batch normalisation that keeps no statistics takes those of the batch in either mode.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        return True
    if not module.training:
        return False
    for kind, depends in _OF_TORCH:
        if isinstance(module, kind):
            return depends(module)
    return isinstance(module, torch.jit.ScriptModule) or _asks_for_its_mode(type(module).__mro__)


@functools.cache
def _asks_for_its_mode(bases: tuple[type, ...]) -> bool:
    """Whether any method of a class of modules, or of its bases, reads ``self.training``."""
    for base in bases:
        if base in (nn.Module, object) or f"{base.__module__}.".startswith(_HARMLESS):
            continue
        for name, member in vars(base).items():
            function = inspect.unwrap(member) if callable(member) else getattr(member, "fget", None)
            code = getattr(function, "__code__", None)
            if name not in _NOT_CALLS and code is not None and _names(code, "training"):
                return True
    return False


def _names(code: CodeType, name: str) -> bool:
    return name in code.co_names or any(_names(c, name) for c in code.co_consts if isinstance(c, CodeType))


def check_frozen(network: object, what: str = "encoder") -> None:
    """Refuse a network, called `what`, with a module whose answer depends on chance or on the other images.

    Raises
    ------
    ValueError
        Names the modules that are in training mode, and the way out.
    """
    if not isinstance(network, nn.Module):
        return
    found = [(name, module) for name, module in network.named_modules() if unsteady(module)]
    if found:
        raise ValueError(_in_training(found, what))


def _in_training(found: Sequence[tuple[str, nn.Module]], what: str) -> str:
    (name, module), more = found[0], len(found) - 1
    others = f" (and {more} more)" if more else ""
    if not module.training:
        return (
            f"the {what}'s {type(module).__name__} {name!r} keeps no running statistics{others}, so that an image's "
            "response depends on the other images; expected track_running_stats=True in its training, or a group norm"
        )
    return (
        f"the {what}'s {type(module).__name__} {name!r} is in training mode{others}, so that an image's response "
        f"depends on chance or on the other images; call {what.split()[0]}.eval() first"
    )


@dataclass
class Watch:
    """What was seen while the calls of a network were watched.

    Attributes
    ----------
    drew : bool
        A global generator of random numbers (of torch, numpy or Python) went on.
    changed : list of str
        Buffers that the calls have changed, such as "BatchNorm2d.running_mean"; they are as before again.
    refused : ValueError, or None
        The refusal of a module, also where somebody has caught it.
    """

    drew: bool = False
    changed: list[str] = field(default_factory=list)
    refused: ValueError | None = None


@contextmanager
def watched(network: object, what: str, device: torch.device) -> Iterator[Watch]:
    """Watch the calls of `network`, called `what`; afterwards its buffers and all generators are as they were before.

    Parameters
    ----------
    network : callable
        Modules that it calls are seen wherever it keeps them.
    what : str
        For error messages, such as "encoder".
    device : torch.device
        Whose generator of random numbers is watched beside that of the CPU.

    Raises
    ------
    ValueError
        By the call itself, before a module in training mode runs (see `check_frozen`).
    """
    names = {id(m): name for name, m in network.named_modules()} if isinstance(network, nn.Module) else {}
    thread, kept, watch = threading.get_ident(), {}, Watch()

    def look(module: nn.Module, inputs: object) -> None:
        if threading.get_ident() != thread or id(module) in kept:
            return
        if unsteady(module):
            hidden = f"{names[id(module)]}" if id(module) in names else "behind it"
            watch.refused = ValueError(_in_training([(hidden, module)], what))
            raise watch.refused
        own = {name: value for name, value in module.named_buffers(recurse=False) if value is not None}
        kept[id(module)] = module, {name: (value, value.clone()) for name, value in own.items()}

    before = _generators(device)
    hook = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using `torch.compile")  # it tells of the hook
            yield watch
    except Exception as error:
        raise error if watch.refused is None else watch.refused from error.__cause__
    finally:
        hook.remove()
        watch.drew = not _equal(before, _generators(device))
        _set_generators(before, device)
        for module, buffers in kept.values():
            watch.changed += _put_back(module, buffers)


def _put_back(module: nn.Module, buffers: dict[str, tuple[Tensor, Tensor]]) -> list[str]:
    """Give a module the buffers that it had; the names of those that had changed."""
    changed = []
    for name, (buffer, copy) in buffers.items():
        now = getattr(module, name, None)
        same = isinstance(now, Tensor) and now.shape == copy.shape and _alike(now, copy)
        if now is buffer and same:
            continue
        with torch.no_grad():
            buffer.copy_(copy)
        setattr(module, name, buffer)
        if not same:
            changed.append(f"{type(module).__name__}.{name}")
    return changed


def _alike(now: Tensor, copy: Tensor) -> bool:
    return apart(now, copy) == 0 if copy.is_floating_point() else torch.equal(now, copy)


def _generators(device: torch.device) -> list[Any]:
    """The states of the global generators of random numbers."""
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()]  # noqa: NPY002
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_generators(states: list[Any], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])  # noqa: NPY002
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[3], device)


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(before, after)
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if isinstance(before, list | tuple):
        return all(_equal(a, b) for a, b in zip(before, after, strict=True))
    return bool(before == after)


def tensor_of(answer: object, what: str, gives: str) -> Tensor:
    """`answer` of a network, called `what`, where it is a floating-point tensor; `gives` says which, as in "(B, U)".

    Raises
    ------
    ValueError
        Says what it is instead, and how to wrap the network.
    """
    if isinstance(answer, Tensor):
        if answer.layout != torch.strided:
            raise ValueError(f"the {what} gives a sparse tensor; expected a dense one {gives}: return it.to_dense()")
        if answer.is_floating_point():
            return answer
        raise ValueError(f"the {what} gives a tensor of type {answer.dtype}; expected floating-point {gives}")
    name, call = type(answer).__name__, what.split()[0]
    if answer is None:
        cure = "return the tensor at the end of its forward"
    elif hasattr(answer, "keys"):
        keys = ", ".join(repr(k) for k in list(answer.keys())[:5])
        cure = f"it has the keys {keys or '(none)'}: choose one, as in lambda x: {call}(x)[KEY]"
    elif isinstance(answer, list | tuple):
        cure = (
            f"it has {len(answer)} elements: choose one, as in lambda x: {call}(x)[0], or torch.stack those of members"
        )
    elif isinstance(answer, np.ndarray | np.generic):
        cure = "a gradient must lead back to the images: compute in torch, without .numpy()"
    else:
        cure = f"return a tensor, as in lambda x: {call}(x).ATTRIBUTE"
    raise ValueError(f"the {what} gives a {name}; expected one floating-point tensor {gives}; {cure}")


def apart(first: Tensor, second: Tensor) -> float:
    """The largest difference between two tensors of one shape; NaN and infinity are equal to themselves alone."""
    same = (first == second) | (first.isnan() & second.isnan())
    difference = torch.where(same, 0.0, (first.double() - second.double()).abs())
    return float(difference.nan_to_num(torch.inf).max()) if difference.numel() else 0.0
