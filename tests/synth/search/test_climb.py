"""Climbing finds planted best images in few evaluations, and only by way of its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.search import Climb, climb, neighbour_graph, random_search

IMAGES, TOP = 4000, 10


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Images in three dimensions, seen through 32 features; the score falls with the distance from a hidden point."""
    rng = np.random.default_rng(3)
    place = rng.normal(size=(IMAGES, 3))
    features = np.tanh(place @ rng.normal(size=(3, 32))) + 0.05 * rng.normal(size=(IMAGES, 32))
    return features, -np.linalg.norm(place - [1.8, -1.2, 0.4], axis=1).astype(np.float32)


def share(found: Climb, scores: np.ndarray) -> float:
    return float(np.isin(np.argsort(-scores)[:TOP], found.visited).mean())


def test_the_best_are_found_in_a_tenth_of_the_library_and_without_true_neighbours_they_are_not(
    planted: tuple[np.ndarray, np.ndarray],
) -> None:
    features, scores = planted
    true = neighbour_graph(features)
    permuted = neighbour_graph(features[np.random.default_rng(0).permutation(IMAGES)])
    asked = [{"name": f"row {i}", "evaluations": IMAGES // 10} for i in range(6)]
    climbed = [share(climb(lambda i: scores[i], true, **a), scores) for a in asked]
    misled = [share(climb(lambda i: scores[i], permuted, **a), scores) for a in asked]
    drawn = [share(random_search(lambda i: scores[i], IMAGES, **a), scores) for a in asked]
    assert np.mean(climbed) > 0.9
    assert np.mean(misled) < 0.3
    assert np.mean(drawn) < 0.3


def test_only_the_images_visited_are_scored_each_once(planted: tuple[np.ndarray, np.ndarray]) -> None:
    features, scores = planted
    asked: list[int] = []

    def score(places: np.ndarray) -> np.ndarray:
        asked.extend(places.tolist())
        return scores[places]

    found = climb(score, neighbour_graph(features), name="row", evaluations=333)
    assert found.visited.tolist() == asked
    assert len(set(asked)) == len(asked) == 333
    assert found.stopped == "evaluations"
    best, values = found.best(5)
    assert values.tolist() == sorted(scores[asked], reverse=True)[:5]
    assert scores[best].tolist() == values.tolist()


def test_patience_ends_a_climb_that_no_longer_improves(planted: tuple[np.ndarray, np.ndarray]) -> None:
    features, scores = planted
    found = climb(lambda i: scores[i], neighbour_graph(features), name="row", evaluations=IMAGES, patience=200)
    assert found.stopped == "patience"
    assert len(found.visited) < IMAGES // 4
    assert share(found, scores) > 0.7


@settings(max_examples=25)
@given(images=st.integers(1, 60), starts=st.integers(1, 5), parts=st.integers(1, 4), evaluations=st.integers(1, 80))
def test_a_graph_in_pieces_is_searched_to_its_end(images: int, starts: int, parts: int, evaluations: int) -> None:
    features = np.random.default_rng(images).normal(size=(images, 2)) + 1000 * (np.arange(images) % parts)[:, None]
    found = climb(
        lambda i: i.astype(np.float32),
        neighbour_graph(features, neighbours=2),
        name="row",
        starts=starts,
        evaluations=evaluations,
    )
    assert len(set(found.visited.tolist())) == len(found.visited) == min(images, evaluations)
    assert found.stopped == ("all" if evaluations >= images else "evaluations")


def test_a_row_starts_by_its_name_and_seed_alone(planted: tuple[np.ndarray, np.ndarray]) -> None:
    features, scores = planted
    graph = neighbour_graph(features)
    first = [
        climb(lambda i: scores[i], graph, name=name, seed=seed, evaluations=64).visited.tolist()
        for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    ]
    assert first[0] == first[1]
    assert first[0] != first[2]
    assert first[0] != first[3]


@pytest.mark.parametrize(
    "wrong", [{"evaluations": 0}, {"evaluations": 5, "starts": 0}, {"evaluations": 5, "patience": 0}]
)
def test_numbers_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        climb(lambda i: i.astype(np.float32), neighbour_graph(np.eye(3)), name="row", **wrong)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="all finite"):
        climb(lambda i: np.full(len(i), np.nan), neighbour_graph(np.eye(3)), name="row", evaluations=3)
