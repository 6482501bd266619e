"""Neighbours and maps, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from encoders.analysis.neighbours import embed, nearest, neighbour_agreement


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["cosine", "correlation", "euclidean"]))
def test_neighbours_are_those_of_scipy_and_a_query_alone_has_the_same(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    queries, references = rng.normal(size=(7, 5)), rng.normal(size=(11, 5))
    indices, distances = nearest(queries, references, 4, metric=metric)  # type: ignore[arg-type]
    wanted = cdist(queries, references, metric)
    np.testing.assert_array_equal(indices, np.argsort(wanted, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=1e-7)
    alone = nearest(queries[3:4], references, 4, metric=metric)[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(alone[0], indices[3])


def test_ties_no_direction_and_no_query() -> None:
    indices, distances = nearest(np.zeros((1, 2)), np.eye(2), 2)
    assert indices.tolist() == [[0, 1]]
    assert distances.tolist() == [[1.0, 1.0]]
    assert [part.shape for part in nearest(np.zeros((0, 2)), np.eye(2), 1)] == [(0, 1), (0, 1)]
    with pytest.raises(ValueError, match="at most as many neighbours"):
        nearest(np.eye(2), np.eye(2), 3)


def test_the_map_keeps_distances_of_points_in_a_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(30, 2)) * [3.0, 1.0]
    points = plane @ np.linalg.qr(rng.normal(size=(9, 9)))[0][:2] + 5
    found = embed(points)
    np.testing.assert_allclose(cdist(found.coordinates, found.coordinates), cdist(plane, plane), atol=1e-9)
    assert found.share.sum() == pytest.approx(1)
    assert found.share[0] > found.share[1]
    np.testing.assert_allclose(embed(points[::-1]).coordinates[::-1], found.coordinates, atol=1e-9)


def test_agreement_is_high_where_the_space_orders_images_as_the_site_does() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3))
    direction = features / np.linalg.norm(features, axis=1, keepdims=True)
    r = neighbour_agreement(features, np.stack([direction[:, 0], rng.normal(size=300), np.ones(300)], 1))
    assert r[0] > 0.9
    assert abs(r[1]) < 0.2
    assert np.isnan(r[2])
    with pytest.raises(ValueError, match="fewer than rows"):
        neighbour_agreement(features, np.ones((300, 1)), 300)
