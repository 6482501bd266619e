"""Controversial pairs: two images of which one encoder prefers the first and another encoder the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.contract import EncoderLike, attributes_of
from synth.objectives import Objective, stretch, suppress, within

__all__ = ["OTHER", "Limits", "SideBySide", "best_pairs", "controversial", "disagreement", "side_by_side"]

OTHER = "_other"
"""What is added to a site's name for the second encoder's column."""
PENALTY = 50.0
"""Per squared natural SD outside the natural range, against 1 per SD of disagreement."""

ROWS = 512
"""Images that are compared with all others at once."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """The natural range of what two encoders predict, each in its own natural SDs.

    Attributes
    ----------
    first, second : float64 arrays of shape (U, 2)
        Low and high end per site, such as the 1st and 99th percentile over photographs.
    """

    first: Array
    second: Array

    @classmethod
    def of(cls, first: Array, second: Array, percentiles: tuple[float, float] = (1.0, 99.0)) -> Limits:
        """The range of predictions (N, U) of photographs by two encoders."""
        return cls(*(np.percentile(z, percentiles, axis=0).T for z in (first, second)))


class SideBySide(nn.Module):
    """See `side_by_side`."""

    natural_mean: Tensor
    natural_sd: Tensor
    columns_first: Tensor
    columns_second: Tensor

    def __init__(self, first: EncoderLike, second: EncoderLike, site_ids: Sequence[str]) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.site_ids = (*site_ids, *(f"{s}{OTHER}" for s in site_ids))
        known = [attributes_of(encoder) for encoder in (first, second)]
        means, sds = [], []
        for part, name in zip(known, ("first", "second"), strict=True):
            if part.site_ids is None or part.mean is None or part.sd is None:
                raise ValueError(f"the {name} encoder has no site_ids or no natural mean and SD; expected all of them")
            missing = [s for s in site_ids if s not in part.site_ids]
            if missing:
                raise ValueError(f"the {name} encoder lacks {', '.join(missing[:5])}; expected the sites of both")
            columns = [part.site_ids.index(s) for s in site_ids]
            self.register_buffer(f"columns_{name}", torch.tensor(columns, device=part.device))
            means.append(part.mean[columns].cpu())
            sds.append(part.sd[columns].cpu())
        self.register_buffer("natural_mean", torch.cat(means).to(known[0].device))
        self.register_buffer("natural_sd", torch.cat(sds).to(known[0].device))
        self.fingerprint = "|".join(part.fingerprint or "unnamed" for part in known)

    def forward(self, images: Tensor) -> Tensor:
        """Responses (B, 2 U): the first encoder's sites, then the second's; each the mean over its members."""
        answers = []
        for encoder, columns in ((self.first, self.columns_first), (self.second, self.columns_second)):
            responses = encoder(images)
            mean = responses.mean(0) if responses.dim() == 3 else responses
            answers.append(mean.index_select(-1, columns))
        return torch.cat([a.to(answers[0]) for a in answers], -1)


@torch.inference_mode(False)
def side_by_side(first: EncoderLike, second: EncoderLike, site_ids: Sequence[str]) -> SideBySide:
    """Two encoders of the same sites as one of twice as many: columns ``v4_012`` and ``v4_012_other``.

    Each keeps its own natural mean and SD, so that every objective compares them in natural SDs.

    Raises
    ------
    ValueError
        An encoder without names, natural mean or SD, or without one of the sites.
    """
    if not site_ids or len(set(site_ids)) != len(site_ids):
        raise ValueError(f"sites {list(site_ids)[:5]}; expected at least one, every site once")
    both = SideBySide(first, second, site_ids)
    twice = {s for s in both.site_ids if list(both.site_ids).count(s) > 1}
    if twice:
        raise ValueError(f"sites named {', '.join(sorted(twice))} too; expected no name that ends in {OTHER!r}")
    return both


def controversial(site_ids: Sequence[str], limits: Limits, *, penalty: float = PENALTY) -> Objective:
    """For every site a pair of images, two rows: the first encoder high and the second low, then the reverse.

    ``z_first - z_second - penalty x (squared distance of either from its natural range)``, for `side_by_side` encoders:
    the form of Golan, Raju & Kriegeskorte (2020) for encoders, which have no class probabilities. Inside the natural
    range of both, neither prediction is an extrapolation.
    """
    rows = []
    for u, site in enumerate(site_ids):
        other = f"{site}{OTHER}"
        inside = within([site], *limits.first[u].tolist()) + within([other], *limits.second[u].tolist())
        rows.append(stretch([site]) + suppress([other]) + penalty * inside)
        rows.append(stretch([other]) + suppress([site]) + penalty * inside)
    return reduce(or_, rows)


def disagreement(first: Array, second: Array, limits: Limits, *, slack: float = 0.1) -> Array:
    """``z_first - z_second`` of images (N, U); NaN where either is more than `slack` SDs outside its natural range."""
    inside = np.ones(first.shape, dtype=bool)
    for z, ends in ((first, limits.first), (second, limits.second)):
        inside &= (z >= ends[:, 0] - slack) & (z <= ends[:, 1] + slack)
    return np.where(inside, first - second, np.nan)


def best_pairs(first: Array, second: Array, limits: Limits) -> NDArray[np.int64]:
    """The most controversial pair among images with predictions (N, U): (U, 2) indices.

    It has the largest ``min(z_first(p) - z_first(q), z_second(q) - z_second(p))`` of all pairs (p, q) within the
    natural range of both encoders, or of all pairs where fewer than two images are.
    """
    inside = np.isfinite(disagreement(first, second, limits))
    pairs = [
        _best_pair(a, b, np.flatnonzero(known) if known.sum() > 1 else np.arange(len(a)))
        for a, b, known in zip(first.T, second.T, inside.T, strict=True)
    ]
    return np.array(pairs, dtype=np.int64)


def _best_pair(first: Array, second: Array, among: NDArray[np.int64]) -> tuple[int, int]:
    best, pair = -np.inf, (int(among[0]), int(among[0]))
    for begin in range(0, len(among), ROWS):
        rows = among[begin : begin + ROWS]
        weaker = np.minimum(first[rows, None] - first[among], second[among] - second[rows, None])
        where = int(weaker.argmax())
        if weaker.flat[where] > best:
            best, (p, q) = weaker.flat[where], np.unravel_index(where, weaker.shape)
            pair = int(rows[p]), int(among[q])
    return pair
