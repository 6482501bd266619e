from __future__ import annotations

import inspect

import pytest
import torch

from synth import affine, jitter, transforms

CASES = {
    "jitter": jitter(0.1),
    "jitter_px": jitter(max_px=3),
    "jitter_background": jitter(max_px=3, background=0.5),
    "affine": affine(scale=0.1, rotation_deg=10, translation=0.05),
    "affine_background": affine(scale=0.1, rotation_deg=10, translation=0.05, background=0.5),
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
    assert {t.describe()["name"] for t in CASES.values()} == set(transforms.__all__)
