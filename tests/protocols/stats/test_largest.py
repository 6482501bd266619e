"""The image that drives a site most: told where trials suffice, rarely told by chance, never with single trials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.stats.largest import largest_mean


def trials(means: list[float], repeats: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    images = np.repeat(np.arange(len(means)), repeats)
    return np.array(means)[images] + rng.standard_normal(len(images)), images


def test_means_counts_and_the_largest_are_those_of_the_trials() -> None:
    values, images = np.array([1.0, 3.0, np.nan, 5.0, 5.0, 0.0, 0.5]), np.array([0, 0, 0, 1, 1, 2, 2])
    found = largest_mean(values, images, 3)
    np.testing.assert_allclose(found.means, [2.0, 5.0, 0.25])
    assert found.counts.tolist() == [2, 2, 2]
    assert found.image == 1


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_order_of_trials_unit_and_offset_do_not_matter_and_a_strong_image_is_told(
    order: list[int], seed: int, unit: float, offset: float
) -> None:
    means = [float(6 * (i == order[0])) for i in range(4)]
    values, images = trials(means, 10, np.random.default_rng(seed))
    found = largest_mean(values, images, 4, draws=199)
    assert found.told
    assert found.image == order[0]
    again = largest_mean(unit * values + offset, images, 4, draws=199)
    assert (again.image, again.told) == (found.image, True)


def test_images_that_evoke_the_same_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(0)
    told = [largest_mean(*trials([0.0] * 5, 6, rng), 5, draws=199, seed=i).told for i in range(200)]
    assert np.mean(told) <= 0.05


def test_of_two_that_evoke_as_much_neither_is_told_often() -> None:
    rng = np.random.default_rng(1)
    told = [largest_mean(*trials([3.0, 3.0, 0.0], 8, rng), 3, draws=199, seed=i).told for i in range(100)]
    assert np.mean(told) <= 0.2  # each side 5 %, and the bootstrap of 8 trials is a little narrow


@pytest.mark.parametrize("images", [[0, 0, 0, 1], [0, 0, 2, 2], []])
def test_nothing_is_told_from_single_or_missing_presentations(images: list[int]) -> None:
    found = largest_mean(np.arange(float(len(images))), np.array(images, dtype=int), 3)
    assert not found.told
    assert np.isnan(found.share)
