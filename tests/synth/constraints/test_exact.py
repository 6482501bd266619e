"""Statistics that hold exactly together after rounding to 8 bits: mean, contrast and range, with and without aperture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from synth import ConstraintError, exact_statistics
from synth.constraints.exact import ExactStatistics

MEAN, RMS = 0.45, 0.18


def gamma(x: Tensor) -> Tensor:
    return x**2.2


def inverse_gamma(x: Tensor) -> Tensor:
    return x ** (1 / 2.2)


def srgb(x: Tensor) -> Tensor:
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def inverse_srgb(x: Tensor) -> Tensor:
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(1e-9) ** (1 / 2.4) - 0.055)


def circle(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (0.5 + 0.5 * torch.cos(math.pi * (((y**2 + x**2).sqrt() - 0.7) / 0.3).clamp(0, 1))).clamp(0, 1)


TRANSFERS = {
    "linear": {},
    "gamma": {"to_luminance": gamma, "to_pixel": inverse_gamma},
    "srgb": {"to_luminance": srgb, "to_pixel": inverse_srgb},
}


def build(channels: int, transfer: str, aperture: bool, mean: float | None = MEAN, rms: float | None = RMS, size=(20, 24)) -> ExactStatistics:  # fmt: skip
    mask = circle(*size) if aperture else None
    return exact_statistics((channels, *size), mean=mean, rms=rms, aperture=mask, background=110 / 255, **TRANSFERS[transfer])  # fmt: skip


@pytest.fixture(params=["linear", "gamma", "srgb"])
def transfer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[(1, False), (3, False), (1, True), (3, True)], ids=["grey", "rgb", "grey_circle", "rgb_circle"])
def constraint(request: pytest.FixtureRequest, transfer: str) -> ExactStatistics:
    return build(request.param[0], transfer, request.param[1], rms=0.16)


def holds(constraint: ExactStatistics, images: Tensor, tolerance: float = 2e-6) -> None:
    found = constraint.statistics(images)
    assert images.min() >= 0
    assert images.max() <= 1
    for name, target in (("mean", constraint.mean), ("rms", constraint.rms)):
        if target is not None:
            assert (found[name] - target).abs().max() < tolerance, (name, found[name])
    if constraint.aperture is not None:
        assert (images[:, :, constraint.aperture == 0] == images.new_tensor(constraint.background)).all()


def test_all_statistics_hold_together(constraint, make_photo) -> None:
    for scale in (0.05, 1.0, 30.0):  # far below, near and far above the contrast asked for
        holds(constraint, constraint(0.5 + scale * (make_photo((3, *constraint.shape)) - 0.5)))


def test_statistics_mean_what_they_say(make_photo) -> None:
    images = make_photo((2, 3, 20, 24))
    luminance = torch.einsum("bchw,c->bhw", srgb(images), torch.tensor([0.2126, 0.7152, 0.0722])).numpy()
    found = build(3, "srgb", False).statistics(images)
    assert np.allclose(found["mean"], luminance.mean((1, 2)), atol=1e-6)
    assert np.allclose(found["rms"], luminance.std((1, 2)), atol=1e-6)
    mask = circle(20, 24).numpy() > 0
    inside = build(3, "srgb", True).statistics(images)
    assert np.allclose(inside["rms"], luminance[:, mask].std(1), atol=1e-6)


def test_projecting_twice_changes_nothing(constraint, make_photo) -> None:
    once = constraint(make_photo((3, *constraint.shape)))
    assert (constraint(once) - once).abs().max() < 1e-5 or not constraint_is_projection(constraint)


def constraint_is_projection(constraint: ExactStatistics) -> bool:
    """With a soft aperture the shown image is no longer the image behind it."""
    return constraint.aperture is None or bool(((constraint.aperture == 0) | (constraint.aperture == 1)).all())


def test_batch_invariant(constraint, make_photo) -> None:
    images = 0.5 + 3 * (make_photo((5, *constraint.shape)) - 0.5)
    images[2] = 0.5 + 0.01 * (images[2] - 0.5)
    together = constraint(images)
    for i in range(5):
        assert (constraint(images[i : i + 1]) - together[i]).abs().max() < 1e-6


def test_gradient_is_exact(constraint, make_photo) -> None:
    """Finite differences of the whole projection, through the solved gain and offset."""
    images = (0.5 + 0.8 * (make_photo((2, *constraint.shape)).double() - 0.5)).requires_grad_()
    probe = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = lambda x: (constraint(x) * probe).sum() + (constraint(x) ** 2 * probe.flip(3)).sum()  # noqa: E731
    (gradient,) = torch.autograd.grad(value(images), images)
    with torch.no_grad():
        for seed in range(3):
            direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            numeric = (value(images + 1e-6 * direction) - value(images - 1e-6 * direction)) / 2e-6
            exact = (gradient * direction).sum()
            assert abs(numeric - exact) < 1e-4 * (1 + abs(exact)), (numeric, exact)


@pytest.mark.parametrize(("mean", "rms"), [(MEAN, RMS), (MEAN, None), (None, RMS), (None, None)])
@pytest.mark.parametrize("aperture", [False, True])
def test_gradcheck_of_every_combination(mean: float | None, rms: float | None, aperture: bool, make_photo) -> None:
    constraint = build(1, "linear", aperture, mean, rms, size=(5, 6))
    images = (0.1 + 0.8 * make_photo((2, 1, 5, 6)).double()).requires_grad_()
    assert torch.autograd.gradcheck(constraint, images, atol=1e-5, fast_mode=True)


def test_gradient_is_orthogonal_to_what_is_fixed(make_photo) -> None:
    """Moving an image along the gradient of its own projected mean or contrast does nothing: both are constant."""
    constraint = build(3, "linear", False)
    images = make_photo((2, 3, 20, 24)).requires_grad_()
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    luminance = torch.einsum("bchw,c->bhw", constraint(images), weights).flatten(1)
    for statistic in (luminance.mean(1), luminance.std(1)):
        (gradient,) = torch.autograd.grad(statistic.sum(), images, retain_graph=True)
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize(("mean", "rms"), [(MEAN, None), (None, RMS), (None, None)])
def test_what_is_not_asked_is_left(mean: float | None, rms: float | None, transfer: str, make_photo) -> None:
    constraint = build(3, transfer, False, mean, rms)
    images = make_photo((3, 3, 20, 24))
    own, found = constraint.statistics(images), constraint.statistics(constraint(images))
    holds(constraint, constraint(images))
    if mean is None:
        assert (found["mean"] - own["mean"]).abs().max() < 1e-5
    if mean is None and rms is None:
        assert (constraint(images) - images).abs().max() < 1e-5
    once = constraint(images)
    luminance = constraint.to_luminance  # pixels near black amplify the rounding of an inverse gamma
    assert (luminance(constraint(once)) - luminance(once)).abs().max() < 1e-5


def test_gamma_gradient_is_finite_at_black_and_white(make_photo) -> None:
    constraint = build(1, "gamma", False, mean=0.3, rms=0.3)
    images = (0.5 + 4 * (make_photo((2, 1, 20, 24)) - 0.5)).requires_grad_()
    shown = constraint(images)
    assert (shown == 0).any()
    (gradient,) = torch.autograd.grad(shown.square().sum(), images)
    assert torch.isfinite(gradient).all()


def test_a_pixel_out_of_range_can_come_back() -> None:
    """Beyond [0, 1] the transfer is continued in a straight line, so that a gradient remains."""
    constraint = build(1, "gamma", False, mean=0.4, rms=0.2)
    images = torch.linspace(-0.5, 1.5, 20 * 24).reshape(1, 1, 20, 24).requires_grad_()
    shown = constraint(images)
    assert 0 < shown.detach()[0, 0, 4, 0] < shown.detach()[0, 0, 6, 0] < 1
    (gradient,) = torch.autograd.grad(shown[0, 0, 4, 0], images)  # behind it the image is below 0
    assert images[0, 0, 4, 0] < 0
    assert gradient[0, 0, 4, 0] > 0


def test_unreachable_statistics_name_what_is_reachable(make_photo) -> None:
    with pytest.raises(ConstraintError, match=r"no image exceeds 0.4000") as caught:
        build(1, "linear", False, mean=0.2, rms=0.41)
    assert caught.value.reachable == pytest.approx(0.4)
    with pytest.raises(ConstraintError, match=r"this display and aperture allow 0.2\d+ to 0.7\d+"):
        exact_statistics((1, 8, 8), mean=0.9, aperture=torch.full((8, 8), 0.5), background=128 / 255)
    with pytest.raises(ConstraintError, match="0 would be a blank image"):
        build(1, "linear", False, rms=0.0)


def test_an_image_that_cannot_says_how_far_it_gets() -> None:
    """Few bright pixels: at mean 0.5 even black and white cannot reach the contrast; a bound holds for this image only."""
    images = torch.zeros(2, 3, 16, 16)
    images[:, 0] = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))  # red alone varies
    constraint = exact_statistics((3, 16, 16), mean=0.5, rms=0.3)
    with pytest.raises(ConstraintError, match=r"the most it reaches is mean 0.5000 with RMS contrast 0.0393") as caught:
        constraint(images)
    assert caught.value.index == 0
    holds(exact_statistics((3, 16, 16), mean=0.5, rms=0.9 * caught.value.reachable), exact_statistics((3, 16, 16), mean=0.5, rms=0.9 * caught.value.reachable)(images))  # fmt: skip


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ripple", [0.0, 1e-8])
def test_a_constant_image_is_refused(level: float, ripple: float, make_photo) -> None:
    images = make_photo((2, 1, 20, 24)).double()
    images[1] = level + ripple * images[0]
    with pytest.raises(ConstraintError, match=r"image 1 .* it is constant within the aperture") as caught:
        build(1, "linear", False)(images)
    assert (caught.value.index, caught.value.reachable) == (1, 0.0)


def test_nan_is_named(make_photo) -> None:
    images = make_photo((2, 1, 20, 24))
    images[0, 0, 3, 3] = math.nan
    with pytest.raises(ConstraintError, match=r"image 0 .* holds NaN"):
        build(1, "linear", False)(images)


def test_two_level_image_reaches_the_limit() -> None:
    """Half black, half white: the one image of mean 0.5 and contrast 0.5."""
    images = (torch.arange(64).reshape(1, 1, 8, 8) % 2).float() * 0.1
    constraint = exact_statistics((1, 8, 8), mean=0.5, rms=0.4999)
    holds(constraint, constraint(images))
    assert constraint.quantise(constraint(images)).unique().tolist() == [0, 255]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="only one of to_luminance"):
        exact_statistics((1, 8, 8), to_luminance=gamma)
    with pytest.raises(ValueError, match="expected \\(C, H, W\\)"):
        exact_statistics((4, 8, 8))
    with pytest.raises(ValueError, match="aperture of shape"):
        exact_statistics((1, 8, 8), aperture=torch.ones(4, 8))
    with pytest.raises(ValueError, match="0 everywhere"):
        exact_statistics((1, 8, 8), aperture=torch.zeros(8, 8))
    with pytest.raises(ValueError, match="use 128 / 255"):
        exact_statistics((1, 8, 8), aperture=torch.ones(8, 8), background=0.5)
    with pytest.raises(ValueError, match="expected a pixel value in"):
        exact_statistics((1, 8, 8), background=128)
    with pytest.raises(ValueError, match=r"expected \(B, 1, 8, 8\)"):
        exact_statistics((1, 8, 8), mean=0.5)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="expected uint8"):
        exact_statistics((1, 8, 8), mean=0.5).violations(torch.zeros(1, 8, 8, 1))


def test_eight_bits_hold_everything(constraint, make_photo) -> None:
    pixels = constraint.quantise(constraint(make_photo((4, *constraint.shape))))
    assert pixels.dtype == torch.uint8
    assert tuple(pixels.shape) == (4, constraint.shape[1], constraint.shape[2], constraint.shape[0])
    assert not any(constraint.violations(pixels))
    if constraint.aperture is not None:
        assert (pixels[:, constraint.aperture == 0] == 110).all()


def test_violations_are_told(make_photo) -> None:
    constraint = build(3, "linear", True)
    pixels = constraint.quantise(constraint(make_photo((3, 3, 20, 24))))
    pixels[1, 10, 5:15] = 255
    pixels[2, 0, 0, 0] = 0
    found = constraint.violations(pixels)
    assert found[0] == ""
    assert "mean" in found[1]
    assert "outside the aperture" in found[2]


@st.composite
def hard_images(draw: st.DrawFn) -> tuple[ExactStatistics, Tensor]:
    """Low contrast, two levels, gradients, noise; grey and RGB; linear and not; with and without an aperture."""
    channels, transfer = draw(st.sampled_from([1, 3])), draw(st.sampled_from(list(TRANSFERS)))
    mean = draw(st.floats(0.25, 0.7))
    # the brightest levels of a gamma of 2.2 lie 2.2 / 255 apart in luminance: below that no contrast can be promised
    rms = draw(st.floats(0.02, 0.12))
    shape = (channels, 24, 24)
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["noise", "two_levels", "gradient", "sparse", "smooth"]))
    x = torch.rand(1, *shape, generator=g)
    if kind == "two_levels":
        x = (x > draw(st.floats(0.15, 0.85))).float()
    elif kind == "gradient":
        x = torch.linspace(0, 1, 24).expand(1, *shape) + 0.001 * x
    elif kind == "sparse":
        x = (x > 0.9).float() * x
    elif kind == "smooth":
        x = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (3, 3, 3, 3), mode="circular"), 7, 1)
    aperture = circle(24, 24) if draw(st.booleans()) else None
    # an aperture whose background differs from the mean has a contrast of its own
    background = draw(st.integers(90, 160)) / 255 if aperture is None else None
    if background is None:
        to_pixel = TRANSFERS[transfer].get("to_pixel", lambda v: v)
        background = round(255 * float(to_pixel(torch.tensor([mean]))[0])) / 255
    return exact_statistics(
        shape, mean=mean, rms=rms, aperture=aperture, background=background, **TRANSFERS[transfer]
    ), x


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hard_images())
def test_quantised_images_always_meet_the_constraint_or_are_refused(case: tuple[ExactStatistics, Tensor]) -> None:
    constraint, images = case
    try:
        shown = constraint(images)
    except ConstraintError as error:  # a few bright pixels have a limit of their own
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.reachable < constraint.rms
        return
    holds(constraint, shown, 5e-6)
    assert not any(constraint.violations(constraint.quantise(shown)))


def test_repair_is_needed_deterministic_and_near() -> None:
    """Two bright levels under gamma 2.2: rounding both the same way misses the mean, dithering meets it."""
    constraint = exact_statistics((1, 32, 32), mean=0.83, rms=0.02, to_luminance=gamma, to_pixel=inverse_gamma)
    repaired = 0
    for share in np.linspace(0.1, 0.9, 17):
        images = (torch.arange(1024).reshape(1, 1, 32, 32) % 100 < 100 * share).float()
        shown = constraint(images)
        plain = (shown * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        pixels = constraint.quantise(shown)
        assert not any(constraint.violations(pixels))
        assert torch.equal(pixels, constraint.quantise(shown))
        assert (pixels.permute(0, 3, 1, 2) - 255 * shown).abs().max() <= 1 + 1e-4
        repaired += any(constraint.violations(plain))
    assert repaired > 3


def test_what_eight_bits_cannot_do_is_refused() -> None:
    """A contrast below the spacing of the levels at a mean between two of them."""
    level = (240.5 / 255) ** 2.2
    constraint = exact_statistics((1, 16, 16), mean=level, rms=1e-4, to_luminance=gamma, to_pixel=inverse_gamma)
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConstraintError, match=r"image 0 cannot meet .* in 8 bits") as caught:
        constraint.quantise(constraint(images))
    assert caught.value.reachable > 1e-3


def test_description_is_plain() -> None:
    import json

    assert json.loads(json.dumps(build(3, "gamma", True).describe()))["rms"] == RMS
