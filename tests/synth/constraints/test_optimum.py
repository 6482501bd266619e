"""Projections against scipy's optimisers, which know nothing of gain and offset."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synth import exact_statistics
from synth.constraints import ConstraintError, gamut, pixel_range

QUIET = settings(max_examples=15, deadline=None)
WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


def nearest(image: np.ndarray, mean: float | None, rms: float | None, begins: list[np.ndarray]) -> float:
    """The least squared distance from `image` (P,) of values in [0, 1] of that mean and SD, by SLSQP."""
    goal = float(np.clip(image, 0, 1).mean()) if mean is None else mean  # each image's own
    limits = [{"type": "eq", "fun": lambda y: y.mean() - goal, "jac": lambda y: np.full(len(y), 1 / len(y))}]
    if rms is not None:
        limits.append({"type": "eq", "fun": lambda y: y.var() - rms**2, "jac": lambda y: 2 * (y - y.mean()) / len(y)})
    best = np.inf
    for begin in begins:
        found = scipy.optimize.minimize(lambda y: ((y - image) ** 2).sum(), begin, jac=lambda y: 2 * (y - image), bounds=[(0, 1)] * len(image), constraints=limits, method="SLSQP", options={"maxiter": 500, "ftol": 1e-14})  # fmt: skip
        reached = abs(found.x.mean() - goal) < 1e-7 and (rms is None or abs(found.x.std() - rms) < 1e-6)
        if reached:
            best = min(best, float(found.fun))
    return best


@QUIET
@given(side=st.integers(3, 5), seed=st.integers(0, 9999), spread=st.floats(0.05, 0.6), mean=st.none() | st.floats(0.25, 0.75), rms=st.none() | st.floats(0.05, 0.3))  # fmt: skip
def test_the_projection_of_a_grey_image_is_the_nearest_image_that_holds(side: int, seed: int, spread: float, mean: float | None, rms: float | None) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    image = rng.normal(0.5, spread, side * side)
    display = exact_statistics((1, side, side), mean=mean, rms=rms)
    try:
        shown = display(torch.from_numpy(image.reshape(1, 1, side, side))).numpy().ravel()
    except ConstraintError:
        assume(False)
    distance = ((shown - image) ** 2).sum()
    assert shown.min() >= 0
    assert shown.max() <= 1
    begins = [shown, np.clip(image, 0, 1), np.clip(shown + rng.normal(0, 0.05, len(image)), 0, 1)]
    expected = nearest(image, mean, rms, begins)
    assume(np.isfinite(expected))
    assert distance == pytest.approx(expected, rel=1e-4, abs=1e-8)


@settings(QUIET, max_examples=40)
@given(seed=st.integers(0, 9999), mean=st.floats(0.3, 0.7), rms=st.floats(0.05, 0.25), gamma=st.sampled_from([1.0, 2.2]), window=st.booleans())  # fmt: skip
def test_gain_and_offset_of_colour_behind_an_aperture_are_the_roots_that_scipy_finds(seed: int, mean: float, rms: float, gamma: float, window: bool) -> None:  # fmt: skip
    """Two equations, mean and RMS luminance of background + aperture (clip(gain x + offset) - background)."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (3, 6, 7))
    aperture = np.clip(rng.uniform(0.2, 1.3, (6, 7)), 0, 1) if window else np.ones((6, 7))
    aperture[0, 0] = 0 if window else 1
    transfer = {} if gamma == 1 else {"to_luminance": lambda x: x**gamma, "to_pixel": lambda x: x ** (1 / gamma)}
    display = exact_statistics((3, 6, 7), mean=mean, rms=rms, aperture=torch.from_numpy(aperture) if window else None, background=128 / 255, **transfer)  # fmt: skip
    try:
        shown = display(torch.from_numpy(image)[None])[0].numpy()
    except ConstraintError:
        assume(False)
    inside, background, light = aperture > 0, (128 / 255) ** gamma, image**gamma

    def seen(unknown: np.ndarray) -> np.ndarray:
        scaled = np.clip(unknown[0] * light + unknown[1], 0, 1)
        return background + aperture * (scaled - background)

    def errors(unknown: np.ndarray) -> list[float]:
        luminance = np.tensordot(WEIGHTS, seen(unknown), 1)[inside]
        return [luminance.mean() - mean, luminance.std() - rms]

    found = scipy.optimize.least_squares(errors, [1.0, 0.0], xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assume(found.cost < 1e-20 and found.x[0] > 0)
    expected = np.where(inside, seen(found.x) ** (1 / gamma), 128 / 255)
    np.testing.assert_allclose(shown, expected, atol=2e-5)


@settings(QUIET, max_examples=40)
@given(seed=st.integers(0, 9999), chroma=st.floats(0.01, 0.5), gamma=st.sampled_from([1.0, 1.8]))
def test_the_chroma_limit_leaves_as_much_colour_as_bisection_does(seed: int, chroma: float, gamma: float) -> None:
    image = np.random.default_rng(seed).uniform(0.02, 1, (3, 4, 4))
    transfer = {} if gamma == 1 else {"to_luminance": lambda x: x**gamma, "to_pixel": lambda x: x ** (1 / gamma)}
    found = gamut(chroma=chroma, **transfer)(torch.from_numpy(image)[None])[0].numpy()
    for y in range(4):
        for x in range(4):
            light = image[:, y, x] ** gamma
            grey = float(WEIGHTS @ light)
            low, high = 0.0, 1.0
            for _ in range(60):
                share = (low + high) / 2
                low, high = (share, high) if np.abs(share * (light - grey)).max() <= chroma else (low, share)
            share = 1.0 if np.abs(light - grey).max() <= chroma else low
            np.testing.assert_allclose(found[:, y, x] ** gamma, grey + share * (light - grey), atol=1e-6)


@settings(QUIET, max_examples=40)
@given(seed=st.integers(0, 9999), spread=st.floats(0.05, 2))
def test_the_range_alone_is_the_nearest_image(seed: int, spread: float) -> None:
    image = np.random.default_rng(seed).normal(0.5, spread, (1, 3, 4, 4))
    expected = [[[[min(max(v, 0.0), 1.0) for v in line] for line in plane] for plane in one] for one in image.tolist()]
    assert np.array_equal(pixel_range(torch.from_numpy(image)).numpy().round(12), np.array(expected).round(12))
