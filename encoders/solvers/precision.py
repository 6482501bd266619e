"""Which arithmetic a ridge regression on float32 features needs: float32 where it is as good, else float64.

An error E in the kernel K changes left-out residuals by at most about |E| / (s + alpha) of their size, with s the
smallest eigenvalue of K and alpha the smallest penalty. In float32, |E| is a few roundings (1e-7) of the largest
eigenvalue. So the condition (S + alpha) / (s + alpha), with S the largest, decides; the direction of the intercept, in
which a centred kernel is zero, does not count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .smoother import Centred, Smoother, centre, gram

CONDITION = 1000.0  # the largest at which float32 serves; residuals are then good to some 1e-5, 1e-3 at the worst
LOW, HIGH = 1e-15, 1e15  # of a kernel's diagonal
WORTH = 512  # images; fewer are fitted in some 0.1 s in float64, too
BLOCK = 8  # every 8th image is looked at first: a kernel of some of the images is never worse conditioned than all


def smoother_of(
    features: Tensor, weights: Tensor, rows: Tensor | None, *, y: Tensor, alpha: float
) -> tuple[Centred, Smoother]:
    """Centred features, and the smoother of their kernel, both in float32 where that serves, else in float64.

    Features of float64, fewer than `WORTH` images, and as many images as features or more, are fitted in float64.

    Parameters
    ----------
    features : Tensor of shape (N, P)
    weights : Tensor of shape (N,), float64
    rows : Tensor of shape (M,), or None
        The images to fit; None = all.
    y : Tensor of shape (M, U), float64
        Targets less their weighted mean, times the root of the weights.
    alpha : float
        The smallest penalty.
    """
    n = len(features) if rows is None else len(rows)
    if features.dtype != torch.float64 and features.shape[1] > n >= WORTH:
        part = centre(features, weights, rows, dtype=torch.float32)
        if _some_serve(part, alpha):
            kernel = gram(part.x)
            if in_range(kernel.diagonal()):
                smoother = Smoother.of_kernel(kernel, y.float(), part.root.float())
                if serves(smoother.values[1:], alpha):  # the first is the intercept's
                    return part, smoother
        del part
    part = centre(features, weights, rows)
    return part, Smoother.of_features(part.x, y, part.root)


def _some_serve(part: Centred, alpha: float) -> bool:
    """Whether float32 serves the kernel of some of the images, with the intercept's direction filled up."""
    x, q = part.x[::BLOCK], part.root[::BLOCK] / part.root.norm()
    kernel = (x @ x.T).double()
    if not in_range(kernel.diagonal()):
        return False
    return serves(torch.linalg.eigvalsh(kernel + kernel.diagonal().mean() * torch.outer(q, q)), alpha)


def in_range(diagonal: Tensor) -> bool:
    """Whether float32 holds a kernel of this diagonal (N,) and its squares: no number of it overflows or vanishes."""
    largest = float(diagonal.max())  # NaN and infinity are outside, too
    return LOW < largest < HIGH


def serves(values: Tensor, alpha: float) -> bool:
    """Whether float32 serves a kernel of these eigenvalues (K,), in rising order, from the penalty `alpha` on."""
    if not len(values):
        return False
    smallest, largest = max(float(values[0]), 0.0), float(values[-1])
    return largest + alpha <= CONDITION * (smallest + alpha)
