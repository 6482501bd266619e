"""Tuning series: the identity is the image itself, every step meets the display, planted sites have known curves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synth import exact_statistics
from synth.constraints import ExactStatistics
from synth.constraints.aperture import without_aperture
from synth.invariance.tuning import SERIES, half_width, moved, series_images, series_of

SIZE = 32


def disc(height: int, width: int) -> Tensor:
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    far = torch.hypot(y[:, None], x[None]) / (min(height, width) / 2)
    return (0.5 + 0.5 * torch.cos(torch.pi * ((far - 0.7) / 0.3).clamp(0, 1))).where(far < 1, 0.0).float()


def display(shape: tuple[int, int, int], rms: float = 0.15, *, aperture: bool = False, gamma: float = 1.0) -> ExactStatistics:  # fmt: skip
    return exact_statistics(
        shape,
        mean=0.45 if gamma == 1 else 0.25,
        rms=rms,
        aperture=disc(*shape[1:]) if aperture else None,
        background=128 / 255,
        to_luminance=None if gamma == 1 else lambda v: v**gamma,
        to_pixel=None if gamma == 1 else lambda v: v.clamp_min(0) ** (1 / gamma),
    )


def shown(seed: int, exact: ExactStatistics) -> np.ndarray:
    """A smooth random image as the display shows it, (H, W, C)."""
    draw = torch.Generator().manual_seed(seed)
    channels, height, width = exact.shape
    rough = torch.rand(1, channels, height // 4, width // 4, generator=draw, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(rough, size=(height, width), mode="bicubic", align_corners=False)
    return exact.quantise(exact(smooth))[0].numpy()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([(16, 16), (16, 24), (28, 20)]),
    aperture=st.booleans(),
    gamma=st.sampled_from([1.0, 2.2]),
    name=st.sampled_from(SERIES),
)
def test_the_identity_is_the_image_and_every_step_meets_the_display(
    seed: int, channels: int, size: tuple[int, int], aperture: bool, gamma: float, name: str
) -> None:
    def at(factor: float) -> list[ExactStatistics]:
        return [display((channels, *size), 0.12 * factor, aperture=aperture, gamma=gamma)]

    pixels = shown(seed, at(1.0)[0])
    series = series_of(*size)[name]
    made, reasons = series_images(pixels, series, constraints=at(1.0), at_contrast=at)
    for value, image, reason in zip(series.values, made, reasons, strict=True):
        assert (image is None) == bool(reason)
        if image is None:
            # too much for the screen, or less than an aperture itself has, whose background is not the image's mean
            assert name == "contrast"
            assert value > 1 or aperture
            continue
        if value == series.identity:
            assert np.array_equal(image, pixels)
        limits = at(value if name == "contrast" else 1.0)[0]
        assert limits.violations(torch.from_numpy(image)[None]) == [""]


def test_a_contrast_beyond_the_screen_is_left_out_with_its_reason() -> None:
    def at(factor: float) -> list[ExactStatistics]:
        return [display((1, 16, 16), 0.3 * factor)]

    series = replace(series_of(16, 16)["contrast"], values=(0.5, 1.0, 3.0))
    made, reasons = series_images(shown(0, at(1.0)[0]), series, constraints=at(1.0), at_contrast=at)
    assert [image is None for image in made] == [False, False, True]
    assert "RMS contrast" in reasons[2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), right=st.integers(-7, 7), up=st.integers(-7, 7))
def test_shifts_copy_pixels(seed: int, right: int, up: int) -> None:
    image = torch.rand(2, 1, 16, 20, generator=torch.Generator().manual_seed(seed))
    got = moved(image, shift=(right, up))
    for row in range(16):
        for column in range(20):
            source = (row + up, column - right)
            if 0 <= source[0] < 16 and 0 <= source[1] < 20:
                assert torch.equal(got[..., row, column], image[..., source[0], source[1]])
    assert moved(image) is image


def test_quarter_turns_are_those_of_the_array_and_halves_are_means() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(moved(image, degrees=90.0), torch.rot90(image, 1, (2, 3)), atol=1e-9)
    assert torch.allclose(moved(image, degrees=-90.0), torch.rot90(image, -1, (2, 3)), atol=1e-9)
    half = torch.nn.functional.avg_pool2d(image, 2)
    assert torch.allclose(moved(image, scale=0.5)[..., 4:12, 4:12], half, atol=1e-9)
    assert torch.allclose(
        moved(image, scale=2.0, degrees=90.0, about=(3.0, 5.0))[..., 5, 3], image[..., 5, 3], atol=1e-9
    )


def gabor(x0: float, y0: float, sd: float, period: float) -> Tensor:
    y, x = torch.arange(SIZE, dtype=torch.float64)[:, None] - y0, torch.arange(SIZE, dtype=torch.float64)[None] - x0
    return torch.exp(-(x**2 + y**2) / (2 * sd**2)) * torch.cos(2 * torch.pi * x / period)


def test_a_planted_gabor_has_the_curves_of_its_own_autocorrelation() -> None:
    """Across the bars cos(2 pi d / period) exp(-d^2 / 4 sd^2), along them exp(-d^2 / 4 sd^2); linear in contrast."""
    period, sd, place = 8.0, 3.5, (14.0, 17.0)
    weights = gabor(*place, sd, period)
    weights -= weights.mean()

    def at(factor: float) -> list[ExactStatistics]:
        return [exact_statistics((1, SIZE, SIZE), mean=0.5, rms=0.08 * factor)]

    pixels = at(1.0)[0].quantise(at(1.0)[0](0.5 + weights[None, None]))[0].numpy()
    curves = {}
    every = series_of(SIZE, SIZE)
    for name, series in every.items():
        made, _ = series_images(pixels, series, constraints=at(1.0), at_contrast=at, about=place)
        answers = np.array([float((weights * torch.from_numpy(image[..., 0] / 255)).sum()) for image in made])
        curves[name] = answers / answers[series.values.index(series.identity)]
    assert curves["contrast"] == pytest.approx(every["contrast"].values, abs=0.05)
    distance = np.array(every["position_x"].values)
    envelope = np.exp(-(distance**2) / (4 * sd**2))
    near = np.abs(distance) <= 6  # farther away a mirrored bar comes in
    assert curves["position_y"][near] == pytest.approx(envelope[near], abs=0.05)
    assert curves["position_x"][near] == pytest.approx((envelope * np.cos(2 * np.pi * distance / period))[near], abs=0.08)  # fmt: skip
    # a Gabor turned by 90 degrees about its own centre is orthogonal to itself but for its mean
    assert abs(curves["rotation"][[0, -1]]).max() < 0.05
    assert curves["rotation"] == pytest.approx(curves["rotation"][::-1], abs=0.05)
    below, above = half_width(every["position_y"].values, curves["position_y"], 0.0)
    expected = 2 * sd * math.sqrt(math.log(2))
    assert (below, above) == (pytest.approx(expected, rel=0.08), pytest.approx(expected, rel=0.08))
    across, _ = half_width(every["position_x"].values, curves["position_x"], 0.0)
    assert across is not None
    assert across < 0.5 * expected
    assert half_width(every["contrast"].values, curves["contrast"], 1.0)[0] == pytest.approx(0.5, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-16, 16).map(lambda i: i / 8), min_size=3, max_size=9), st.data())
def test_half_widths_are_the_first_crossings(responses: list[float], data: st.DataObject) -> None:
    values = np.arange(len(responses), dtype=float)
    middle = data.draw(st.integers(0, len(responses) - 1))
    below, above = half_width(values, responses, float(middle))
    if responses[middle] <= 0:
        assert (below, above) == (None, None)
        return
    fine = np.linspace(0, 1, 400)
    for found, side in ((above, responses[middle:]), (below, responses[middle::-1])):
        curve = np.interp(fine * (len(side) - 1), np.arange(len(side)), side)
        half, places = responses[middle] / 2, fine * (len(side) - 1)
        if found is None:
            assert (curve > half).all()
        else:
            assert np.interp(found, np.arange(len(side)), side) == pytest.approx(half, abs=1e-9)
            assert (curve[places < found - 1e-9] > half).all()


def test_missing_steps_do_not_count() -> None:
    assert half_width([0.0, 1.0, 2.0, 3.0], [1.0, math.nan, 0.75, 0.25], 0.0) == (None, 2.5)
    assert half_width([0.0, 1.0], [math.nan, 1.0], 0.0) == (None, None)


def test_taking_off_the_aperture_and_laying_it_on_gives_the_image() -> None:
    exact = display((1, 20, 20), aperture=True, gamma=2.2)
    inner = shown(3, display((1, 20, 20), gamma=2.2)).astype(float) / 255
    images = torch.from_numpy(inner).movedim(-1, 0)[None]
    seen = exact(images)
    again = exact(without_aperture(seen, [exact]))
    assert float((again - seen).abs()[..., exact.aperture > 0.05].max()) < 0.02
