from __future__ import annotations

import numpy as np
import pytest

from protocols.rounds.choice import choose_images, trial_noise


def members(n: int = 12, sites: int = 3, spread: dict[int, float] | None = None) -> np.ndarray:
    """Two members that agree but at the images of `spread`."""
    mean = np.random.default_rng(0).normal(size=(n, sites))
    gap = np.zeros((n, 1))
    for image, size in (spread or {}).items():
        gap[image] = size
    return np.stack([mean - gap, mean + gap])


def test_disagreement_takes_the_images_on_which_members_differ() -> None:
    free = np.ones(12, dtype=bool)
    found = choose_images(
        members(spread={3: 2.0, 8: 1.5}), np.ones(3), (~free).astype(int), free=free, count=2, method="disagreement"
    )
    assert sorted(found) == [3, 8]


def test_images_that_are_taken_are_never_chosen_and_unrecorded_ones_come_first() -> None:
    free = np.ones(12, dtype=bool)
    free[3] = False
    recorded = np.ones(12, dtype=int)
    recorded[[3, 5, 6, 7]] = 0
    for method in ("disagreement", "core_set"):
        assert sorted(choose_images(members(spread={3: 9.0, 1: 5.0}), np.ones(3), recorded, free=free, count=3, method=method)) == [5, 6, 7]  # fmt: skip
        many = choose_images(
            members(), np.ones(3), recorded, free=free, count=6, method=method
        )  # fewer new ones than wanted: from all
        assert len(set(many)) == 6
        assert 3 not in many


def test_what_a_round_showed_already_comes_last() -> None:
    free = np.ones(12, dtype=bool)
    recorded = np.ones(12, dtype=int)  # all in the baseline
    recorded[[1, 3, 4]] = 2
    for method in ("disagreement", "core_set"):
        found = choose_images(members(spread={3: 9.0, 1: 5.0}), np.ones(3), recorded, free=free, count=9, method=method)
        assert sorted(found) == [0, 2, 5, 6, 7, 8, 9, 10, 11]
        assert len(choose_images(members(), np.ones(3), recorded, free=free, count=12, method=method)) == 12


def test_coverage_takes_the_farthest_from_what_is_recorded() -> None:
    line = np.linspace(0, 1, 11)[None, :, None].repeat(2, 0)
    recorded = np.zeros(11, dtype=int)
    recorded[0] = 1
    found = choose_images(line, np.ones(1), recorded, free=recorded == 0, count=2, method="core_set")
    assert found == [10, 5]


def test_one_member_cannot_disagree() -> None:
    one = members()[:1]
    free = np.ones(12, dtype=bool)
    arguments = (one, np.ones(3), np.zeros(12, dtype=int))
    by_disagreement, by_core_set = (
        choose_images(*arguments, free=free, count=4, method=method) for method in ("disagreement", "core_set")
    )
    assert by_disagreement == by_core_set


def test_trial_noise_is_the_pooled_variance_within_images() -> None:
    rng = np.random.default_rng(1)
    index = np.repeat(np.arange(200), 5)
    values = rng.normal(size=(200, 2))[index] * 10 + rng.normal(size=(1000, 2)) * [1.0, 3.0]
    values[rng.random(values.shape) < 0.1] = np.nan
    values = np.concatenate([values, np.full((7, 2), 99.0)])  # blanks do not count
    index = np.concatenate([index, np.full(7, -1)])
    assert trial_noise(values, index) == pytest.approx([1.0, 9.0], rel=0.12)


def test_trial_noise_without_repeats_or_trials() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    assert trial_noise(values, np.array([0, 1])).tolist() == [1.0, 1.0]
