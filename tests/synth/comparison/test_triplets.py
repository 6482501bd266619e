"""Decoupled triplets: every promise of the table, against brute force and planted similarities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.comparison.triplets import (
    _pair,
    coupling,
    differences,
    find_triplets,
    random_coupling,
    similarity,
    spread,
)


def spaces(images: int, shared: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two matrices of similarities whose features share a part `shared` of their variance."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(2, images, 12)), rng.normal(size=(images, 12))
    second = np.sqrt(shared) * common[0] + np.sqrt(1 - shared) * own
    return similarity(common[0]), similarity(second)


def test_similarity_is_pearsons_correlation_and_a_flat_image_has_none() -> None:
    features = np.random.default_rng(0).normal(3, 2, (7, 50)).astype(np.float32)
    assert np.allclose(similarity(features), np.corrcoef(features), atol=1e-6)
    features[2] = 0.1
    found = similarity(features)
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(np.delete(np.delete(found, 2, 0), 2, 1)).all()
    with pytest.raises(ValueError, match="finite"):
        similarity(np.full((3, 4), np.nan))


def test_the_spread_leaves_the_diagonal_out() -> None:
    matrix = np.full((4, 4), 0.25, dtype=np.float32)
    np.fill_diagonal(matrix, 1)
    matrix[0, 1] = matrix[1, 0] = 0.75
    off = [matrix[i, j] for i, j in itertools.permutations(range(4), 2)]
    assert spread(matrix) == pytest.approx(np.std(off))
    with pytest.raises(ValueError, match="at least 3"):
        spread(np.ones((1, 1), dtype=np.float32))


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(12, 120),
    shared=st.floats(0, 0.95),
    per_cell=st.sampled_from([2, 4]),
    bins=st.integers(1, 5),
    balanced=st.booleans(),
    tolerance=st.sampled_from([0.01, 0.05]),
    seed=st.integers(0, 99),
)
def test_every_triplet_keeps_every_promise(images, shared, per_cell, bins, balanced, tolerance, seed) -> None:
    high, low = spaces(images, shared, seed)
    how = {"per_cell": per_cell, "bins": bins, "balanced": balanced, "tolerance": tolerance, "seed": seed}
    found = find_triplets(high, low, **how)
    used = found.images.ravel().tolist()
    assert len(used) == len(set(used)), "no image in two triplets or twice in one"
    root, first, second = found.images.T
    wanted = found.bins * 0.5 * np.array([spread(high), spread(low)])
    assert (np.abs(high[root, first].astype(float) - high[root, second] - wanted[:, 0]) <= tolerance + 1e-9).all()
    down = low[root, first].astype(float) - low[root, second]
    assert (np.abs(down - found.sign * wanted[:, 1]) <= tolerance + 1e-9).all()
    assert np.allclose(found.low, down)
    assert found.fill.sum() == len(found)
    assert found.fill.max(initial=0) <= per_cell
    cells = [tuple(c) for c in found.bins.tolist()]
    for cell in set(cells):
        assert found.fill[cell[0] - 1, cell[1] - 1] == cells.count(cell)
        if balanced:
            assert sum(s for s, c in zip(found.sign.tolist(), cells, strict=True) if c == cell) == 0
    again = find_triplets(high, low, **how)
    assert np.array_equal(found.images, again.images), "the same seed gives the same triplets"


@settings(max_examples=40, deadline=None)
@given(images=st.integers(2, 9), seed=st.integers(0, 999), tolerance=st.sampled_from([0.02, 0.1, 0.4]))
def test_a_pair_is_found_exactly_where_brute_force_finds_one(images, seed, tolerance) -> None:
    rng = np.random.default_rng(seed)
    high, low = rng.uniform(-1, 1, (2, images)).astype(np.float32)
    wanted = tuple(rng.uniform(-0.6, 0.6, 2).tolist())
    fits = {
        (i, j)
        for i, j in itertools.permutations(range(images), 2)
        if abs(float(high[i]) - float(high[j]) - wanted[0]) <= tolerance
        and abs(float(low[i]) - float(low[j]) - wanted[1]) <= tolerance
    }
    pair = _pair(high, low, wanted, tolerance=tolerance, rng=rng)
    assert (pair in fits) if fits else pair is None


def test_a_pair_beyond_the_first_images_is_found() -> None:
    high = np.zeros(1000, dtype=np.float32)
    low = np.zeros(1000, dtype=np.float32)
    high[700], low[700] = 0.5, -0.3
    for seed in range(5):
        rng = np.random.default_rng(seed)
        first, second = _pair(high, low, (0.5, -0.3), tolerance=0.01, rng=rng) or (None, None)
        assert first == 700
        assert second != 700


def test_balanced_triplets_are_decoupled_where_a_coin_leaves_them_coupled() -> None:
    high, low = spaces(600, shared=0.8)
    shared = random_coupling(high, low)
    assert shared > 0.6
    coin = find_triplets(high, low, per_cell=6, bins=4, balanced=False)
    even = find_triplets(high, low, per_cell=6, bins=4)
    assert coupling(coin.high, coin.low) > 0.2
    assert abs(coupling(even.high, even.low)) < 0.03
    assert len(even) > 40


def test_coupling_does_not_depend_on_which_image_is_called_the_first() -> None:
    rng = np.random.default_rng(1)
    high, low = rng.normal(size=(2, 50))
    flip = rng.choice([-1, 1], 50)
    assert coupling(high, low) == pytest.approx(coupling(high * flip, low * flip))
    assert coupling(high, 3 * high) == pytest.approx(1)
    assert np.isnan(coupling(np.zeros(0), np.zeros(0)))


def test_random_triplets_show_what_two_spaces_share() -> None:
    for shared in (0.0, 1.0):
        high, low = spaces(300, shared)
        assert random_coupling(high, low) == pytest.approx(shared, abs=0.06)


def test_differences_are_first_less_second() -> None:
    matrix = np.array([[1, 0.5, 0.1], [0.5, 1, 0.3], [0.1, 0.3, 1]], dtype=np.float32)
    assert differences(matrix, np.array([[0, 1, 2], [1, 2, 0]])) == pytest.approx([0.4, -0.2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"per_cell": 3}, "even"),
        ({"per_cell": 0}, "at least 1"),
        ({"bins": 0}, "at least 1"),
        ({"width": 0.0}, "above 0"),
        ({"tolerance": -1.0}, "above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(change, words) -> None:
    high, low = spaces(10, 0.5)
    with pytest.raises(ValueError, match=words):
        find_triplets(high, low, **change)


def test_matrices_of_different_images_are_refused_and_none_is_no_error() -> None:
    high, low = spaces(10, 0.5)
    with pytest.raises(ValueError, match="square"):
        find_triplets(high, low[:9, :9])
    few = find_triplets(high[:3, :3], low[:3, :3])
    assert len(few) <= 1
    assert few.fill.shape == (10, 10)
