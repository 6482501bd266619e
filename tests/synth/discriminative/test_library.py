"""Groups in the answers to photographs: found where they are planted, not where sites are alike or a continuum."""

from __future__ import annotations

import numpy as np
import pytest

from synth.discriminative.library import beyond_chance, by_photographs, gap, independent, rotated
from synth.discriminative.partition import adjusted_rand

PHOTOGRAPHS, SITES = 150, 30
FIVE = np.arange(SITES) % 5


def standard(z: np.ndarray) -> np.ndarray:
    return (z - z.mean(0)) / z.std(0)


def planted(types: int, seed: int, noise: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(SITES) % types)
    shared = np.exp(rng.standard_normal((PHOTOGRAPHS, types)))
    return standard(shared[:, truth] + noise * rng.standard_normal((PHOTOGRAPHS, SITES))), truth


def best_of(z: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The clusters by photographs with the best objective of eight partitions."""
    runs = [by_photographs(z, clusters, np.random.default_rng([seed, s])) for s in range(8)]
    return max(runs, key=lambda run: run[2])[0]


def test_planted_groups_are_beyond_chance_and_found() -> None:
    z, truth = planted(5, 0)
    chance = beyond_chance(z, truth, draws=39)
    assert chance.p == pytest.approx(1 / 40)
    assert chance.grouped(0.05)
    runs = [by_photographs(z, 5, np.random.default_rng(s)) for s in range(8)]
    labels, images, objective = max(runs, key=lambda run: run[2])
    assert adjusted_rand(labels, truth) >= 0.9
    assert len(images) == 5
    assert objective <= np.log(5)


@pytest.mark.parametrize("kind", ["sparse", "gaussian", "one type", "continuum"])
def test_sites_without_groups_are_not(kind: str) -> None:
    significant = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        own = rng.standard_normal((PHOTOGRAPHS, SITES))
        z = {
            "sparse": lambda own=own: np.exp(own),
            "gaussian": lambda own=own: own,
            "one type": lambda own=own, rng=rng: rng.standard_normal((PHOTOGRAPHS, 1)) + own,
            "continuum": lambda own=own, rng=rng: (
                rng.standard_normal((PHOTOGRAPHS, 4)) @ rng.standard_normal((4, SITES)) + 0.5 * own
            ),
        }[kind]()
        significant += beyond_chance(standard(z), FIVE, draws=19, seed=seed).p <= 0.05
    assert significant <= 1  # of 6 at alpha = 0.05


NONLINEAR = {"gaussian": lambda x: x, "relu": lambda x: np.maximum(x, 0), "exp": np.exp, "square": np.square}


@pytest.mark.parametrize("kind", sorted(NONLINEAR))
def test_a_continuum_has_no_gap_whatever_the_nonlinearity_of_its_sites(kind: str) -> None:
    """The nulls alone take a rectified, exponential or squared continuum for groups, nearly always."""
    grouped = 0
    for dimensions in (2, 3, 5, 8):
        for seed in range(5):
            rng = np.random.default_rng([seed, dimensions])
            weights = rng.standard_normal((dimensions, SITES))
            drive = rng.standard_normal((PHOTOGRAPHS, dimensions)) @ (weights / np.linalg.norm(weights, axis=0))
            z = standard(standard(NONLINEAR[kind](drive)) + 0.3 * rng.standard_normal(drive.shape))
            grouped += gap(z, best_of(z, 5, seed)) > 0
    assert grouped <= 1  # of 20


def test_a_rectified_continuum_is_no_groups_though_beyond_both_nulls() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, SITES))
    drive = rng.standard_normal((PHOTOGRAPHS, 4)) @ (weights / np.linalg.norm(weights, axis=0))
    z = standard(np.maximum(drive, 0))
    chance = beyond_chance(z, best_of(z, 5, 0), draws=19)
    assert chance.p == 0.05  # what is to be caught
    assert not chance.grouped(0.05)


@pytest.mark.parametrize(("types", "least"), [(2, 8), (3, 8), (5, 8)])
def test_planted_groups_have_a_gap(types: int, least: int) -> None:
    grouped = 0
    for seed in range(10):
        z, _ = planted(types, seed)
        grouped += gap(z, best_of(z, types, seed)) > 0
    assert grouped >= least


def test_the_gap_is_the_weakest_link_less_the_largest_correlation_across() -> None:
    mixed = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 6)))[0]
    basis = np.linalg.qr(mixed - mixed.mean(0))[0]  # uncorrelated columns of mean 0
    corr = np.eye(5)  # sites 0, 1, 2 are a chain, 3 and 4 a pair
    for a, b, r in ((0, 1, 0.7), (1, 2, 0.6), (0, 2, 0.2), (3, 4, 0.8), (2, 3, 0.3)):
        corr[a, b] = corr[b, a] = r
    z = basis[:, :5] @ np.linalg.cholesky(corr).T
    labels = np.array([0, 0, 0, 1, 1])
    assert gap(z, labels) == pytest.approx(0.6 - 0.3)
    assert gap(np.hstack([z, np.ones((50, 1))]), np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(0.0 - 0.3)
    assert gap(z, np.array([0, 0, 1, 2, 2])) == pytest.approx(0.7 - 0.0, abs=1e-9)  # a site alone is left out
    assert gap(z, np.array([0, 0, 0, 0, 1])) == -2
    assert gap(z, np.zeros(5, dtype=np.int64)) == -2


def test_the_nulls_keep_what_they_promise() -> None:
    z, _ = planted(3, 1)
    z = 2.0 + 3.0 * z
    alone, turned = independent(z, np.random.default_rng(0)), rotated(z, np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(alone, 0), np.sort(z, 0))  # every site keeps its answers
    assert np.abs(np.corrcoef(alone.T) - np.eye(SITES)).mean() < 0.1
    np.testing.assert_allclose(turned.mean(0), z.mean(0))
    np.testing.assert_allclose(turned.std(0), z.std(0))
    raw = np.random.default_rng(5).standard_normal((PHOTOGRAPHS, SITES))
    same = np.corrcoef(raw.mean(1), rotated(raw, np.random.default_rng(0)).mean(1))[0, 1]
    assert same > 0.9  # what all sites share stays shared


def test_one_cluster_is_nothing_to_test_and_numbers_must_be_finite() -> None:
    z, _ = planted(3, 1)
    alone = beyond_chance(z, np.zeros(SITES, dtype=np.int64))
    assert (alone.p, alone.grouped(1.0)) == (1.0, False)
    with pytest.raises(ValueError, match="not finite"):
        beyond_chance(np.full((4, 3), np.nan), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="one column per site"):
        beyond_chance(z, np.array([0, 1, 1]))
