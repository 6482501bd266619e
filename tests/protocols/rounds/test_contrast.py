"""Contrasts against gratings and flat images whose value is known in closed form, on linear and non-linear displays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from protocols.project.display import Display
from protocols.project.key import exceeded
from protocols.rounds.contrast import field_masks, measure, of_site, site_masks, usual

LINEAR = Display(width_px=64, height_px=48, size_deg=8.0, background=128)
COLOUR = Display(width_px=64, height_px=48, size_deg=8.0, background=128, colour="rgb", encoding="srgb")


def grating(display: Display, amplitude: float = 0.25, period: int = 8) -> np.ndarray:
    """A vertical sine grating of luminance 0.5 +- amplitude, rounded to 8 bits: (1, H, W, C)."""
    channels, height, width = display.shape
    luminance = 0.5 + amplitude * np.sin(2 * np.pi * (np.arange(width) + 0.5) / period)
    pixels = display.to_pixel(torch.from_numpy(luminance)).numpy()
    return np.broadcast_to(np.round(255 * pixels)[None, None, :, None], (1, height, width, channels)).astype(np.uint8)


def everywhere(display: Display) -> torch.Tensor:
    return field_masks(display, [(0.0, 0.0, 1e6)])


@pytest.mark.parametrize(
    "display", [LINEAR, COLOUR, Display(width_px=64, height_px=48, size_deg=8.0, encoding="gamma", gamma=2.2)]
)
def test_a_constant_image_has_no_contrast_and_a_grating_its_amplitude_over_root_two(display) -> None:
    channels, height, width = display.shape
    flat = np.full((1, height, width, channels), 200, dtype=np.uint8)
    both = measure(display, np.concatenate([flat, grating(display)]), everywhere(display))
    np.testing.assert_allclose(both.luminance, [0, 0.25 / math.sqrt(2)], atol=1e-3)
    np.testing.assert_allclose(both.local[:, 0], both.luminance, atol=1e-9)  # an endless field sees the whole image
    np.testing.assert_allclose(both.chroma, 0, atol=1e-12)


def test_luminance_contrast_is_what_the_display_holds() -> None:
    generator = np.random.default_rng(0)
    display = Display(width_px=40, height_px=40, size_deg=4.0, aperture="circle", colour="rgb", encoding="srgb")
    pixels = display.apply_aperture(generator.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8))
    held = display.constraints()[-1].statistics(torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255)
    np.testing.assert_allclose(measure(display, pixels, everywhere(display)).luminance, held["rms"], rtol=1e-9)


def test_chroma_of_a_flat_red_image_by_hand() -> None:
    display = Display(width_px=16, height_px=16, size_deg=4.0, colour="rgb")  # linear
    red = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    red[..., 0] = 255
    luminance = 0.2126
    by_hand = math.sqrt(((1 - luminance) ** 2 + 2 * luminance**2) / 3)
    found = measure(display, red, everywhere(display))
    assert found.chroma[0] == pytest.approx(by_hand)
    assert found.luminance[0] == pytest.approx(0, abs=1e-12)


def test_local_contrast_is_that_under_the_field() -> None:
    """A grating in the left half, grey in the right: a field sees its own side, up is up, and two independent sums agree."""
    image = grating(LINEAR)
    image = image.copy()
    image[:, :, 32:] = 128
    image[:, :24, :32] = 128  # the grating is in the lower left quarter alone
    fields = [(-2.0, -1.5, 0.4), (-2.0, 1.5, 0.4), (2.0, -1.5, 0.4)]
    masks = field_masks(LINEAR, fields)
    local = measure(LINEAR, image, masks).local[0]
    assert local[0] == pytest.approx(0.25 / math.sqrt(2), abs=0.01)
    assert local[1] < 0.01
    assert local[2] < 0.01
    luminance = image[0, :, :, 0] / 255
    for mask, value in zip(masks.numpy(), local, strict=True):
        mean = np.average(luminance, weights=mask)
        assert value == pytest.approx(math.sqrt(np.average((luminance - mean) ** 2, weights=mask)), abs=1e-9)


def test_masks_are_gaussians_in_degrees_and_unknown_fields_are_not_guessed() -> None:
    fine = Display(width_px=161, height_px=161, size_deg=8.05)  # 20 px a degree
    mask, unknown, flat = field_masks(fine, [(1.0, -0.5, 0.6), (math.nan, 0.0, 1.0), (0.0, 0.0, 0.0)]).numpy()
    rows, columns = np.mgrid[:161, :161]
    x, y = (columns - 80) / 20, (80 - rows) / 20
    centre = np.average(x, weights=mask), np.average(y, weights=mask)
    np.testing.assert_allclose(centre, (1.0, -0.5), atol=1e-3)
    assert np.average((x - centre[0]) ** 2, weights=mask) == pytest.approx(0.36, rel=0.01)
    assert mask.sum() == pytest.approx(1)
    assert np.isnan(unknown).all()
    assert np.isnan(flat).all()
    record = {
        "report": {
            "sites": [
                {"site_id": "a", "rf_x_deg": 1.0, "rf_y_deg": -0.5, "rf_sd_deg": 0.6},
                {"site_id": "b", "rf_x_deg": None},
            ]
        }
    }
    made = site_masks(fine, record, ("b", "a", "c")).numpy()
    np.testing.assert_array_equal(made[1], mask)
    assert np.isnan(made[[0, 2]]).all()
    assert np.isnan(site_masks(fine, None, ("a",)).numpy()).all()


def test_the_field_counts_only_what_the_aperture_shows() -> None:
    display = Display(width_px=64, height_px=64, size_deg=8.0, aperture="circle")
    mask = field_masks(display, [(-3.0, 3.0, 1.0)])[0]
    assert float(mask[display.aperture_mask() == 0].max()) == 0.0
    assert float(mask.sum()) == pytest.approx(1)


def test_percentiles_of_the_photographs_and_what_exceeds_them() -> None:
    generator = np.random.default_rng(1)
    display = Display(width_px=32, height_px=32, size_deg=4.0, colour="rgb")
    spread = generator.uniform(5, 40, 200)[:, None, None, None]
    pixels = np.clip(128 + spread * generator.normal(size=(200, 32, 32, 3)), 0, 255).astype(np.uint8)
    masks = field_masks(display, [(0.0, 0.0, 0.5), (math.nan, 0.0, 1.0)])
    natural = measure(display, pixels, masks)
    limits = usual(natural)
    assert (natural.luminance > limits.luminance).mean() == 0.05
    assert (natural.local[:, 0] > limits.local[0]).mean() == 0.05
    order = np.argsort(natural.luminance)
    low, high = (of_site(natural, limits, int(i), site=0, colour=True) for i in (order[0], order[-1]))
    assert exceeded(low) == ()
    assert exceeded(high) == ("luminance", "chroma", "local")
    assert high["local_natural"] == limits.local[0]
    assert set(of_site(natural, limits, 0, site=1, colour=False)) == {"luminance", "luminance_natural"}
    assert exceeded({}) is None
    assert measure(display, pixels[:0], masks).local.shape == (0, 2)
