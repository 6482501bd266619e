"""Counts in the response window: against brute force on whole microseconds, and every clock that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.windows import counts_in_window

MICRO = 1_000_000
moments = st.integers(0, 20 * MICRO)


def seconds(micro) -> np.ndarray:
    return np.array(micro, dtype=np.float64) / MICRO


def plain(trials: int = 40, units: int = 3, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Poisson spikes at 20 /s, and images every 0.4 s from 1.0 s on."""
    rng = np.random.default_rng(seed)
    end = 2 + 0.4 * trials
    spikes = [np.sort(rng.uniform(0, end, rng.poisson(20 * end))) for _ in range(units)]
    return spikes, 1.0 + 0.4 * np.arange(trials)


@settings(deadline=None, max_examples=80)
@given(
    units=st.lists(st.lists(moments, max_size=60), min_size=1, max_size=4),
    onsets=st.lists(moments, min_size=1, max_size=20, unique=True),
    begin=st.integers(-300_000, 300_000),
    length=st.integers(2_000, 500_000),
)
def test_counts_are_those_of_whole_microseconds(units, onsets, begin, length):
    assume(sum(map(len, units)) < 20 or any(s % MICRO for u in units for s in u))  # whole seconds are refused
    spikes = [seconds(u) for u in units]
    observed = [np.array([[-10.0, 40.0]])] * len(units)
    window = (begin / 1000, (begin + length) / 1000)
    found = counts_in_window(spikes, seconds(onsets), window, observed_s=observed)
    expected = [[sum(o + begin <= s < o + begin + length for s in u) for u in units] for o in onsets]
    assert found.values.dtype == np.int64
    assert found.values.tolist() == expected
    assert found.unit == "spikes"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5_000_000), min_size=30, max_size=200), st.integers(1, 200), st.integers(1, 200))
def test_windows_that_touch_count_each_spike_once(micro, first, second):
    spikes, onsets = [seconds([m + 1 for m in micro] + [77])], seconds([100_000, 2_500_000])
    observed = [np.array([[0.0, 9.0]])]

    def count(t0, t1):
        return counts_in_window(spikes, onsets, (t0, t1), observed_s=observed).values

    assert np.array_equal(count(0, first) + count(first, first + second), count(0, first + second))


@settings(deadline=None, max_examples=40)
@given(
    intervals=st.lists(st.tuples(moments, st.integers(1, 5 * MICRO)), min_size=1, max_size=6),
    onsets=st.lists(moments, min_size=4, max_size=20, unique=True),
)
def test_windows_outside_the_observed_intervals_have_no_response(intervals, onsets):
    given_s = np.array([[b / MICRO, (b + d) / MICRO] for b, d in intervals])
    merged: list[list[int]] = []
    for begin, end in sorted((b, b + d) for b, d in intervals):
        if merged and begin <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    inside = [any(b - 1 <= o + 70_000 and o + 170_000 <= e + 1 for b, e in merged) for o in onsets]
    if sum(inside) <= len(onsets) / 2:
        return
    found = counts_in_window([np.array([0.5])], seconds(onsets), (70, 170), observed_s=[given_s])
    assert (~np.isnan(found.values.astype(float)[:, 0])).tolist() == inside
    assert all(inside) or any("observed" in note for note in found.notes)


def test_an_edge_belongs_to_the_window_that_begins_there():
    onsets = np.array([0.1, 1.1, 1000.1, 123456.7])
    spikes = [np.r_[onsets + 0.07, onsets + 0.17, 0.30000000000000004, 5.00001]]
    observed = [np.array([[0.0, 2e5]])]
    assert counts_in_window(spikes, onsets[:2], (70, 170), observed_s=observed).values.tolist() == [[1], [1]]
    observed = [np.array([[0.0, 2e5]])]
    got = counts_in_window(spikes, onsets, (70, 170), observed_s=observed).values
    assert got.tolist() == [[1], [1], [1], [1]]
    assert counts_in_window([np.r_[0.3, 0.7001]], [0.2], (100, 200), observed_s=[[[0, 9]]]).values.tolist() == [[1]]


def test_times_in_any_order_are_sorted_and_told():
    spikes, onsets = plain()
    mixed = [np.random.default_rng(1).permutation(s) for s in spikes]
    found, expected = counts_in_window(mixed, onsets, (70, 170)), counts_in_window(spikes, onsets, (70, 170))
    assert np.array_equal(found.values, expected.values)
    assert any("sorted" in note for note in found.notes)
    assert not expected.notes


def test_a_baseline_stands_beside_the_counts():
    spikes, onsets = plain()
    found = counts_in_window(spikes, onsets, (50, 250), baseline_ms=(-100, 0))
    before = counts_in_window(spikes, onsets, (-100, 0)).values
    assert np.array_equal(found.values, counts_in_window(spikes, onsets, (50, 250)).values)
    assert np.allclose(found.baseline, 2 * before)
    assert found.unit == "spikes"


def test_a_subtracted_baseline_is_a_difference_of_rates():
    spikes, onsets = plain()
    found = counts_in_window(spikes, onsets, (50, 250), baseline_ms=(-100, 0), subtract=True)
    counts, before = (counts_in_window(spikes, onsets, w).values for w in ((50, 250), (-100, 0)))
    assert found.unit == "au"
    assert np.allclose(found.values, counts / 0.2 - before / 0.1)
    assert found.values.min() < 0
    assert any("spikes/s" in note for note in found.notes)


def test_an_image_without_an_onset_has_no_response():
    spikes, onsets = plain()
    onsets[3] = np.nan
    found = counts_in_window(spikes, onsets, (70, 170))
    assert np.isnan(found.values[3]).all()
    assert np.isfinite(np.delete(found.values, 3, axis=0)).all()
    assert any("no onset" in note for note in found.notes)


def test_presentations_after_the_last_spike_were_not_recorded():
    spikes, onsets = plain(100)
    cut = [s[s < 30] for s in spikes]
    found = counts_in_window(cut, onsets, (70, 170))
    lost = np.isnan(found.values).all(axis=1)
    assert lost[onsets > 31].all()
    assert not lost[onsets < 29.8].any()
    assert any("last spike" in note for note in found.notes)


def test_windows_of_two_images_that_share_time_are_told():
    spikes, onsets = plain()
    assert any("next presentation" in n for n in counts_in_window(spikes, onsets, (0, 500)).notes)
    assert not counts_in_window(spikes, onsets, (0, 400)).notes


def test_coarse_times_are_told_and_coarser_ones_refused():
    spikes, onsets = plain()
    told = counts_in_window([(s + 4000).astype(np.float32) for s in spikes], onsets + 4000, (70, 170))
    assert any("single precision" in note for note in told.notes)
    with pytest.raises(DataError) as refused:
        counts_in_window([(s + 1.7e9).astype(np.float32) + np.float32(0) for s in spikes], onsets + 1.7e9, (70, 170))
    assert refused.value.code in ("H02", "H04")


SPIKES, ONSETS = plain()
FAULTS = {
    "sample indices": ([np.round(s * 30000).astype(np.int64) for s in SPIKES], ONSETS, (70, 170), "H02"),
    "sample indices as floats": ([np.round(s * 30000) for s in SPIKES], ONSETS, (70, 170), "H02"),
    "spikes in ms": ([s * 1000 for s in SPIKES], ONSETS, (70, 170), "H02"),
    "images in ms": (SPIKES, ONSETS * 1000, (70, 170), "H02"),
    "both in ms": ([s * 1000 for s in SPIKES], ONSETS * 1000, (70, 170), "H02"),
    "images in samples": (SPIKES, np.round(ONSETS * 30000).astype(int), (70, 170), "H02"),
    "another zero": (SPIKES, ONSETS + 5000, (70, 170), "H01"),
    "spikes since 1970": ([s + 1.7e9 for s in SPIKES], ONSETS, (70, 170), "H01"),
    "onset within the trial": (SPIKES, np.full(40, 0.5), (70, 170), "H03"),
    "onsets rounded to 10 s": (SPIKES, np.round(ONSETS, -1), (70, 170), "H03"),
    "window in seconds": (SPIKES, ONSETS, (0.07, 0.17), "H05"),
    "window reversed": (SPIKES, ONSETS, (170, 70), "H05"),
    "window of one number": (SPIKES, ONSETS, (70,), "H05"),
    "window not finite": (SPIKES, ONSETS, (70, np.inf), "H05"),
    "window in us": (SPIKES, ONSETS, (70_000, 170_000), "H05"),
    "spikes with NaN": ([np.r_[SPIKES[0], np.nan]], ONSETS, (70, 170), "H04"),
    "spikes as a matrix": ([np.stack([SPIKES[0], SPIKES[0]])], ONSETS, (70, 170), "H04"),
    "spikes as text": ([np.array(["a", "b"])], ONSETS, (70, 170), "H04"),
    "onsets as a matrix": (SPIKES, ONSETS.reshape(2, -1), (70, 170), "H04"),
    "no onset": (SPIKES, np.full(40, np.nan), (70, 170), "H04"),
    "observed at another time": (SPIKES, ONSETS, (70, 170), "H01"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_clock_that_is_none_is_refused(fault):
    spikes, onsets, window, code = FAULTS[fault]
    observed = [[[500.0, 900.0]]] * 3 if fault == "observed at another time" else None
    with pytest.raises(DataError) as refused:
        counts_in_window(spikes, onsets, window, observed_s=observed, where="s.nwb")
    assert refused.value.code == code
    assert str(refused.value).startswith(f"error[{code}] s.nwb")


def test_a_baseline_that_shares_time_with_the_response_is_refused():
    with pytest.raises(DataError) as refused:
        counts_in_window(SPIKES, ONSETS, (50, 150), baseline_ms=(-50, 60))
    assert refused.value.code == "H05"
