"""The mean response in time: against brute force, and the sentence that a wrong window gets."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.importing.windows import frame_times, psth_of_spikes, psth_of_traces, window_doubt

WINDOW = (70.0, 170.0)


def responding(gap: float = 0.5, trials: int = 200, units: int = 12, seed: int = 0):
    """Spikes at 5 /s, and 60 /s from 60 to 160 ms after each image."""
    rng = np.random.default_rng(seed)
    onsets = 1.0 + gap * np.arange(trials) + rng.uniform(0, 0.05, trials)
    spikes = []
    for _ in range(units):
        rest = rng.uniform(0, onsets[-1] + 2, rng.poisson(5 * (onsets[-1] + 2)))
        evoked = [o + rng.uniform(0.06, 0.16, rng.poisson(6)) for o in onsets]
        spikes.append(np.sort(np.concatenate([rest, *evoked])))
    return spikes, onsets


def test_rates_per_bin_are_those_of_brute_force():
    spikes, onsets = responding(trials=30, units=2)
    edges = np.array([-100.0, -50.0, 0.0, 75.0, 100.0])
    psth = psth_of_spikes(spikes, np.r_[onsets, np.nan], WINDOW, edges_ms=edges)
    for unit, times in enumerate(spikes):
        after = (times[None, :] - onsets[:, None]) * 1000
        counts, _ = np.histogram(after, edges)
        assert np.allclose(psth.values[unit], counts / (np.diff(edges) / 1000) / 30)


def test_frames_fall_into_the_bin_of_their_middle():
    times = frame_times(400, 20.0)
    traces = np.random.default_rng(0).normal(size=(400, 3))
    onsets = np.array([3.013, 7.4, 12.09])
    psth = psth_of_traces(traces, onsets, (0.0, 500.0), frame_times_s=times)
    after = (times + 0.025)[None, :] - onsets[:, None]
    for b, (low, high) in enumerate(zip(psth.edges_ms[:-1] / 1000, psth.edges_ms[1:] / 1000, strict=True)):
        _, frame = np.nonzero((after >= low - 1e-9) & (after < high - 1e-9))
        assert np.allclose(psth.values[:, b], traces[frame].mean(axis=0))


@pytest.mark.parametrize("gap", [0.5, 0.2])
def test_the_right_window_is_not_doubted(gap):
    spikes, onsets = responding(gap)
    assert window_doubt(psth_of_spikes(spikes, onsets, WINDOW), WINDOW) is None


@pytest.mark.parametrize("window", [(170.0, 270.0), (-100.0, 0.0), (-40.0, 60.0), (300.0, 400.0)])
def test_a_window_beside_the_response_is_doubted(window):
    spikes, onsets = responding()
    doubt = window_doubt(psth_of_spikes(spikes, onsets, window), window)
    assert doubt is not None
    assert "largest from 60 to 160 ms" in doubt or "largest from 50 to 150 ms" in doubt


def test_late_onsets_are_named():
    spikes, onsets = responding(1.2)
    doubt = window_doubt(psth_of_spikes(spikes, onsets + 0.2, WINDOW), WINDOW)
    assert doubt is not None
    assert "before the onset" in doubt


def test_onsets_on_another_clock_are_doubted():
    doubts = []
    for seed in range(20):
        spikes, onsets = responding(seed=seed)
        other = np.sort(np.random.default_rng(seed).uniform(onsets[0], onsets[-1], len(onsets)))
        doubts.append(window_doubt(psth_of_spikes(spikes, other, WINDOW), WINDOW))
    assert sum(doubt is not None and "does not change" in doubt for doubt in doubts) >= 14
    assert sum(doubt is not None for doubt in doubts) >= 17


def test_halves_make_the_whole():
    spikes, onsets = responding(trials=31, units=2)
    psth = psth_of_spikes(spikes, onsets, WINDOW)
    assert np.allclose((16 * psth.halves[0] + 15 * psth.halves[1]) / 31, psth.values)


def test_suppressed_sites_have_a_response_too():
    rng = np.random.default_rng(3)
    spikes, onsets = [], 1 + 0.5 * np.arange(200)
    for _ in range(12):
        times = np.sort(rng.uniform(0, 102, 102 * 40))
        after = times - onsets[np.clip(np.searchsorted(onsets, times) - 1, 0, None)]
        spikes.append(times[~((after > 0.06) & (after < 0.17) & (rng.random(len(times)) < 0.8))])
    assert window_doubt(psth_of_spikes(spikes, onsets, WINDOW), WINDOW) is None
    assert window_doubt(psth_of_spikes(spikes, onsets, WINDOW), (250.0, 350.0)) is not None


def test_few_bins_and_silent_sites_are_not_doubted():
    assert window_doubt(psth_of_spikes([np.empty(0)], [1.0, 2.0], WINDOW), WINDOW) is None
