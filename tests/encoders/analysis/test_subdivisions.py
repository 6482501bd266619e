"""Clusters of sites: planted ones are found, one cloud has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.analysis.subdivisions import adjusted_rand, by_size, cluster, cohesion, subdivide


def planted(k: int, sites: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sites about `k` random directions: within a cluster weights correlate with about 0.67."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, features))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(sites) % k
    weights = centres[labels] + 0.7 * rng.normal(size=(sites, features)) / np.sqrt(features)
    return weights * rng.uniform(0.1, 10, (sites, 1)), labels


@pytest.mark.parametrize(("k", "sites", "features"), [(2, 40, 60), (3, 50, 200), (5, 60, 40)])
def test_planted_clusters_are_found_with_their_number(k: int, sites: int, features: int) -> None:
    weights, labels = planted(k, sites, features)
    found = subdivide(weights, n_draws=19)
    assert (found.k, found.best_k) == (k, k)
    assert adjusted_rand(found.labels, labels) >= 0.95
    assert found.p == pytest.approx(1 / 20)
    assert found.stability > 0.9
    assert found.site_stability.min() > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_one_cloud_has_no_clusters_round_or_elongated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(40, 20))
    if seed % 2:
        weights = 6 * np.eye(20)[0] + weights * np.array([1, 4] + [1] * 18)  # k-means would halve it
    found = subdivide(weights, n_draws=19, seed=seed)
    assert found.k == 1
    assert (found.labels == 0).all()
    assert found.best_k > 1


def test_the_same_seed_gives_the_same_clusters_and_the_order_of_features_does_not_matter() -> None:
    weights, _ = planted(3, 30, 12)
    first, second = (subdivide(w, n_draws=19, seed=5) for w in (weights, weights[:, ::-1]))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.p, first.excess.keys()) == (second.p, second.excess.keys())
    np.testing.assert_array_equal(cluster(weights, 3), first.labels)


def test_a_pair_of_odd_sites_is_no_cluster() -> None:
    weights = np.concatenate([np.eye(8)[:1] + 0.05 * np.random.default_rng(0).normal(size=(20, 8)), -np.eye(8)[:2]])
    assert subdivide(weights, n_draws=19).excess[2] == -np.inf


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12))
def test_the_adjusted_rand_index_by_counting_pairs(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    upper = np.triu_indices(len(a), 1)
    same_a, same_b = ((x[:, None] == x)[upper] for x in (a, b))
    both, expected = (same_a & same_b).sum(), same_a.sum() * same_b.sum() / len(same_a)
    most = (same_a.sum() + same_b.sum()) / 2
    wanted = 1.0 if most == expected else (both - expected) / (most - expected)
    assert adjusted_rand(a, b) == pytest.approx(wanted)


def test_clusters_are_numbered_by_size() -> None:
    np.testing.assert_array_equal(by_size(np.array([7, 3, 3, 9, 9, 3])), [2, 0, 0, 1, 1, 0])


def test_cohesion_by_hand() -> None:
    similarity = np.array([[1.0, 0.8, 0.1, 0.0], [0.8, 1.0, 0.2, 0.1], [0.1, 0.2, 1.0, 0.6], [0.0, 0.1, 0.6, 1.0]])
    within, across, p = cohesion(similarity, [0, 0, 1, 1], n_permutations=999)
    assert (within, across) == (pytest.approx(0.7), pytest.approx(0.1))
    assert p == pytest.approx(1 / 3, abs=0.05)  # three ways to make two pairs of four sites
    assert np.isnan(cohesion(similarity, [0, 0, 0, 0])).all()


@pytest.mark.parametrize("weights", [np.ones((5, 3)), np.zeros((9, 3)), np.full((9, 3), np.nan), np.ones(9)])
def test_what_is_refused(weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least 8 sites"):
        subdivide(weights)
