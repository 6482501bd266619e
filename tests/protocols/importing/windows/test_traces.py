"""Means in the response window: against an integral by brute force, missing frames, and clocks that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.windows import frame_times, means_in_window


@settings(deadline=None, max_examples=50)
@given(
    steps=st.lists(st.integers(80, 110), min_size=30, max_size=80),
    begin=st.integers(-200, 300),
    length=st.integers(5, 900),
    seed=st.integers(0, 99),
)
def test_means_are_integrals_over_milliseconds(steps, begin, length, seed):
    """Frames of whole milliseconds: each millisecond of the window has the value of its frame."""
    rng = np.random.default_rng(seed)
    times = np.concatenate([[0], np.cumsum(steps)])[:-1]
    traces = rng.normal(size=(len(times), 2))
    last = int(times[-1] + np.median(np.diff(times)))
    onsets = np.unique(rng.integers(300, last - 1300, size=6)) if last > 1700 else np.array([400])
    found = means_in_window(traces, onsets / 1000, (begin, begin + length), frame_times_s=times / 1000)
    for row, onset in zip(found.values, onsets, strict=True):
        at = np.arange(onset + begin, onset + begin + length)
        if at[-1] >= last or at[0] < 0:
            continue
        expected = traces[np.searchsorted(times, at, "right") - 1].mean(axis=0)
        assert np.allclose(row, expected)


def traces(frames: int = 300, sites: int = 2) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(size=(frames, sites)), frame_times(frames, 30.0, 2.0)


def test_a_missing_frame_and_a_frame_of_nan_give_no_response():
    values, times = traces()
    onsets = 3.0 + 0.5 * np.arange(12)
    gap = np.delete(np.arange(300), np.arange(60, 66))
    found = means_in_window(values[gap], onsets, (0, 300), frame_times_s=times[gap])
    hole = (times[60], times[65] + 1 / 30)
    lost = (onsets < hole[1] - 1e-6) & (onsets + 0.3 > hole[0] + 1e-6)
    assert np.array_equal(np.isnan(found.values).all(axis=1), lost)
    assert lost.sum() >= 1
    assert any("frames do not cover" in note for note in found.notes)
    values[200, 1] = np.nan
    found = means_in_window(values, onsets, (0, 300), frame_times_s=times)
    assert np.isnan(found.values[:, 1]).sum() == 1
    assert not np.isnan(found.values[:, 0]).any()
    assert any("single sites" in note for note in found.notes)


def test_a_window_after_the_last_frame_has_no_response():
    values, times = traces()
    onsets = np.array([3.0, 4.0, times[-1] - 0.1, 50.0])
    found = means_in_window(values, onsets, (0, 300), frame_times_s=times)
    assert np.isnan(found.values).all(axis=1).tolist() == [False, False, True, True]


def test_baselines_and_units():
    values, times = traces()
    onsets = 3.0 + 0.5 * np.arange(12)
    plain = means_in_window(values, onsets, (0, 300), frame_times_s=times, unit="deconvolved")
    before = means_in_window(values, onsets, (-200, 0), frame_times_s=times).values
    assert plain.unit == "deconvolved"
    for unit, becomes in (("dff", "dff"), ("deconvolved", "au")):
        less = means_in_window(
            values, onsets, (0, 300), frame_times_s=times, unit=unit, baseline_ms=(-200, 0), subtract=True
        )
        assert less.unit == becomes
        assert np.allclose(less.values, plain.values - before)
    beside = means_in_window(values, onsets, (0, 300), frame_times_s=times, baseline_ms=(-200, 0))
    assert np.allclose(beside.baseline, before)


def test_short_windows_are_told():
    values, times = traces()
    found = means_in_window(values, [3.0, 4.0, 5.0], (0, 20), frame_times_s=times)
    assert any("shorter than one frame" in note for note in found.notes)


@pytest.mark.parametrize(
    ("times", "onsets", "code"),
    [
        (np.arange(300), 3 + np.arange(30.0), "H02"),
        (np.arange(300.0), 3 + np.arange(30.0), "H02"),
        (frame_times(299, 30.0), 3 + np.arange(4.0), "H04"),
        (np.zeros(300), 3 + np.arange(4.0), "H04"),
        (frame_times(300, 30.0)[::-1], 3 + np.arange(4.0), "H04"),
        (frame_times(300, 30.0), 3000 + np.arange(4.0), "H01"),
        (frame_times(300, 30.0), (3 + np.arange(40) / 8) * 1000, "H02"),
        (np.full(300, np.nan), 3 + np.arange(4.0), "H04"),
    ],
)
def test_frames_on_another_clock_are_refused(times, onsets, code):
    with pytest.raises(DataError) as refused:
        means_in_window(traces()[0], onsets, (0, 300), frame_times_s=times)
    assert refused.value.code == code


def test_a_rate_makes_times():
    assert np.allclose(frame_times(4, 10.0, 1.0), [1.0, 1.1, 1.2, 1.3])
    with pytest.raises(ValueError, match="rate_hz"):
        frame_times(4, 0.0)
