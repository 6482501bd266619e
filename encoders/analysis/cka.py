"""Linear centred kernel alignment (CKA) of two representations of the same images."""

from __future__ import annotations

import math

from torch import Tensor


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same images, 0 ... 1 (Kornblith et al. 2019, eq.
    5).

    Parameters
    ----------
    a, b : Tensors of shape (N, P) and (N, Q)

    Returns
    -------
    float
        1 = the same up to a rotation and one scale; NaN where either is constant.
    """
    grams = []
    for rows in (a, b):
        centred = rows.double() - rows.double().mean(0)
        grams.append(centred @ centred.T)  # (N, N); |A'B|^2 = <AA', BB'>
    scale = float(grams[0].norm() * grams[1].norm())
    return min(1.0, float((grams[0] * grams[1]).sum()) / scale) if scale > 0 else math.nan
