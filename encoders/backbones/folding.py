"""Exact rewrites that make a frozen network faster.

Batch norms are folded into convolutions, rectifiers are moved behind max-pooling.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .capture import Capture, layer_modules, split_call

__all__ = ["fold_batch_norm", "pool_before_relu", "rewritten"]

PROBE_SIZE = 224  # side of the image on which networks are compared; all of them accept it
AGREEMENT = 1e-3  # largest difference of a layer's output over its largest value


def fold_batch_norm(network: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Fold every batch normalisation that is defined right after a convolution into it, in place; returns how many.

    The network must call each such pair in the order of its definition (`rewritten` sees to that); what the
    normalisation layer does besides (timm's activation) stays in its place. Outputs agree to rounding (relative 1e-5).

    Parameters
    ----------
    network : nn.Module in evaluation mode
    keep : tuple of str
        Module paths whose output is read: a convolution among them, or a part of a normalisation, is not changed.
    """
    folded = 0
    for prefix, module in list(network.named_modules()):
        children = list(module.named_children())
        for (name, convolution), (next_name, norm) in itertools.pairwise(children):
            path, norm_path = (f"{prefix}.{child}" if prefix else child for child in (name, next_name))
            asked = path in keep or any(layer.startswith(norm_path + ".") for layer in keep)
            if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or asked:
                continue
            _fold(convolution, norm)
            setattr(module, next_name, getattr(norm, "act", nn.Identity()))
            folded += 1
    return folded


def pool_before_relu(network: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Swap every rectifier with the max-pooling that is defined right after it, in place; returns how many.

    Both orders give the same values and gradients, bit for bit (a rectifier keeps the order of values), but this one
    rectifies a quarter of them. Only the output of the rectifier itself changes.

    Parameters
    ----------
    network : nn.Module
    keep : tuple of str
        Module paths whose output is read: a rectifier among them is not moved.
    """
    moved = 0
    for prefix, module in list(network.named_modules()):
        for (name, relu), (next_name, pool) in itertools.pairwise(list(module.named_children())):
            asked = (f"{prefix}.{name}" if prefix else name) in keep
            plain = isinstance(pool, nn.MaxPool2d) and not pool.return_indices
            if type(relu) is nn.ReLU and plain and not asked:
                setattr(module, name, pool)
                setattr(module, next_name, relu)
                moved += 1
    return moved


@torch.no_grad()
def rewritten(
    network: nn.Module,
    change: Callable[[nn.Module, tuple[str, ...]], int],
    layers: Sequence[str],
    *,
    input_size: int | None = None,
    calls: Mapping[str, int] | None = None,
) -> nn.Module:
    """A copy of a network after `change`, or the network itself where nothing changes or `layers` would give other
    features.

    Features are compared on one image of noise, because a network may call its modules in another order than that of
    their definition.

    Parameters
    ----------
    network : nn.Module in evaluation mode
    change : `fold_batch_norm`, `pool_before_relu`, or any like them
        Works in place on a network, given the layers that are read; returns the number of changes.
    layers : sequence of str
        Layers that are read: module paths, or calls of modules.
    input_size : int or None
        Side of the square image that the network takes; None = any.
    calls : dict of str to int, optional
        Which call of its module each layer is, for those that are not the first.
    """
    if not any(isinstance(module, (nn.BatchNorm2d, nn.MaxPool2d)) for module in network.modules()):
        return network
    copied = copy.deepcopy(network)
    names = [name for name, _ in network.named_modules(remove_duplicate=False)]
    if not change(copied, tuple(split_call(layer, names)[0] for layer in layers)):
        return network
    size = input_size or PROBE_SIZE
    probe = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))

    def features(of: nn.Module) -> dict[str, Tensor]:
        return Capture(layer_modules(of, layers, "the network"), calls).run(of, probe)

    plain = features(network)
    try:
        changed = features(copied)
    except Exception:  # the changed modules may lack something that the network uses; unchanged it ran above
        return network
    agree = all(
        changed[n].shape == plain[n].shape and (changed[n] - plain[n]).abs().max() <= AGREEMENT * plain[n].abs().max()
        for n in layers
    )
    return copied if agree else network


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch normalisation without running statistics cannot be folded; expected a trained one")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
