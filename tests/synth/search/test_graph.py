"""The neighbour graph against distances by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from synth.search import NeighbourGraph, neighbour_graph


def nearest(features: np.ndarray, count: int) -> list[set[int]]:
    apart = ((features[:, None] - features[None]) ** 2).sum(2)
    np.fill_diagonal(apart, np.inf)
    return [set(row.tolist()) for row in np.argsort(apart, axis=1)[:, :count]]


def edges(graph: NeighbourGraph) -> set[tuple[int, int]]:
    return {(i, int(j)) for i in range(len(graph)) for j in graph.of(i)}


def test_a_small_graph_is_the_true_one_in_both_directions() -> None:
    features = np.random.default_rng(0).normal(size=(60, 5))
    found = edges(neighbour_graph(features, neighbours=4))
    truth = {(i, j) for i, row in enumerate(nearest(features, 4)) for j in row}
    assert found == truth | {(j, i) for i, j in truth}


def test_a_large_graph_finds_nearly_all_neighbours_and_its_seed_decides() -> None:
    features = np.random.default_rng(1).normal(size=(1500, 4)) @ np.random.default_rng(2).normal(size=(4, 24))
    graph = neighbour_graph(features, neighbours=8, leaf=100)
    found, truth = edges(graph), nearest(features, 8)
    recall = np.mean([(i, j) in found for i, row in enumerate(truth) for j in row])
    assert recall > 0.95
    assert all((j, i) in found for i, j in found)
    assert edges(neighbour_graph(features, neighbours=8, leaf=100)) == found


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_common_offset_and_far_clusters_leave_the_neighbours_as_they_are(kind: type) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(200, 6))
    assert edges(neighbour_graph((features + 3e3).astype(kind), neighbours=5)) == edges(
        neighbour_graph((features + 3e3).astype(kind).astype(np.float64) - 3e3, neighbours=5)
    )
    tight = 1e-3 * features + np.where(np.arange(200) % 2, 30.0, -30.0)[:, None]  # two points that are far apart
    found = edges(neighbour_graph(tight, neighbours=5))
    truth = {(i, j) for i, row in enumerate(nearest(tight, 5)) for j in row}
    wrong = found ^ (truth | {(j, i) for i, j in truth})
    assert len(wrong) < 0.02 * len(found)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_have_all_others_as_neighbours(images: int) -> None:
    graph = neighbour_graph(np.eye(images, 3), neighbours=16)
    assert edges(graph) == {(i, j) for i in range(images) for j in range(images) if i != j}


@pytest.mark.parametrize("features", [np.zeros((0, 3)), np.zeros(4), np.full((3, 2), np.nan)])
def test_what_is_no_table_of_features_is_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected \\(images, features\\)"):
        neighbour_graph(features)
