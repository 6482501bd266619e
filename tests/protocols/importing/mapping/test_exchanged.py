"""Axes that were named in the wrong order: what the numbers tell of it, and that honest recordings are taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.mapping.exchanged import alike, check_repeats, tell_bins


def recording(seed: int, *, images: int = 60, repeats: int = 5, sites: int = 12, tuning: float = 0.6) -> np.ndarray:
    """Counts (images, repeats, sites): rates of sites differ, and each has its own tuning."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(1, 15, sites) * np.exp(tuning * rng.standard_normal((images, 1, sites)))
    gain = np.exp(0.2 * rng.standard_normal((images, repeats, 1)))
    return rng.poisson(rate * gain).astype(float)


def judged(values: np.ndarray, *, sure: bool = False) -> tuple[str, list[str]]:
    notes: list[str] = []
    try:
        check_repeats(values, "f", sure=sure, notes=notes)
    except DataError as error:
        return error.code, notes
    return "", notes


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(20, 80),
    repeats=st.integers(2, 8),
    sites=st.integers(6, 30),
    padded=st.floats(0, 0.3),
)
def test_exchanged_repeats_and_sites_are_refused_and_right_ones_taken(seed, images, repeats, sites, padded):
    values = recording(seed, images=images, repeats=repeats, sites=sites)
    rng = np.random.default_rng(seed)
    values[rng.random((images, repeats)) * (np.arange(repeats) >= 2) > 1 - padded] = np.nan
    assert judged(values) == ("", [])
    code, notes = judged(values.transpose(0, 2, 1))
    assert code == "A20" or notes


def test_the_map_may_say_that_the_axes_are_right():
    values = recording(0).transpose(0, 2, 1)
    assert judged(values)[0] == "A20"
    code, notes = judged(values, sure=True)
    assert not code
    assert "look whether site and repeat are exchanged" in notes[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["untuned", "drift", "one gain", "z-scored", "silent"]))
def test_odd_but_right_recordings_are_never_refused(seed, kind):
    rng = np.random.default_rng(seed)
    values = recording(seed, tuning=0.0 if kind in ("untuned", "one gain") else 0.6)
    if kind == "drift":
        values = rng.poisson(values * np.linspace(1, 2, values.shape[1])[:, None]).astype(float)
    if kind == "one gain":  # all sites together, far more than any picture drives them
        values = rng.poisson(values * np.exp(rng.standard_normal(values.shape[:2]))[..., None]).astype(float)
    if kind == "z-scored":
        values = (values - values.mean((0, 1))) / values.std((0, 1))
    if kind == "silent":
        values[:] = 0
    assert judged(values)[0] == ""


def test_z_scored_numbers_with_exchanged_axes_are_told():
    values = recording(3, images=120, repeats=6, sites=20)
    values = (values - values.mean((0, 1))) / values.std((0, 1))
    code, notes = judged(values.transpose(0, 2, 1))
    assert code == "A20" or "exchanged" in notes[0]


@pytest.mark.parametrize("shape", [(19, 5, 5), (60, 1, 5), (60, 5, 1)])
def test_too_little_says_nothing(shape):
    assert alike(np.ones(shape)) is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), sites=st.integers(24, 60), bins=st.integers(20, 60))
def test_exchanged_sites_and_bins_are_told(seed, sites, bins):
    rng = np.random.default_rng(seed)
    time = np.linspace(-50, 250, bins)
    course = np.exp(-(((time - rng.uniform(80, 120, (sites, 1))) / 60) ** 2))
    means = rng.uniform(1, 20, (sites, 1)) * (0.3 + course)
    right: list[str] = []
    tell_bins(means, "f", right)
    assert right == []
    told: list[str] = []
    tell_bins(means.T, "f", told)
    assert len(told) == 1
