"""How far a tuning moved the features of a network, and which layers explain which sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.analysis.cka import linear_cka
from encoders.contract import Floats
from encoders.reliability import varies


@dataclass(frozen=True)
class FeatureChange:
    """How far the features of a layer moved.

    Attributes
    ----------
    cka_distance : float
        1 - linear CKA of the features before and after (debiased: 1 is meant for features that have nothing in common,
        however few the images).
    relative_change : float
        Mean over images of |after - before| / |before|.
    """

    cka_distance: float
    relative_change: float


@dataclass(frozen=True)
class LayerMap:
    """Which layer explains each site.

    Attributes
    ----------
    layers : tuple of G str
        What the members read, "a+b" where they read two together.
    explained : array of shape (G, U)
        Share of the variance of the responses to the judged images that the mean of a layer's members explains; NaN =
        unknown, or a constant response.
    best : tuple of U str
        The layer that explains most; "" = unknown.
    """

    layers: tuple[str, ...]
    explained: Floats
    best: tuple[str, ...]


def feature_change(before: Tensor, after: Tensor) -> FeatureChange:
    """How far features (N, P) of the same images moved from `before` to `after`."""
    if torch.equal(before, after):
        return FeatureChange(0.0, 0.0)
    moved = (after.double() - before.double()).norm(dim=1) / before.double().norm(dim=1).clamp_min(1e-12)
    return FeatureChange(1 - linear_cka(before, after), float(moved.mean()))


def layer_map(layers: Sequence[str], predicted: Tensor, targets: Tensor, *, weights: Tensor) -> LayerMap:
    """The layer whose members explain most of each site.

    Parameters
    ----------
    layers : sequence of M str
        What each member reads.
    predicted : Tensor of shape (M, N, U)
    targets, weights : Tensors of shape (N, U)
        Mean responses, and weights that are 0 where there are none.
    """
    groups = tuple(dict.fromkeys(layers))
    y, w = targets.double(), weights.double()
    variance = (w * (y - (w * y).sum(0) / w.sum(0)).square()).sum(0)
    variance = torch.where(torch.from_numpy(varies(y.cpu().numpy())).to(y.device), variance, torch.nan)
    rows = []
    for group in groups:
        mean = predicted[[m for m, own in enumerate(layers) if own == group]].mean(0).double()
        rows.append(1 - (w * (mean - y).square()).sum(0) / variance)
    explained = torch.stack(rows).cpu().numpy()
    best = [groups[int(np.argmax(site))] if np.isfinite(site).all() else "" for site in explained.T]
    return LayerMap(groups, explained, tuple(best))
