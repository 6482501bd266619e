"""Controversial pairs: planted disagreements are found, agreement gives nothing, and both encoders are asked as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synth import Objective, ascend, fourier
from synth.comparison.controversial import (
    OTHER,
    Limits,
    best_pairs,
    controversial,
    disagreement,
    side_by_side,
)

SHAPE = (1, 12, 12)
SITES = ("a", "b")


class Linear(nn.Module):
    """Responses w . (x - 0.5), natural mean 0 and SD 1."""

    weights: torch.Tensor

    def __init__(self, weights: torch.Tensor, sites: tuple[str, ...] = SITES, *, mean: float = 0.0, sd: float = 1.0):
        super().__init__()
        self.register_buffer("weights", weights)
        self.site_ids = sites
        self.natural_mean, self.natural_sd = torch.full((len(sites),), mean), torch.full((len(sites),), sd)
        self.scale, self.offset, self.fingerprint = sd, mean, f"lin_{float(weights.sum()):.3f}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5).flatten(1) @ self.weights.T * self.scale + self.offset


def weights(seed: int, sites: int = 2) -> torch.Tensor:
    return torch.randn(sites, 144, generator=torch.Generator().manual_seed(seed)) / 4


def wide(count: int = 2, end: float = 5.0) -> Limits:
    ends = np.tile([-end, end], (count, 1))
    return Limits(ends, ends)


def test_columns_are_those_of_both_encoders_in_their_own_units() -> None:
    first, second = Linear(weights(0), mean=3, sd=2), Linear(weights(1)[[1, 0]], ("b", "a"))
    both = side_by_side(first, second, SITES)
    assert both.site_ids == ("a", "b", f"a{OTHER}", f"b{OTHER}")
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(2))
    z = (both(images) - both.natural_mean) / both.natural_sd
    plain = [(images - 0.5).flatten(1) @ weights(seed).T for seed in (0, 1)]
    assert torch.allclose(z, torch.cat(plain, -1), atol=1e-5)


def test_members_are_averaged() -> None:
    parts = [Linear(weights(s)) for s in (0, 1)]

    def ensemble(images: torch.Tensor) -> torch.Tensor:
        return torch.stack([p(images) for p in parts])

    for name in ("site_ids", "natural_mean", "natural_sd"):
        setattr(ensemble, name, getattr(parts[0], name))
    both = side_by_side(ensemble, parts[1], SITES)
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(both(images)[:, :2], (parts[0](images) + parts[1](images)) / 2, atol=1e-6)


def test_the_planted_direction_of_disagreement_is_found() -> None:
    """Two encoders that share all but one direction: the pair differs along it and nowhere else that either sees."""
    common, apart = weights(3, 1), weights(4, 1)
    apart -= common * (apart * common).sum() / common.square().sum()
    first, second = Linear(common + apart, ("a",)), Linear(common - apart, ("a",))
    both = side_by_side(first, second, ("a",))
    objective = controversial(("a",), wide(1))
    assert isinstance(objective, Objective)
    assert len(objective) == 2
    grey = torch.full((2, *SHAPE), 0.5) + 0.01 * torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    batch = ascend(both, objective, fourier(SHAPE, decay=0.0), transforms=(), steps=60, start=grey)
    z = (batch.predicted - both.natural_mean.numpy()) / both.natural_sd.numpy()
    assert disagreement(z[:, :1], z[:, 1:], wide(1))[0, 0] > 2
    assert disagreement(z[:, :1], z[:, 1:], wide(1))[1, 0] < -2
    difference = torch.from_numpy(batch.images[0].astype(np.float32) - batch.images[1]).flatten() / 255
    along, across = float(difference @ apart[0]), float(difference @ common[0])
    assert along > 2
    assert abs(across) < 0.25 * along


def test_nearly_equal_encoders_disagree_about_nearly_nothing() -> None:
    first = Linear(weights(5))
    both = side_by_side(first, Linear(weights(5) + 1e-3 * weights(9)), SITES)
    batch = ascend(both, controversial(SITES, wide()), fourier(SHAPE), transforms=(), steps=15)
    z = batch.predicted
    assert np.abs(disagreement(z[:, :2], z[:, 2:], wide())).max() < 0.02


def test_predictions_stay_in_the_natural_range_of_both() -> None:
    first, second = Linear(3 * weights(6)), Linear(3 * weights(7))
    limits = wide(end=1.0)
    both = side_by_side(first, second, SITES)
    batch = ascend(both, controversial(SITES, limits), fourier(SHAPE), transforms=(), steps=120, learning_rate=0.02)
    apart = disagreement(batch.predicted[:, :2].astype(float), batch.predicted[:, 2:].astype(float), limits)
    own = apart[np.arange(4), [0, 0, 1, 1]]
    assert np.isfinite(own).all(), "none ran out of the range"
    assert (own * [1, -1, 1, -1] > 1.0).all()


def test_out_of_range_is_nan_and_slack_is_kept() -> None:
    limits = wide(1, end=1.0)
    first, second = np.array([[1.05], [1.2], [0.0]]), np.array([[0.0], [0.0], [-1.3]])
    assert np.array_equal(np.isnan(disagreement(first, second, limits)), [[False], [True], [True]])
    assert np.isnan(disagreement(first, second, limits, slack=0.0)).all()


@pytest.mark.parametrize("images", [3, 40, 1100])
def test_the_best_pair_is_that_of_brute_force(images: int) -> None:
    rng = np.random.default_rng(images)
    first, second = rng.normal(size=(2, images, 2))
    limits = Limits.of(first, second)
    found = best_pairs(first, second, limits)
    for u, (p, q) in enumerate(found):
        inside = np.flatnonzero(np.isfinite(disagreement(first, second, limits)[:, u]))
        among = inside if len(inside) > 1 else np.arange(images)
        a, b = first[among, u], second[among, u]
        best = np.minimum(a[:, None] - a, b - b[:, None]).max()
        assert min(first[p, u] - first[q, u], second[q, u] - second[p, u]) == best


def test_sites_that_are_not_there_or_named_twice_are_refused() -> None:
    first = Linear(weights(8))
    with pytest.raises(ValueError, match="lacks c"):
        side_by_side(first, first, ("a", "c"))
    with pytest.raises(ValueError, match="every site once"):
        side_by_side(first, first, ("a", "a"))
    with pytest.raises(ValueError, match="natural mean"):
        side_by_side(first, lambda x: x.flatten(1)[:, :2], SITES)
    odd = Linear(weights(8), ("a", f"a{OTHER}"))
    with pytest.raises(ValueError, match="ends in"):
        side_by_side(odd, odd, odd.site_ids)
