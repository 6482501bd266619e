"""Fold batch normalisation into the convolution before it: the same function of a frozen network, in less time."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["fold_batch_norm"]


def fold_batch_norm(network: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Fold every batch normalisation that is defined right after a convolution into it, in place; returns how many.

    The network must call each such pair in the order of its definition, as the EfficientNets of timm do; what the normalisation layer
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
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch normalisation without running statistics cannot be folded; expected a trained one")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
