"""Partitions: equal sizes, argmax, margins, and the adjusted Rand index against its definition by pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.discriminative.changes import selectivities, separations
from synth.discriminative.partition import adjusted_rand, assigned, margins, members, occupied, random_partition

LABELS = st.integers(2, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n), st.lists(st.integers(0, 4), min_size=n, max_size=n)
    )
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**32))
def test_a_random_partition_has_equal_sizes_and_depends_on_the_seed_alone(clusters: int, more: int, seed: int) -> None:
    sites = clusters + more
    labels = random_partition(sites, clusters, np.random.default_rng(seed))
    sizes = np.bincount(labels, minlength=clusters)
    assert len(labels) == sites
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(labels, random_partition(sites, clusters, np.random.default_rng(seed)))


def test_more_clusters_than_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="6 clusters of 5 sites"):
        random_partition(5, 6, np.random.default_rng(0))


@settings(max_examples=80, deadline=None)
@given(LABELS)
def test_the_adjusted_rand_index_is_that_of_its_pairs(both: tuple[list[int], list[int]]) -> None:
    a, b = (np.array(x) for x in both)
    pairs = list(combinations(range(len(a)), 2))
    in_a, in_b = (np.array([x[i] == x[j] for i, j in pairs]) for x in (a, b))
    expected = in_a.sum() * in_b.sum() / len(pairs)
    largest = (in_a.sum() + in_b.sum()) / 2
    wanted = 1.0 if largest == expected else ((in_a & in_b).sum() - expected) / (largest - expected)
    assert adjusted_rand(a, b) == pytest.approx(wanted)
    assert adjusted_rand(4 - a, b) == pytest.approx(wanted)  # names of clusters do not matter
    assert adjusted_rand(a, a) == 1.0


def test_sites_go_to_the_image_that_drives_them_most_with_its_margin() -> None:
    z = np.array([[3.0, 0.0, 1.0], [1.0, 2.0, 1.0]])
    np.testing.assert_array_equal(assigned(z), [0, 1, 0])
    np.testing.assert_allclose(margins(z, np.array([0, 1, 1])), [2.0, 2.0, 0.0])
    np.testing.assert_allclose(margins(z, np.array([1, 1, 1])), [-2.0, 2.0, 0.0])
    np.testing.assert_array_equal(margins(z[:1], np.zeros(3, dtype=np.int64)), np.zeros(3))


def test_empty_clusters_are_dropped_and_the_rest_numbered_anew() -> None:
    labels, kept = occupied(np.array([4, 1, 4, 2]))
    np.testing.assert_array_equal(labels, [2, 0, 2, 1])
    assert kept == [1, 2, 4]
    assert members(labels, ["a", "b", "c", "d"]) == [["b"], ["d"], ["a", "c"]]


def test_separation_is_0_at_chance_and_log_2_at_most_whatever_the_other_clusters() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    alike = np.ones((3, 6))
    np.testing.assert_allclose(separations(alike, labels, 1.6)[0, 1], 0.0, atol=1e-12)
    apart = np.where(np.arange(3)[:, None] == labels, 60.0, 0.0)
    np.testing.assert_allclose(separations(apart, labels, 1.6)[0, 1], np.log(2), atol=1e-9)
    # own 2 and 4, the other's image 1 and 1: halves missing are 1/2 and 3/4
    z = np.array([[2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 4.0, 4.0]])
    assert selectivities(z, np.array([0, 0, 1, 1]))[0, 1] == pytest.approx((0.5 + 0.75) / 2)
    assert selectivities(3 * z, np.array([0, 0, 1, 1]))[0, 1] == pytest.approx((0.5 + 0.75) / 2)  # no unit
    assert selectivities(-z, np.array([0, 0, 1, 1]))[0, 1] == -np.inf
