"""Fold batch normalisation into the convolution before it: the same function of a frozen network, in less time."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .capture import Capture

__all__ = ["fold_batch_norm", "fold_if_unchanged"]

PROBE_SIZE = 224  # side of the image by which networks are compared; one that any of them takes
AGREEMENT = 1e-3  # largest difference of a layer's output over its largest value


def fold_batch_norm(network: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Fold every batch normalisation that is defined right after a convolution into it, in place; returns how many.

    The network must call each such pair in the order of its definition (`fold_if_unchanged` sees to that); what the normalisation layer
    does besides (timm's activation) stays in its place. Outputs agree to rounding (relative 1e-5).

    Parameters
    ----------
    network : nn.Module in evaluation mode
    keep : tuple of str
        Module paths whose output is asked for: a convolution among them, or a part of a normalisation, is left as it is.
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


@torch.no_grad()
def fold_if_unchanged(network: nn.Module, layers: Sequence[str], input_size: int | None = None) -> nn.Module:
    """A folded copy of a network, or the network itself where nothing can be folded or folding would change `layers`.

    Whether it would is seen on one image of noise: a network may call its modules in another order than it defines them in.

    Parameters
    ----------
    network : nn.Module in evaluation mode
    layers : sequence of str
        Module paths whose output is asked for.
    input_size : int or None
        Side of the square image that the network takes; None = any.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    folded = copy.deepcopy(network)
    if not fold_batch_norm(folded, tuple(layers)):
        return network
    size = input_size or PROBE_SIZE
    probe = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain, changed = (
        Capture({name: each.get_submodule(name) for name in layers}).run(each, probe) for each in (network, folded)
    )
    agree = all((changed[n] - plain[n]).abs().max() <= AGREEMENT * plain[n].abs().max() for n in layers)
    return folded if agree else network


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch normalisation without running statistics cannot be folded; expected a trained one")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
