"""The photographs' chroma as the limit of controllers, and the share of clipped values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.display import Display
from protocols.synthesis.colour import (
    MUCH,
    QUANTILE,
    chroma_limit,
    clipping_text,
    colour_limits,
    natural_chroma,
)

ENCODINGS = [{"encoding": "linear"}, {"encoding": "srgb"}, {"encoding": "gamma", "gamma": 2.2}]


def display(**changes: object) -> Display:
    return Display(**{"width_px": 24, "height_px": 24, "size_deg": 4.0, "colour": "rgb", **changes})  # type: ignore[arg-type]


def light(pixels: np.ndarray, how: dict[str, object]) -> np.ndarray:
    """Relative luminance of each channel, written anew from IEC 61966-2-1."""
    v = pixels / 255
    if how["encoding"] == "srgb":
        return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return v ** float(how.get("gamma", 1.0))


def chroma_of(pixels: np.ndarray, how: dict[str, object]) -> np.ndarray:
    channels = light(pixels.astype(float), how)
    luminance = 0.2126 * channels[..., 0] + 0.7152 * channels[..., 1] + 0.0722 * channels[..., 2]
    return np.abs(channels - luminance[..., None]).max(-1)


def pictures(seed: int, saturation: float) -> np.ndarray:
    """Four random pictures whose colours are drawn towards grey."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0, 255, (4, 24, 24, 3))
    return (colour.mean(-1, keepdims=True) * (1 - saturation) + colour * saturation).round().astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(ENCODINGS))
def test_the_default_limit_is_a_quantile_of_the_photographs(
    seed: int, saturation: float, how: dict[str, object]
) -> None:
    """Random pictures of any saturation on the three kinds of screen, against numpy's quantile of all pixels."""
    natural = pictures(seed, saturation)
    found = natural_chroma(display(**how), natural)
    expected = np.quantile(chroma_of(natural, how), QUANTILE, method="inverted_cdf")
    assert expected - 1e-9 <= found <= expected + 1 / 4095 + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.6), st.sampled_from(ENCODINGS))
def test_no_image_has_more_and_luminance_stays(seed: int, limit: float, how: dict[str, object]) -> None:
    images = torch.from_numpy(pictures(seed, 1.0)).movedim(-1, 1).double() / 255
    shown = chroma_limit(display(**how), limit)(images)
    pixels = shown.movedim(1, -1).numpy() * 255
    assert chroma_of(pixels, how).max() <= limit + 1e-3
    weights = np.array([0.2126, 0.7152, 0.0722])
    before, after = (light(x, how) @ weights for x in (pictures(seed, 1.0), pixels))
    np.testing.assert_allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("value", [0, 17, 255])
def test_grey_photographs_allow_no_colour(value: int) -> None:
    natural = np.full((3, 24, 24, 3), value, np.uint8)
    assert natural_chroma(display(), natural) == 0.0
    (limit,) = colour_limits(display(), SynthesisConfig(), natural)
    grey = limit(torch.rand(2, 3, 24, 24))
    assert float((grey - grey.mean(1, keepdim=True)).abs().max()) < 1e-5


def test_the_key_stands_above_the_photographs_and_a_grey_display_has_no_limit() -> None:
    natural = pictures(0, 0.1)
    (limit,) = colour_limits(display(), SynthesisConfig(max_chroma=0.7), natural)
    assert limit.describe()["chroma"] == 0.7
    assert colour_limits(display(colour="grey"), SynthesisConfig(), natural[..., :1]) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_images_with_many_clipped_values_are_counted(shares: list[float]) -> None:
    many = sum(share > MUCH for share in shares)
    text = clipping_text(shares)
    assert text.startswith(f"{many} of {len(shares)} images") if many else text == ""
