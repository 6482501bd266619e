"""Choice of images: hand-made values, the guarantee of the greedy core-set, redundancy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from encoders.acquisition import core_set, expected_information, greedy_batch


def test_information_by_hand():
    predictions = np.zeros((2, 3, 2))
    predictions[1, 1] = [2, 0]  # variances 2 and 0
    predictions[1, 2] = [2, 4]  # 2 and 8
    noise = np.array([1.0, 4.0])
    np.testing.assert_allclose(expected_information(predictions, noise), [0, np.log(3) / 4, np.log(3) / 2])


def test_information_is_that_of_a_normal_channel():
    """1/2 log(1 + v / n) is the mutual information of N(0, v) + N(0, n) and its mean: the entropies' difference."""
    rng = np.random.default_rng(0)
    members = rng.normal(size=(400, 1, 1)) * 1.5
    v = members.var(ddof=1)
    entropy = 0.5 * np.log(2 * np.pi * np.e * np.array([v + 0.7, 0.7]))
    assert expected_information(members, np.array([0.7]))[0] == pytest.approx(entropy[0] - entropy[1])


def test_one_member_or_no_noise_is_refused():
    with pytest.raises(ValueError, match="two members"):
        expected_information(np.zeros((1, 3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="all positive"):
        expected_information(np.zeros((2, 3, 2)), np.array([1.0, 0.0]))


@pytest.mark.parametrize("seed", range(5))
def test_the_core_set_is_within_twice_the_best_radius(seed):
    x = np.random.default_rng(seed).normal(size=(12, 2))
    distances = np.linalg.norm(x[:, None] - x, axis=2)

    def radius(chosen):
        return distances[:, list(chosen)].min(1).max()

    chosen = core_set(x, 3)
    assert len(set(chosen)) == 3
    assert radius(chosen) <= 2 * min(radius(c) for c in combinations(range(12), 3)) + 1e-12


def test_the_core_set_leaves_out_what_is_covered():
    x = np.array([[0.0, 0], [10, 0], [0, 10], [10.1, 0], [5, 5]])
    assert core_set(x, 2, covered=x[[1]]) == [2, 0]
    assert core_set(x, 5) == core_set(x, 5)
    assert sorted(core_set(x, 5)) == [0, 1, 2, 3, 4]
    assert sorted(core_set(np.ones((3, 2)), 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="at most N"):
        core_set(x, 6)


def test_a_redundant_image_waits_for_another():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 40))
    x[1] = x[0]  # the second best is the best again
    scores = [6.0, 5, 4, 3, 2, 1]
    assert greedy_batch(scores, x, 3, redundancy=0) == [0, 1, 2]
    assert greedy_batch(scores, x, 2) == [0, 2]
    assert sorted(greedy_batch(scores, x, 6)) == list(range(6))


def test_the_unit_of_the_scores_does_not_matter():
    rng = np.random.default_rng(1)
    x, scores = rng.normal(size=(30, 8)), rng.random(30)
    assert greedy_batch(scores, x, 10) == greedy_batch(np.exp(9 * scores), x, 10)
    with pytest.raises(ValueError, match="finite score"):
        greedy_batch([np.nan, *scores[1:]], x, 10)
