from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from encoders import to_images
from encoders.fields.maps import LayerReceptiveField, gradient_map, layer_receptive_field, mask_map
from encoders.fields.receptive_field import FWHM, fit_receptive_field, overlap

FIELD = 8.0  # degrees across


def bump(x=0.0, y=0.0, major=1.0, minor=1.0, angle=0.0, height=96, width=96):
    """A Gaussian in degrees: x rightwards, y upwards, `angle` counter-clockwise; row 0 is the top."""
    degrees = FIELD / width
    rows, columns = np.mgrid[:height, :width]
    dx, dy = (columns + 0.5 - width / 2) * degrees - x, (height / 2 - rows - 0.5) * degrees - y
    a = np.radians(angle)
    along, across = dx * np.cos(a) + dy * np.sin(a), dy * np.cos(a) - dx * np.sin(a)
    return np.exp(-((along / major) ** 2 + (across / minor) ** 2) / 2)


def fitted(one):
    (found,) = fit_receptive_field(one[None], FIELD)
    return found


# Fits


@pytest.mark.parametrize("place", [(0, 0), (1.7, 0.9), (-2.3, 1.1), (0.4, -3.2), (3.5, 3.5)])
def test_a_planted_gaussian_is_recovered(place):
    rng = np.random.default_rng(0)
    found = fitted(5 * bump(*place, 0.9, 0.5, 30) + 2 + 0.5 * rng.normal(size=(96, 96)))
    assert found.reason == ""
    assert found.x_deg == pytest.approx(place[0], abs=0.1)
    assert found.y_deg == pytest.approx(place[1], abs=0.1)
    assert found.sd_major_deg == pytest.approx(0.9, rel=0.1)
    assert found.sd_minor_deg == pytest.approx(0.5, rel=0.1)
    assert found.orientation_deg == pytest.approx(30, abs=5)
    assert found.elongation == pytest.approx(1.8, rel=0.15)


def test_axes_point_right_and_up():
    image = np.zeros((40, 40))
    image[4:9, 30:35] = 1  # top right
    found = fitted(image)
    assert found.x_deg > 2
    assert found.y_deg > 2
    assert found.x_deg == pytest.approx((32.5 - 20) * FIELD / 40, abs=1e-6)
    assert found.y_deg == pytest.approx((20 - 6.5) * FIELD / 40, abs=1e-6)


def test_sizes_without_noise_are_exact():
    found = fitted(3 * bump(0.3, -0.2, 1.2, 0.6, 120) - 7)
    a = np.radians(120)
    sd_x = np.hypot(1.2 * np.cos(a), 0.6 * np.sin(a))
    sd_y = np.hypot(1.2 * np.sin(a), 0.6 * np.cos(a))
    np.testing.assert_allclose([found.sd_x_deg, found.sd_y_deg], [sd_x, sd_y], rtol=1e-6)
    np.testing.assert_allclose([found.fwhm_x_deg, found.fwhm_y_deg], FWHM * np.array([sd_x, sd_y]), rtol=1e-6)
    assert found.orientation_deg == pytest.approx(120)
    assert found.within_2sd == pytest.approx(1 - np.exp(-2), abs=0.01)
    assert found.explained == pytest.approx(1)
    assert found.inside_image == pytest.approx(1, abs=0.005)
    profile = bump(0, 0, 1, 1)[48]
    assert (profile > 0.5).sum() * FIELD / 96 == pytest.approx(FWHM, abs=FIELD / 96)  # half maximum, counted


def test_a_field_cut_by_the_edge_says_so():
    assert fitted(bump(x=4)).inside_image == pytest.approx(0.5, abs=0.03)
    assert fitted(bump(x=4, y=4)).inside_image == pytest.approx(0.25, abs=0.03)


def test_a_wide_image_has_square_pixels():
    found = fitted(bump(1, -0.5, 0.7, 0.7, height=48))
    np.testing.assert_allclose(
        [found.x_deg, found.y_deg, found.sd_x_deg, found.sd_y_deg], [1, -0.5, 0.7, 0.7], rtol=1e-6
    )


def test_scale_and_background_of_a_map_do_not_matter():
    expected, found = fitted(bump(1, 1)), fitted(1e-7 * bump(1, 1) + 5e-7)
    assert found.x_deg == pytest.approx(expected.x_deg)
    assert found.sd_major_deg == pytest.approx(expected.sd_major_deg)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (np.full((20, 20), 3.0), "flat"),
        (np.zeros((20, 20)), "flat"),
        (np.full((20, 20), np.nan), "not finite"),
        (1 - bump(height=20, width=20), "no bump|explains"),
        (np.random.default_rng(1).normal(size=(60, 60)), "no bump|explains"),
    ],
)
def test_no_field_is_no_number_but_a_reason(one, reason):
    found = fitted(one)
    assert any(word in found.reason for word in reason.split("|")), found
    assert np.isnan([found.x_deg, found.sd_x_deg, found.elongation, found.fwhm_x_deg, found.inside_image]).all()


def test_one_bad_map_leaves_the_others():
    maps = np.stack([bump(1, 0), np.zeros((96, 96)), bump(-1, 0)])
    a, b, c = fit_receptive_field(maps, FIELD)
    assert (a.x_deg, c.x_deg) == (pytest.approx(1), pytest.approx(-1))
    assert b.reason


def test_a_single_pixel_is_found():
    image = np.zeros((32, 32))
    image[10, 20] = 1
    found = fitted(image)
    assert found.x_deg == pytest.approx(4.5 * FIELD / 32, abs=FIELD / 64)
    assert found.y_deg == pytest.approx(5.5 * FIELD / 32, abs=FIELD / 64)


# Gradients


class Looking(nn.Module):
    """Sites that weigh pixels, through a square."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)  # (U, C, H, W)
        self.site_ids = tuple(f"s_{u}" for u in range(len(weights)))
        self.eval()

    def forward(self, images):
        return torch.einsum("bchw,uchw->bu", images, self.weights) ** 2


def test_sites_look_where_their_weights_are():
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(3, 3, 16, 24)
    weights[0, :, 2, 20], weights[1, 1, 10, 3], weights[2, :, 5:9, 5:9] = 1.0, -2.0, 0.5
    images = torch.rand(10, 3, 16, 24, generator=generator)
    found = gradient_map(Looking(weights), images, batch_size=4)
    assert found.shape == (3, 16, 24)
    response = torch.einsum("bchw,uchw->bu", images, weights)
    expected = (2 * response.abs()).mean(0)[:, None, None] * weights.square().mean(1).sqrt()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient_map(Looking(weights), images, batch_size=100), found)


def test_the_chosen_sites_in_the_chosen_order():
    weights = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    encoder, images = Looking(weights), torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    every = gradient_map(encoder, images)
    torch.testing.assert_close(gradient_map(encoder, images, ["s_2", "s_0"]), every[[2, 0]])
    torch.testing.assert_close(gradient_map(encoder, images, [3]), every[[3]])
    with pytest.raises(ValueError, match=r"'v4_9'.*s_0, s_1"):
        gradient_map(encoder, images, ["v4_9"])
    with pytest.raises(ValueError, match="expected some of"):
        gradient_map(encoder, images, [4])


def test_a_field_moves_with_the_weights():
    weights = torch.zeros(2, 1, 40, 40)
    weights[0, 0, 10:15, 8:15] = 1
    weights[1] = weights[0].roll((12, 20), (1, 2))  # down and right
    images = torch.rand(4, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    a, b = fit_receptive_field(gradient_map(Looking(weights), images), FIELD)
    assert b.x_deg - a.x_deg == pytest.approx(20 * FIELD / 40, abs=1e-4)
    assert b.y_deg - a.y_deg == pytest.approx(-12 * FIELD / 40, abs=1e-4)
    assert b.sd_x_deg == pytest.approx(a.sd_x_deg, rel=1e-3)


def test_fitted_encoders_have_maps(pair, recording):
    images = to_images(recording.images[:5])
    ensemble = gradient_map(pair.encoder, images, pair.encoder.site_ids[:2])
    assert ensemble.shape == (2, 32, 32)
    assert (ensemble > 0).any(-1).any(-1).all()
    one = images[:1].clone().requires_grad_(True)
    (by_hand,) = torch.autograd.grad(pair.encoder.members[0](one)[0, 0], one)
    torch.testing.assert_close(
        gradient_map(pair.encoder.members[0], images[:1], [0])[0], by_hand[0].square().mean(0).sqrt()
    )


def test_wrong_images_or_encoders_are_named():
    encoder = Looking(torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match="uint8 pixels"):
        gradient_map(encoder, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no_grad"):
        gradient_map(torch.no_grad()(encoder), torch.zeros(2, 1, 4, 4))


# Layers


def stack(layers: list[tuple[int, int]], ones: bool = True, activation: bool = False) -> nn.Module:
    """Convolutions (kernel, stride), padded by half a kernel; a backbone of one layer."""
    parts: list[nn.Module] = []
    generator = torch.Generator().manual_seed(0)
    for kernel, stride in layers:
        convolution = nn.Conv2d(1 if not parts else 4, 4, kernel, stride, kernel // 2)
        weight = torch.ones_like(convolution.weight)
        convolution.weight.data = weight if ones else torch.randn(weight.shape, generator=generator)
        parts += [convolution, nn.ReLU()] if activation else [convolution]
    network = nn.Sequential(*parts).eval()

    class OneLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images):
            return {"last": self.network(images)}

    return OneLayer().eval()


def closed_form(layers: list[tuple[int, int]]) -> tuple[int, float, float, int]:
    """Extent, SD and centre of unit 0 of a stack of boxes, and its stride (Araujo, Norris & Sim 2019)."""
    extent, variance, centre, jump = 1, 0.0, 0.5, 1
    for kernel, stride in layers:
        extent += (kernel - 1) * jump
        variance += jump**2 * (kernel**2 - 1) / 12
        centre += jump * ((kernel - 1) / 2 - kernel // 2)
        jump *= stride
    return extent, float(np.sqrt(variance)), centre, jump


STACKS = [[(3, 1)], [(5, 2)], [(3, 1), (3, 1), (3, 1)], [(7, 2), (3, 1), (3, 2)], [(3, 2), (5, 2), (3, 2)]]


@pytest.mark.parametrize("layers", STACKS, ids=str)
def test_layer_field_equals_its_closed_form(layers):
    extent, sd, centre, jump = closed_form(layers)
    found = layer_receptive_field(stack(layers), "last", (1, 96, 128))
    assert found.support_px == (extent, extent)
    np.testing.assert_allclose(found.sd_px, sd, rtol=1e-5)
    np.testing.assert_allclose(found.stride_px, jump)
    np.testing.assert_allclose(
        found.offset_px, centre - jump / 2, atol=1e-4
    )  # the centre of the first cell is jump / 2
    assert found.rms_radius_px == pytest.approx(np.sqrt(2) * sd)
    assert not found.clipped


@pytest.mark.parametrize("layers", STACKS, ids=str)
def test_support_survives_signs_and_rectification(layers):
    found = layer_receptive_field(stack(layers, ones=False, activation=True), "last", (1, 96, 96), n_images=16)
    assert found.support_px == (closed_form(layers)[0],) * 2


def test_a_field_larger_than_the_image_is_clipped():
    assert layer_receptive_field(stack([(7, 1)] * 3), "last", (1, 12, 12)).clipped


class Tokens(nn.Module):
    def forward(self, images):
        return {"tokens": images.flatten(2).transpose(1, 2), "dead": 0 * images}


@pytest.mark.parametrize(("layer", "message"), [("tokens", "layer of tokens"), ("dead", "does not depend")])
def test_layers_without_a_map_or_a_gradient_are_named(layer, message):
    with pytest.raises(ValueError, match=message):
        layer_receptive_field(Tokens().eval(), layer, (1, 8, 8))


# Masks


def test_cells_cover_their_pixels_by_area():
    found = mask_map(np.array([[[1.0, -3.0, 2.0]]]), (1, 4))  # cells of 4 / 3 pixels
    np.testing.assert_allclose(found[0, 0], [1, (1 + 2 * 3) / 3, (2 * 3 + 2) / 3, 2])
    mask = np.random.default_rng(0).normal(size=(3, 5, 7))
    maps = mask_map(mask, (32, 48))
    np.testing.assert_allclose(maps.sum((1, 2)), np.abs(mask).sum((1, 2)) * 32 * 48 / 35)
    np.testing.assert_allclose(mask_map(mask, (10, 14)), np.abs(mask).repeat(2, 1).repeat(2, 2))


def test_blur_equals_a_gaussian_filter():
    mask = np.zeros((1, 8, 8))
    mask[0, 3, 4], mask[0, 5, 2] = 1, -2
    rf = LayerReceptiveField(
        support_px=(9, 9), sd_px=(3.0, 5.0), offset_px=(0.0, 0.0), stride_px=(8.0, 8.0), clipped=False
    )
    fine = gaussian_filter(mask_map(mask, 64 * 4)[0], (12, 20), mode="constant", truncate=8)
    expected = fine.reshape(64, 4, 64, 4).mean((1, 3))
    np.testing.assert_allclose(mask_map(mask, 64, rf)[0], expected, atol=4e-3)


def test_mask_cell_at_a_known_place():
    mask = np.zeros((1, 7, 7))
    mask[0, 1, 5] = 1  # second row from the top, to the right
    rf = LayerReceptiveField(
        support_px=(9, 9), sd_px=(6.0, 6.0), offset_px=(0.0, 0.0), stride_px=(16.0, 16.0), clipped=False
    )
    found = fit_receptive_field(mask_map(mask, 112, rf), FIELD)[0]
    assert found.x_deg == pytest.approx(2 * FIELD / 7, abs=1e-3)
    assert found.y_deg == pytest.approx(2 * FIELD / 7, abs=1e-3)
    pixels = FIELD / 112
    assert found.sd_x_deg == pytest.approx(np.sqrt(36 + 16**2 / 12) * pixels, rel=0.05)  # the cell's box and the blur


def test_a_shifted_layer_shifts_the_map():
    """The mask of a strided network, moved by the layer's offset, lies where the gradient of its unit lies."""
    layers = [(3, 2), (5, 2), (3, 2)]
    network = stack(layers)
    rf = layer_receptive_field(network, "last", (1, 96, 96))
    mask = np.zeros((1, 12, 12))
    mask[0, 3, 8] = 1

    class OneUnit(nn.Module):
        def forward(self, images):
            return network(images)["last"][:, :1, 3, 8]

    seen = gradient_map(OneUnit(), torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0)))
    a, b = (fit_receptive_field(maps, FIELD)[0] for maps in (seen, mask_map(mask, 96, rf)))
    assert a.x_deg == pytest.approx(b.x_deg, abs=0.02)
    assert a.y_deg == pytest.approx(b.y_deg, abs=0.02)


def test_wrong_masks_are_named():
    with pytest.raises(ValueError, match=r"Fix: mask\[None\]"):
        mask_map(np.ones((3, 3)), 10)
    with pytest.raises(ValueError, match=r"Fix: maps\[None\]"):
        fit_receptive_field(np.ones((9, 9)), FIELD)
    with pytest.raises(ValueError, match="positive degrees"):
        fit_receptive_field(np.ones((1, 9, 9)), 0)


# Overlap


def test_overlap_by_hand():
    maps = np.array([[[1.0, 1, 0, 0]], [[0, -1, 1, 0]], [[0, 0, 0, 5]], [[0, 0, 0, 0]]])
    found = overlap(maps)
    np.testing.assert_allclose(found[:3, :3], [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
    assert np.isnan(found[3]).all()
    with pytest.raises(ValueError, match="single one"):
        overlap(maps[0])


def test_overlap_of_gaussians_is_known():
    maps = np.stack([bump(0, 0, 0.6, 0.6), bump(0.9, 0, 0.6, 0.6)])
    assert overlap(maps)[0, 1] == pytest.approx(np.exp(-(0.9**2) / (4 * 0.6**2)), abs=1e-6)
    np.testing.assert_allclose(overlap(maps * np.array([3, 0.2])[:, None, None]), overlap(maps))
