"""The display: transfer functions, geometry, aperture, constraints and fitting of pictures."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from protocols.errors import DataError
from protocols.project.config.template import template
from protocols.project.display import LUMINANCE_WEIGHTS, Display
from tests.protocols.helpers.pictures import noise

ENCODINGS = [{}, {"encoding": "srgb"}, {"encoding": "gamma", "gamma": 2.2}, {"encoding": "gamma", "gamma": 5.0}]


def display(**changes) -> Display:
    return Display(**{"width_px": 48, "height_px": 32, "size_deg": 6.0, **changes})


@pytest.mark.parametrize("settings", ENCODINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transfer_functions_are_inverse(settings, dtype):
    screen = display(**settings)
    pixels = torch.linspace(0, 1, 4097, dtype=dtype)
    luminance = screen.to_luminance(pixels)
    assert luminance.dtype == dtype
    assert float((screen.to_pixel(luminance) - pixels).abs().max()) < 1e-6
    assert float((screen.to_luminance(screen.to_pixel(pixels)) - pixels).abs().max()) < 1e-6
    assert (luminance.diff() >= 0).all()
    assert torch.equal(screen.to_luminance(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]))


def test_transfer_functions_against_reference_values():
    v = torch.tensor([0.02, 0.04045, 0.2, 0.5, 0.8], dtype=torch.float64)
    srgb = display(encoding="srgb").to_luminance(v)
    # 0.5 -> 0.21404114 and 0.8 -> 0.60382734 are the usual published sRGB values
    expected = [0.02 / 12.92, 0.0031308, 0.0331048, 0.21404114, 0.60382734]
    torch.testing.assert_close(srgb, torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=1e-5)
    gamma = display(encoding="gamma", gamma=2.2).to_luminance(v)
    torch.testing.assert_close(gamma, v**2.2)
    assert display().to_luminance(v) is v


@pytest.mark.parametrize("settings", ENCODINGS)
def test_transfer_functions_have_finite_gradients_everywhere(settings):
    screen = display(**settings)
    for function in (screen.to_luminance, screen.to_pixel):
        x = torch.tensor([-0.5, 0.0, 1e-12, 0.04, 0.5, 1.0, 1.5], requires_grad=True)
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        assert torch.isfinite(gradient).all()
        assert (gradient >= 0).all()
    x = torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    assert torch.autograd.gradcheck(screen.to_luminance, x.requires_grad_())
    assert torch.autograd.gradcheck(screen.to_pixel, x.detach().requires_grad_())


def test_background_is_a_pixel_value_and_its_luminance_is_decoded():
    assert display(background=51).background_luminance == pytest.approx(0.2)
    assert display(background=51, encoding="gamma", gamma=2.0).background_luminance == pytest.approx(0.04)


def test_geometry():
    screen = display(colour="rgb")
    assert screen.shape == (3, 32, 48)
    assert display().shape == (1, 32, 48)
    assert screen.px_per_deg == 8.0
    assert json.loads(json.dumps(screen.to_dict()))["px_per_deg"] == 8.0


def test_aperture_mask_is_a_raised_cosine():
    assert display().aperture_mask() is None
    mask = Display(101, 101, 5.0, aperture="circle", aperture_edge=0.2).aperture_mask()
    assert mask.shape == (101, 101)
    assert mask.dtype == torch.float32
    row = mask[50]
    distance = (torch.arange(101) - 50).abs() / 50.5
    assert (row[distance <= 0.8] == 1).all()
    assert (mask[0, 0], mask[100, 0]) == (0, 0)
    inside = (distance > 0.8) & (distance < 1)
    expected = 0.5 * (1 + torch.cos(torch.pi * (distance[inside] - 0.8) / 0.2))
    torch.testing.assert_close(row[inside], expected, atol=1e-6, rtol=0)
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.T)


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_aperture_mask_at_the_extremes_of_the_edge(edge):
    mask = display(aperture="circle", aperture_edge=edge).aperture_mask()
    assert torch.isfinite(mask).all()
    assert float(mask.min()) == 0
    assert float(mask.max()) > 0.99
    if edge == 0:
        assert set(mask.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("settings", "colour", "aperture"),
    [
        (ENCODINGS[0], "grey", "circle"),
        (ENCODINGS[1], "rgb", "none"),
        (ENCODINGS[2], "rgb", "circle"),
        (ENCODINGS[3], "grey", "none"),
    ],
)
def test_constraints_hold_on_the_quantised_image(settings, colour, aperture):
    screen = Display(24, 20, 3.0, colour=colour, aperture=aperture, **settings)
    target = 0.3 if settings.get("gamma") != 5.0 else 0.1
    (constraint,) = screen.constraints(mean=target, rms=0.08)
    images = torch.rand(2, *screen.shape, generator=torch.Generator().manual_seed(1))
    shown = constraint.quantise(constraint(images))
    assert shown.shape == (2, 20, 24, screen.shape[0])
    lum = screen.to_luminance(torch.from_numpy(np.asarray(shown)).double() / 255)
    lum = lum[..., 0] if colour == "grey" else lum @ torch.tensor(LUMINANCE_WEIGHTS, dtype=torch.float64)
    mask = screen.aperture_mask()
    inside = torch.ones(20, 24, dtype=torch.bool) if mask is None else mask > 0
    for image in lum:
        assert float(image[inside].mean()) == pytest.approx(target, abs=0.5 / 255)
        assert float(image[inside].std(unbiased=False)) == pytest.approx(0.08, abs=0.5 / 255)
    assert (np.asarray(shown)[:, ~inside.numpy()] == screen.background).all()


def test_fit_image_leaves_a_fitting_picture_alone():
    grey, rgb = noise(32, 48), noise(32, 48, 3)
    for settings in ENCODINGS:
        assert np.array_equal(display(**settings).fit_image(grey)[..., 0], grey)
        assert np.array_equal(display(colour="rgb", **settings).fit_image(rgb), rgb)
        tripled = np.repeat(grey[..., None], 3, axis=-1)
        assert np.array_equal(display(colour="rgb", **settings).fit_image(grey), tripled)
        assert np.array_equal(display(**settings).fit_image(tripled)[..., 0], grey), (
            "grey stored as RGB stays what it is"
        )


def test_grey_conversion_keeps_the_luminance_shown_on_this_screen():
    colour = np.broadcast_to(np.array([200, 100, 50], np.uint8), (32, 48, 3)).copy()
    linear = display().fit_image(colour)
    assert (linear == round(0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50)).all()
    screen = display(encoding="srgb")
    decoded = screen.to_luminance(torch.tensor([200.0, 100.0, 50.0], dtype=torch.float64) / 255)
    wanted = float(decoded @ torch.tensor(LUMINANCE_WEIGHTS, dtype=torch.float64))
    shown = float(
        screen.to_luminance(torch.tensor(float(screen.fit_image(colour)[0, 0, 0]) / 255, dtype=torch.float64))
    )
    assert shown == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(("width", "height"), [(480, 320), (1000, 320), (480, 1000), (10, 7), (481, 319)])
def test_fit_image_cuts_the_centre_to_the_aspect(width, height):
    left, upper, right, lower = display().crop_box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    assert (right - left) == width or (lower - upper) == height
    assert (right - left) / (lower - upper) == pytest.approx(1.5, rel=1 / min(width, height))
    assert abs(left - (width - right)) <= 1
    assert abs(upper - (height - lower)) <= 1
    assert display().fit_image(noise(height, width, 3)).shape == (32, 48, 1)


def test_fit_image_resizes_without_shifting():
    ramp = np.tile(np.linspace(0, 255, 480).round().astype(np.uint8), (320, 1))
    small = display().fit_image(Image.fromarray(ramp))[..., 0].astype(float)
    centres = (np.arange(48) + 0.5) * 10 - 0.5
    assert np.abs(small[16] - centres / 479 * 255)[3:-3].max() <= 1


@pytest.mark.parametrize("settings", ENCODINGS)
def test_aperture_fades_into_the_background_in_luminance(settings):
    screen = display(aperture="circle", aperture_edge=0.3, background=90, **settings)
    picture = noise(32, 48)
    shown = screen.fit_image(picture)[..., 0]
    mask = screen.aperture_mask().numpy()
    assert (shown[mask == 0] == 90).all()
    assert np.array_equal(shown[mask == 1], picture[mask == 1])
    edge = (mask > 0) & (mask < 1)
    decode = screen.to_luminance
    lum = decode(torch.from_numpy(picture / 255)).numpy()
    expected = screen.background_luminance + mask * (lum - screen.background_luminance)
    pixel = screen.to_pixel(torch.from_numpy(expected)).numpy() * 255
    assert np.abs(shown - pixel)[edge].max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    "image", [noise(8, 8, 4), noise(8, 8).astype(float), Image.new("RGBA", (8, 8)), Image.new("P", (8, 8))]
)
def test_fit_image_refuses_other_pixels(image):
    with pytest.raises(ValueError, match="expected"):
        display().fit_image(image)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width_px", 0),
        ("height_px", 5000),
        ("size_deg", 0.0),
        ("size_deg", -8.0),
        ("size_deg", float("nan")),
        ("background", 256),
        ("background", -1),
        ("encoding", "rec709"),
        ("gamma", 2.2),
        ("colour", "gray"),
        ("aperture", "square"),
        ("aperture_edge", 1.5),
        ("bit_depth", 10),
        ("refresh_hz", 0.0),
        ("viewing_distance_cm", float("inf")),
    ],
)
def test_a_wrong_value_is_named(key, value):
    with pytest.raises(DataError, match=f"C02.*{key}") as caught:
        display(**{key: value})
    assert repr(value) in caught.value.found


@pytest.mark.parametrize("gamma", [None, 0.45, 9.0])
def test_encoding_gamma_needs_an_exponent(gamma):
    with pytest.raises(DataError, match="exponent"):
        display(encoding="gamma", gamma=gamma)


def test_display_is_frozen_and_loads_from_a_project(tmp_path):
    screen = display(encoding="gamma", gamma=1.9, aperture="circle", refresh_hz=120.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        screen.background = 3  # type: ignore[misc]
    path = tmp_path / "project.toml"
    path.write_text(template(display=screen), encoding="utf-8")
    assert Display.load(path) == screen
