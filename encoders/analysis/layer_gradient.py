"""Do later areas choose deeper layers? A permutation test on the layers chosen for the sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.contract import Floats, Ints

from .rdm import average_ranks


@dataclass(frozen=True)
class LayerGradient:
    """Result of `layer_gradient`: areas in order, mean layer index and number of sites of each, statistic and its p."""

    areas: tuple[str, ...]
    mean_layer: Floats
    n_sites: Ints
    statistic: float
    p: float


def layer_gradient(
    best_layer: ArrayLike,
    area: Sequence[str] | NDArray[np.str_],
    n_permutations: int = 9999,
    *,
    order: Sequence[str] | None = None,
    seed: int = 0,
) -> LayerGradient:
    """Mean chosen layer of every area, with a permutation test of their differences (Güçlü & van Gerven 2015).

    Sites are permuted over areas, as if they were exchangeable. Sites of one array or subject share noise, and p is
    then too small. Layers with unequal numbers of features or spatial extents give gradients of their own; match these
    first.

    Parameters
    ----------
    best_layer : array of shape (U,), int >= 0
        Index of the layer that predicts the site best, chosen in inner folds.
    area : sequence of U str
    n_permutations : int
    order : sequence of str, optional
        All areas, from early to late: the statistic is Spearman's correlation of area and layer, tested one-sided for
        an increase. Default: any difference between areas, the statistic being the between-area part of the layer
        variance, in [0, 1].
    seed : int

    Returns
    -------
    LayerGradient
        p = (1 + number of permutations with a statistic at least as large) / (1 + n_permutations).

    Notes
    -----
    Not `scipy.stats.permutation_test`: one matrix product per permutation gives the statistic of all areas at once.
    """
    layers, labels = np.asarray(best_layer), np.asarray(area).astype(str)
    names = tuple(sorted(set(labels.tolist()))) if order is None else tuple(order)
    known = set(labels.tolist())
    integers = np.issubdtype(layers.dtype, np.integer) and layers.ndim == 1 and bool((layers >= 0).all())
    if not integers or labels.shape != layers.shape or sorted(known) != sorted(names) or len(names) < 2:
        raise ValueError(
            f"best_layer {layers.shape} {layers.dtype}, areas {sorted(known)} of shape {labels.shape}, order {order}; "
            "expected U integers >= 0 and U labels of at least two areas, each of them in `order` once. Likely cause: "
            "sites without a chosen layer. Fix: leave them out"
        )
    membership = (labels == np.array(names)[:, None]).astype(np.float64)  # (A, U)
    counts = membership.sum(1)
    if order is None:
        x, contrasts, power = layers.astype(np.float64), membership / np.sqrt(counts)[:, None], 2
    else:
        x, contrasts, power = (
            average_ranks(layers.astype(np.float64)),
            _centred_unit(average_ranks(membership.argmax(0).astype(np.float64)))[None],
            1,
        )
    x = _centred_unit(x)
    generator = np.random.default_rng(seed)
    observed = float(((contrasts @ x) ** power).sum())
    drawn = [((contrasts @ generator.permutation(x)) ** power).sum() for _ in range(n_permutations)]
    p = (1 + int((np.array(drawn) >= observed - 1e-12).sum())) / (1 + n_permutations)
    return LayerGradient(
        areas=names, mean_layer=membership @ layers / counts, n_sites=counts.astype(np.int64), statistic=observed, p=p
    )


def _centred_unit(x: Floats) -> Floats:
    """`x` less its mean, of length 1; zeros where it does not vary."""
    centred = x - x.mean()
    length = np.sqrt((centred * centred).sum())
    return np.asarray(centred / length if length > 0 else centred)
