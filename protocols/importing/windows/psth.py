"""The mean response against time after onset, and whether the response window is where the response is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.arrays import Floats
from protocols.importing.contract import Psth

from .clock import as_times
from .spikes import edges_on_clock
from .traces import frame_ends

BEFORE_MS, AFTER_MS, BIN_MS = 200.0, 300.0, 10.0
MOST_BINS = 200
MOST_SHOWN = 2000
"""So many presentations, spread evenly, show the mean response; more would only take time."""
AGREE = 0.5
"""Halves of the presentations whose mean responses are less correlated than this show no response to the onset."""
SMALL = 0.5
"""A window with less than this part of the largest mean response is doubted."""


def psth_edges(window_ms: tuple[float, float], frame_ms: float = 0.0) -> Floats:
    """Bin edges from before the onset to after the window, at most 200 bins, none shorter than 10 ms or a frame."""
    begin, end = min(-BEFORE_MS, window_ms[0]), window_ms[1] + max(AFTER_MS, window_ms[1] - window_ms[0])
    width = max(BIN_MS, frame_ms, np.ceil((end - begin) / MOST_BINS))
    steps = np.arange(np.floor(begin / width), np.ceil(end / width) + 1, dtype=np.float64)
    return np.asarray(width * steps, dtype=np.float64)


def psth_of_spikes(
    spike_times_s: Sequence[ArrayLike],
    onsets_s: ArrayLike,
    window_ms: tuple[float, float],
    *,
    edges_ms: Floats | None = None,
) -> Psth:
    """Mean rate per unit and bin, spikes/s, over the presentations with an onset (pass those that are used; of more
    than 2000, 2000 spread evenly).

    Parameters
    ----------
    spike_times_s : sequence of U arrays, seconds
    onsets_s : array of shape (T,), seconds
    window_ms : (t0, t1)
        The bins reach from before the onset to after this window.
    edges_ms : array of shape (B + 1,), optional
        Other bins.
    """
    edges = psth_edges(window_ms) if edges_ms is None else edges_ms
    onsets = _some(onsets_s)
    at = edges_on_clock(onsets[:, None], edges[None, :])
    counts = np.zeros((2, len(spike_times_s), len(edges) - 1))
    for unit, times in enumerate(spike_times_s):
        before = np.searchsorted(np.sort(as_times("the recording", "spike times", times)), at, "left")
        in_bins = np.diff(before, axis=1)
        counts[:, unit] = in_bins[::2].sum(axis=0), in_bins[1::2].sum(axis=0)
    seconds = np.diff(edges) / 1000
    half = np.array([(len(onsets) + 1) // 2, len(onsets) // 2])
    rates = counts.sum(axis=0) / (seconds * max(len(onsets), 1))
    return Psth(edges, rates, counts / (seconds * np.maximum(half, 1)[:, None, None]))


def psth_of_traces(
    traces: NDArray[np.floating | np.integer],
    onsets_s: ArrayLike,
    window_ms: tuple[float, float],
    *,
    frame_times_s: ArrayLike,
    edges_ms: Floats | None = None,
) -> Psth:
    """Mean of each trace per bin, each frame in the bin that holds its middle; NaN where no frame lies in a bin.

    Parameters are those of `means_in_window` and `psth_of_spikes`; frames that are NaN are left out.
    """
    times = np.asarray(frame_times_s, dtype=np.float64)
    middle = (times + frame_ends(times)) / 2
    edges = psth_edges(window_ms, 1000 * float(np.median(np.diff(times)))) if edges_ms is None else edges_ms
    sums, counts = np.zeros((2, 2, len(edges) - 1, traces.shape[1]))
    for number, onset in enumerate(_some(onsets_s)):
        first, last = np.searchsorted(middle, onset + edges[[0, -1]] / 1000, "left")
        rows = np.asarray(traces[first:last], dtype=np.float64)
        bins = np.searchsorted(edges, (middle[first:last] - onset) * 1000 + 1e-6, "right") - 1
        inside = (bins >= 0) & (bins < len(edges) - 1)
        np.add.at(sums[number % 2], bins[inside], np.nan_to_num(rows[inside], nan=0.0))
        np.add.at(counts[number % 2], bins[inside], np.isfinite(rows[inside]))
    halves = _ratio(sums, counts).transpose(0, 2, 1)
    return Psth(edges, _ratio(sums.sum(axis=0), counts.sum(axis=0)).T, halves)


def _some(onsets_s: ArrayLike) -> Floats:
    """The known onsets, or 2000 of them spread evenly."""
    onsets = np.asarray(onsets_s, dtype=np.float64)
    onsets = onsets[np.isfinite(onsets)]
    if len(onsets) <= MOST_SHOWN:
        return onsets
    return np.asarray(onsets[np.linspace(0, len(onsets) - 1, MOST_SHOWN).astype(np.int64)])


def _ratio(sums: Floats, counts: Floats) -> Floats:
    return np.asarray(np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0), dtype=np.float64)


def window_doubt(psth: Psth, window_ms: Sequence[float]) -> str | None:
    """A sentence where the mean response lies elsewhere than the window, or is not to be seen; else None.

    The mean over sites of the standardised response must be much the same in both halves of the presentations. It is
    then compared, in windows of the same length, with its mean before the onset (its median over all bins where that is
    no rest). Images that follow one another quickly give a periodic response: the window needs half of the largest.
    """
    profile, middles, halves = _profiles(psth)
    if len(profile) < 8:
        return None
    if halves is not None and not np.corrcoef(halves[0], halves[1])[0, 1] >= AGREE:
        return (
            "the mean response does not change with the onset of the images: wrong onsets, another clock "
            "(samples or ms in place of seconds), or sites that do not respond"
        )
    before = profile[middles < 0]
    quiet = before.size > 1 and before.std() < 0.5 * profile.std()  # no response of an earlier image, no late onset
    rest = float(before.mean()) if quiet else float(np.median(profile))
    width = float(np.median(np.diff(middles)))
    length = window_ms[1] - window_ms[0]
    begins = np.arange(psth.edges_ms[0], psth.edges_ms[-1] - length + 1e-9, width)
    means = np.array([_mean_in(profile, middles, (b, b + length)) for b in begins]) - rest
    here = _mean_in(profile, middles, (window_ms[0], window_ms[1])) - rest
    if not len(means) or not np.isfinite(here) or not np.any(np.isfinite(means)):
        return None
    best = int(np.nanargmax(np.abs(means)))
    part = here / means[best]
    if part >= SMALL:
        return None
    begin, end = begins[best], begins[best] + length
    early = "; responses before the onset speak for late onsets or another clock" if begin < 0 else ""
    return (
        f"the mean response is largest from {begin:.0f} to {end:.0f} ms; the window of {window_ms[0]:g} to "
        f"{window_ms[1]:g} ms holds {max(part, 0):.0%} of it{early}"
    )


def _profiles(psth: Psth) -> tuple[Floats, Floats, Floats | None]:
    """Mean over sites of the response, standardised per site over the bins, the middle of each bin in ms, and the same
    mean of both halves of the presentations.
    """
    middles = (psth.edges_ms[1:] + psth.edges_ms[:-1]) / 2
    values = np.asarray(psth.values, dtype=np.float64)
    both = values[None] if psth.halves is None else np.concatenate([values[None], psth.halves])
    seen = np.all(np.isfinite(both), axis=(0, 1)) if values.size else np.zeros(len(middles), dtype=bool)
    both, middles = both[..., seen], middles[seen]
    if not both.size:
        return np.zeros(0), middles, None
    spread = both[0].std(axis=1)
    varies = spread > 1e-12 * np.abs(both[0]).max(axis=1)
    if not varies.any():
        return np.zeros(0), middles, None
    standard = (both[:, varies] - both[0, varies].mean(axis=1)[:, None]) / spread[varies, None]
    profiles = standard.mean(axis=1)
    halves = profiles[1:] if len(profiles) == 3 and np.all(profiles[1:].std(axis=1) > 0) else None
    return profiles[0], middles, halves


def _mean_in(profile: Floats, middles: Floats, window: tuple[float, float]) -> float:
    inside = (middles >= window[0]) & (middles < window[1])
    if not inside.any():
        inside = np.arange(len(middles)) == int(np.argmin(np.abs(middles - np.mean(window))))
    return float(profile[inside].mean())
