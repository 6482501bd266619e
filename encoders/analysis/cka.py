"""Linear centred kernel alignment (CKA) of two representations of the same images, without the bias of few images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MINIMUM_IMAGES = 4
ROUNDING = 1e-12


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same images (Kornblith et al. 2019), debiased.

    The ratio HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b)) of the unbiased estimates of Song et al. 2012 (HSIC_1), as in
    Nguyen, Raghu & Kornblith 2021. The plain ratio is near 1 for any two representations with many more features than
    images; this one is near 0 where they have nothing in common, and may be slightly negative.

    Parameters
    ----------
    a, b : Tensors of shape (N, P) and (N, Q)
        Four images or more.

    Returns
    -------
    float
        1 = the same up to a rotation and one scale. NaN where either is constant, or its images have no more in common
        than by chance (HSIC of it with itself not above 0), and for fewer than four images.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} rows and {len(b)} rows; expected one row per image in both")
    if len(a) < MINIMUM_IMAGES:
        return math.nan
    first, second = (_kernel(rows) for rows in (a, b))
    own = _hsic(first, first), _hsic(second, second)
    if not min(own) > 0:
        return math.nan
    return min(1.0, _hsic(first, second) / math.sqrt(own[0] * own[1]))


def _kernel(rows: Tensor) -> Tensor:
    """Linear kernel (N, N) of centred rows with zeros on the diagonal; 0 if constant."""
    x = rows.flatten(1).double()
    centred = x - x.mean(0)
    constant = centred.abs().amax(0) <= ROUNDING * x.abs().amax(0)
    centred = torch.where(constant, 0.0, centred)
    largest = centred.abs().max()
    centred = centred / largest if float(largest) > 0 else centred
    kernel = centred @ centred.T
    return kernel.fill_diagonal_(0.0)


def _hsic(k: Tensor, m: Tensor) -> float:
    """HSIC_1 of two kernels (N, N) with zero diagonals (Song et al. 2012, eq. 5), times n (n - 3)."""
    n = len(k)
    across = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
    return float((k * m).sum() + across)
