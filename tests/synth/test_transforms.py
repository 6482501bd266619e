from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from synth import affine, ascend, blur, colour, elastic, erase, fourier, jitter, noise, stretch, transforms
from synth.recipes.bashivan2019 import QuadraticVariation
from synth.transforms import CATALOGUE, transformed

CASES = {
    **CATALOGUE,
    "jitter_px": jitter(max_px=3),
    "jitter_background": jitter(max_px=3, background=0.5),
    "affine_unsheared": affine(scale=0.1, rotation_deg=10, translation=0.05),
    "affine_background": affine(scale=0.1, rotation_deg=10, translation=0.05, background=0.5),
    "elastic_background": elastic(background=0.5),
    "erase_background": erase(background=0.5),
}


@pytest.mark.parametrize("name", transforms.__all__)
def test_zero_range_is_the_identity(name: str, make_generators, make_photo) -> None:
    factory = getattr(transforms, name)
    numbers = [p for p in inspect.signature(factory).parameters.values() if p.default is not None]
    images, generators = make_photo((2, 3, 20, 24)), make_generators(2)
    before = [g.get_state() for g in generators]
    changed = factory(**{p.name: 0.0 for p in numbers})(images, generators)
    assert torch.equal(changed, images)
    assert all(torch.equal(a, g.get_state()) for a, g in zip(before, generators, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_draws_belong_to_the_image(name: str, make_generators, make_photo) -> None:
    images = make_photo((1, 3, 24, 24)).repeat(4, 1, 1, 1)
    together = CASES[name](images, make_generators(4))
    assert together.shape == images.shape
    assert len({t.numpy().tobytes() for t in together}) > 1, "all images of the batch share one draw"
    for i in range(4):
        assert torch.allclose(
            CASES[name](images[i : i + 1], make_generators(4)[i : i + 1]), together[i : i + 1], atol=1e-6
        )
    assert not torch.equal(CASES[name](images, make_generators(4, seed=1)), together)


@pytest.mark.parametrize("name", CASES)
def test_gradient_passes_and_dtype_follows(name: str, make_generators, make_photo) -> None:
    images = make_photo((2, 1, 16, 20)).double().requires_grad_()
    changed = CASES[name](images, make_generators(2))
    assert changed.dtype == torch.float64
    (gradient,) = torch.autograd.grad(changed.sum(), images)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", CASES)
def test_one_generator_an_image(name: str, make_generators, make_photo) -> None:
    with pytest.raises(ValueError, match="1 generators for 2 images"):
        CASES[name](make_photo((2, 1, 16, 16)), make_generators(1))


def test_jitter_shifts_both_axes_both_ways(make_generators) -> None:
    images = torch.zeros(200, 1, 15, 15)
    images[:, :, 7, 7] = 1
    places = jitter(max_px=2)(images, make_generators(200)).flatten(1).argmax(1)
    shifts = {(int(p) // 15 - 7, int(p) % 15 - 7) for p in places}
    assert shifts == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_fraction_is_of_the_width(make_generators) -> None:
    images = torch.zeros(100, 1, 20, 100)
    images[:, :, 10, 50] = 1
    columns = jitter(0.07)(images, make_generators(100)).amax((1, 2)).argmax(1) - 50
    assert columns.abs().max() == 7


def test_background_comes_in_at_the_border(make_generators) -> None:
    images = torch.zeros(20, 1, 12, 12)
    assert set(jitter(max_px=3, background=0.5)(images, make_generators(20)).unique().tolist()) == {0.0, 0.5}
    assert jitter(max_px=3)(images, make_generators(20)).abs().max() == 0
    small = affine(scale=0.5, background=0.25)(torch.full((20, 1, 12, 12), 0.25), make_generators(20))
    assert torch.allclose(small, torch.full_like(small, 0.25))


def test_rotation_is_rigid_in_a_wide_image(make_generators) -> None:
    """A disc stays a disc under rotation and translation, whatever the aspect of the image."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = torch.sigmoid(8 - ((y - 19.5) ** 2 + (x - 39.5) ** 2).sqrt())[None, None].repeat(10, 1, 1, 1)
    turned = affine(rotation_deg=90, background=0.0)(disc, make_generators(10))
    assert (turned - disc).abs().max() < 0.06


def test_refused_ranges(make_generators) -> None:
    with pytest.raises(ValueError, match=r"jitter of fraction 1\.5"):
        jitter(1.5)
    with pytest.raises(ValueError, match="not below 0"):
        affine(scale=-1)
    with pytest.raises(ValueError, match="less than their size"):
        jitter(max_px=16)(torch.zeros(1, 1, 16, 16), make_generators(1))


def test_descriptions_are_plain() -> None:
    assert sorted(CATALOGUE) == sorted(transforms.__all__)
    for name, transform in CATALOGUE.items():
        described = json.loads(json.dumps(transform.describe()))
        assert described.pop("name") == name
        assert getattr(transforms, name)(**described) == transform


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_objective_rises_under_each(name: str, channels: int, make_encoder) -> None:
    encoder = make_encoder(channels=channels)
    batch = ascend(
        encoder, stretch(encoder.site_ids[:2]), fourier((channels, 24, 24)), transforms=[CATALOGUE[name]], steps=8
    )
    assert (batch.trace[:, -1] > batch.trace[:, 0]).all(), batch.trace


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_the_same_draws_on_another_device(name: str, make_generators, make_photo) -> None:
    images = make_photo((3, 3, 24, 24))
    there = CASES[name](images.cuda(), make_generators(3))
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), CASES[name](images, make_generators(3)), atol=1e-4)


def test_shear_moves_rows_by_their_distance_from_the_centre(make_generators) -> None:
    """Of a vertical line the slope is the tangent of the drawn angle, in an image that is not square too."""
    images = torch.zeros(40, 1, 31, 61)
    images[:, :, :, 30] = 1
    images = ndimage.gaussian_filter1d(images.numpy(), 1.5, axis=3)
    sheared = affine(shear_deg=30, background=0.0)(torch.from_numpy(images), make_generators(40)).squeeze(1)
    places = (sheared * torch.arange(61)).sum(2) / sheared.sum(2)  # (B, H)
    rows = torch.arange(31.0) - 15
    slopes = ((places - 30) * rows).sum(1) / rows.square().sum()
    assert (places - 30 - slopes[:, None] * rows).abs().max() < 0.05
    drawn = torch.stack([torch.rand(5, generator=g) for g in make_generators(40)])[:, 4]
    assert torch.allclose(slopes, -torch.tan((2 * drawn - 1) * torch.pi / 6), atol=0.01)


def test_noise_has_the_sd_asked_for(make_generators, make_photo) -> None:
    images = make_photo((3, 3, 40, 40))
    added = noise(0.1)(images, make_generators(3)) - images
    assert added.std().item() == pytest.approx(0.1, rel=0.03)
    assert added.mean().abs() < 0.005


def test_blur_is_scipys(make_generators, make_photo) -> None:
    images = make_photo((4, 3, 24, 30))
    blurred = blur(2.0)(images, make_generators(4)).numpy()
    for image, got, generator in zip(images.numpy(), blurred, make_generators(4), strict=True):
        sd = 2.0 * float(torch.rand(1, generator=generator))
        wanted = ndimage.gaussian_filter(image, (0, sd, sd), mode="mirror", radius=(0, 6, 6))
        assert np.abs(got - wanted).max() < 1e-5


def deviations(images: Tensor) -> Tensor:
    return images - images.mean((1, 2, 3), keepdim=True)


def test_brightness_and_contrast_are_shift_and_scale(make_generators, make_photo) -> None:
    images = make_photo((30, 1, 12, 12))
    changed = colour(0.2, 0.5, 0.9)(images, make_generators(30))
    shifts = (changed - images).mean((1, 2, 3))
    scales = deviations(changed).flatten(1).norm(dim=1) / deviations(images).flatten(1).norm(dim=1)
    assert torch.allclose(deviations(changed), scales[:, None, None, None] * deviations(images), atol=1e-5)
    assert 0.15 < shifts.abs().max() <= 0.2
    assert 0.5 <= scales.min() < 0.65
    assert 1.35 < scales.max() <= 1.5


def test_saturation_keeps_luminance_and_hue_keeps_grey(make_generators, make_photo) -> None:
    images = make_photo((20, 3, 12, 12))
    luminance = lambda x: torch.einsum("c,bchw->bhw", torch.tensor([0.2126, 0.7152, 0.0722]), x)  # noqa: E731
    changed = colour(0, 0, 0.8)(images, make_generators(20))
    assert torch.allclose(luminance(changed), luminance(images), atol=1e-5)
    spread = lambda x: (x - luminance(x)[:, None]).flatten(1).norm(dim=1)  # noqa: E731
    ratio = spread(changed) / spread(images)
    assert 0.2 <= ratio.min() < 0.5
    assert 1.5 < ratio.max() <= 1.8
    turned = colour(0, 0, 0, hue_deg=120)(images, make_generators(20))
    assert torch.allclose(turned.mean(1), images.mean(1), atol=1e-5)
    assert torch.allclose(turned.norm(dim=1), images.norm(dim=1), atol=1e-4)
    grey = images.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    assert torch.allclose(colour(0, 0, 0.5, hue_deg=90)(grey, make_generators(20)), grey, atol=1e-5)


def test_hue_of_a_third_turn_swaps_the_primaries() -> None:
    turned = transforms._hue_rotation(torch.tensor([[2 * torch.pi / 3]]))[0] @ torch.eye(3)
    assert torch.allclose(turned, torch.eye(3).roll(1, 0), atol=1e-6)


def test_erased_area_and_its_colour(make_generators, make_photo) -> None:
    images = make_photo((300, 3, 40, 50))
    changed = erase(0.2, background=0.0)(images + 0.01, make_generators(300))
    share = (changed == 0).all(1).float().mean((1, 2))
    assert share.max() <= 0.21
    assert share.mean().item() == pytest.approx(0.1, abs=0.015)
    middle = (changed == 0).all(1).float().mean(0)
    assert middle[15:25, 20:30].min() > 0.03
    mean = erase(0.5)(images, make_generators(300))
    different = (mean != images).all(1)
    assert torch.allclose(
        mean.transpose(0, 1)[:, different].T, images.mean((2, 3)).repeat_interleave(different.sum((1, 2)), 0)
    )


def test_elastic_field_has_the_sd_asked_for(make_generators) -> None:
    """Ramps of slope one a pixel read the displacement off; away from the border, in both directions."""
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing="ij")
    ramps = torch.stack([x, y, x]).expand(60, 3, 60, 90)
    moved = (elastic(0.02, 0.05)(ramps, make_generators(60)) - ramps)[:, :, 18:-18, 18:-18]
    assert moved[:, 0].std().item() == pytest.approx(0.02 * 90, rel=0.1)
    assert moved[:, 1].std().item() == pytest.approx(0.02 * 90, rel=0.1)
    neighbours = torch.corrcoef(torch.stack([moved[:, 0, :, 1:].flatten(), moved[:, 0, :, :-1].flatten()]))[0, 1]
    assert neighbours > 0.95


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: affine(shear_deg=90), "shear below 90"),
        (lambda: noise(-0.1), "noise sd"),
        (lambda: blur(-1), "blur sd_px"),
        (lambda: colour(contrast=-1), "colour contrast"),
        (lambda: erase(1.0), "share of the image"),
        (lambda: elastic(0.1, 0.0), "0 < smoothness < 1"),
        (lambda: elastic(-0.1), "not below 0"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_a_blur_wider_than_the_image_is_refused(make_generators) -> None:
    with pytest.raises(ValueError, match="a third of their size"):
        blur(6)(torch.zeros(1, 1, 16, 16), make_generators(1))


def test_a_penalty_is_of_the_image_at_its_place(make_generators, make_photo) -> None:
    """The penalties of transforms add up; each is of the images that the transforms before it made."""
    images = make_photo((2, 3, 12, 12))
    variation, moved = QuadraticVariation(2.0), jitter(0.2)
    seen, penalties = transformed(images, [variation, moved, variation], make_generators(2))
    shifted = moved(images, make_generators(2))
    assert torch.equal(seen, shifted)
    assert torch.allclose(penalties, 2 * variation.of(images) + 2 * variation.of(shifted))
    assert transformed(images, [moved], make_generators(2))[1].eq(0).all()
