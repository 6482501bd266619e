"""A recording: which trials count, and how images are grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from encoders import Recording


def recorded(**changes: Any) -> Recording:
    pixels = np.arange(4 * 6 * 8 * 3, dtype=np.uint8).reshape(4, 6, 8, 3)
    given = {
        "pixels": pixels,
        "values": np.arange(10.0).reshape(5, 2),
        "image_index": np.array([0, 1, -1, 3, 1]),
        "site_ids": ["a", "b"],
        "unit": "spikes",
        "field_of_view_deg": 4.0,
        "background": 128,
        "colour": "rgb",
    }
    return Recording(**given | changes)


def test_trials_of_other_images_are_dropped():
    trials = recorded().trials()
    assert trials.index.tolist() == [0, 1, 3, 1]
    assert trials.values[:, 0].tolist() == [0, 2, 6, 8]
    assert trials.repeats.tolist() == [1, 1, 1, 1]
    assert trials.n_images == 4
    np.testing.assert_array_equal(trials.means(), [[0, 1], [5, 6], [np.nan, np.nan], [6, 7]])
    assert trials.weights().tolist() == [1, 2, 0, 1]


def test_averages_weigh_by_the_trials_behind_them():
    trials = recorded(repeats=[1, 3, 1, 2, 1]).trials()
    np.testing.assert_array_equal(trials.means()[1], [(3 * 2 + 8) / 4, (3 * 3 + 9) / 4])
    assert trials.weights().tolist() == [1, 4, 0, 2]
    assert not trials.single


def test_groups_are_those_given_or_the_pixels():
    assert len(set(recorded().photographs(join=False).names)) == 4
    assert recorded(groups=["x", "x", "y", "z"]).photographs(join=False).names == ["x", "x", "y", "z"]
    assert recorded().image_shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((4, 6, 8, 2), np.uint8)}, "C = 1 or 3"),
        ({"site_ids": ["a", "a"]}, "all different"),
        ({"image_index": np.array([0, 1, -1, 4, 1])}, "reaches 4 for 4 images"),
        ({"repeats": [1, 1, 0, 1, 1]}, "not positive"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recorded(**changes).trials()
