"""The trial table: means over ragged repeats, selections, contradictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.recordings.responses import Responses
from protocols.recordings.units import UNITS

NAN = np.nan


def table(**changed):
    given_ = {
        "values": np.array([[1.0, 10.0], [3.0, NAN], [5.0, 30.0], [NAN, NAN]]),
        "image_ids": np.array(["a", "a", "b", "b"]),
        "site_ids": ("s0", "s1"),
        "unit": "spikes",
        "window_ms": (70.0, 170.0),
    }
    return Responses(**{**given_, **changed})


def test_means_and_repeats_by_hand():
    responses = table()
    np.testing.assert_array_equal(responses.mean(["b", "a", "c"]), [[5, 30], [2, 10], [NAN, NAN]])
    np.testing.assert_array_equal(responses.repeats(["b", "a", "c"]), [[1, 1], [2, 1], [0, 0]])


def test_invalid_trials_do_not_count():
    responses = table(valid=np.array([True, False, True, True]))
    np.testing.assert_array_equal(responses.mean(["a"]), [[1, 10]])
    assert len(responses.usable().values) == 2


def test_averages_are_weighted_by_their_repeats():
    responses = table(averaged_over=np.array([1, 3, 2, 2]))
    np.testing.assert_array_equal(responses.mean(["a", "b"]), [[2.5, 10], [5, 30]])
    np.testing.assert_array_equal(responses.repeats(["a", "b"]), [[4, 1], [2, 2]])


def test_selections_cut_every_column():
    columns = {
        "block": np.arange(4),
        "rep": np.arange(4),
        "onset_s": np.arange(4.0),
        "valid": np.array([True, False, True, True]),
        "prev_image_ids": np.array(["x", "a", "a", "b"]),
        "averaged_over": np.arange(1, 5),
        "baseline": np.arange(8.0).reshape(4, 2),
    }
    responses = table(**columns)
    cut = responses.select(np.array([2, 0]))
    for name, column in columns.items():
        np.testing.assert_array_equal(getattr(cut, name), column[[2, 0]])
    assert list(cut.image_ids) == ["b", "a"]
    one = responses.sites(("s1",))
    assert one.site_ids == one.source_site_ids == ("s1",)
    np.testing.assert_array_equal(one.values[:, 0], responses.values[:, 1])
    np.testing.assert_array_equal(one.baseline, columns["baseline"][:, 1:])
    by_site = table(baseline=np.array([1.0, 2.0]))
    np.testing.assert_array_equal(by_site.select(np.array([0])).baseline, [1, 2])
    np.testing.assert_array_equal(by_site.sites(("s1", "s0")).baseline, [2, 1])


def test_index_marks_unlisted_images():
    np.testing.assert_array_equal(table().index(["b", "z"]), [-1, -1, 0, 0])


@given(st.permutations(range(4)))
def test_means_do_not_depend_on_the_order_of_trials(order):
    responses = table()
    shuffled = responses.select(np.array(order))
    np.testing.assert_array_equal(shuffled.mean(["a", "b"]), responses.mean(["a", "b"]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_ids": np.array(["a"])}, "1 image ids"),
        ({"site_ids": ("s0",)}, "1 site ids"),
        ({"site_ids": ("s0", "s0")}, "not unique"),
        ({"unit": "Hz"}, "expected one of"),
        ({"rep": np.arange(3)}, "rep has 3 entries for 4 trials"),
    ],
)
def test_contradictions(changed, words):
    with pytest.raises(ValueError, match=words):
        table(**changed)


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_accepted(unit):
    assert table(unit=unit).unit == unit
