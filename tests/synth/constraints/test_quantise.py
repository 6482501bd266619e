"""Exact statistics in 8 bits: repair after rounding, what cannot be asked, and what is told where the targets are out of reach."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from synth import ConstraintError, exact_statistics
from synth.constraints import quantise as quantise
from tests.synth.helpers.checks import wide

WEIGHTS = {1: (1.0,), 3: (0.2126, 0.7152, 0.0722)}
BACKGROUND, LOWEST, HIGHEST = 0.4, 0.05, 0.9


def reference_error(levels: Tensor, table: Tensor, weights: Tensor, mean: float, rms: float, tolerance: float) -> float:
    luminance = torch.einsum("c,cp->p", weights, table[levels.long()])
    return float(((luminance.mean() - mean) / tolerance) ** 2 + ((luminance.std(correction=0) - rms) / tolerance) ** 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_round_of_moves_takes_the_best_first(channels: int) -> None:
    """All single moves of a small image, tried one by one: the round makes a prefix of the sorted list, and the best prefix."""
    g = torch.Generator().manual_seed(channels)
    table = torch.linspace(0, 1, 256, dtype=torch.float64) ** 2.2
    weights = torch.tensor(WEIGHTS[channels], dtype=torch.float64)
    wanted = 255 * torch.rand(channels, 12, generator=g, dtype=torch.float64)
    wanted[0, :2] = torch.tensor([0.3, 254.8])
    levels = wanted.round()
    luminance = weights @ table[levels.long()]
    mean, rms, tolerance = float(luminance.mean()) + 0.004, float(luminance.std(correction=0)) - 0.003, 0.002
    now = reference_error(levels, table, weights, mean, rms, tolerance)
    options = []
    for c, p, d in itertools.product(range(channels), range(12), (-1, 1)):
        moved = levels.clone()
        moved[c, p] += d
        if 0 <= moved[c, p] <= 255 and abs(moved[c, p] - wanted[c, p]) <= 1:
            gain = now - reference_error(moved, table, weights, mean, rms, tolerance)
            options.append((gain * (2 - float(abs(moved[c, p] - wanted[c, p]))), p, c, d))
    best = {p: max(o for o in options if o[1] == p) for p in {o[1] for o in options}}
    order = sorted((o for o in best.values() if o[0] > 0), reverse=True)
    prefixes, current = [], levels.clone()
    for _, p, c, d in order:
        current = current.clone()
        current[c, p] += d
        prefixes.append(current)
    errors = [reference_error(x, table, weights, mean, rms, tolerance) for x in prefixes]
    expected = prefixes[errors.index(min(errors))]
    found = quantise._best_moves(
        levels, wanted, luminance, table=table, weights=weights, mean=mean, rms=rms, tolerance=tolerance
    )
    assert len(order) > 1
    assert torch.equal(found, expected)
    assert quantise._best_moves(levels, levels, luminance, table=table, weights=weights, mean=float(luminance.mean()), rms=float(luminance.std(correction=0)), tolerance=tolerance) is None  # fmt: skip


def test_repair_meets_what_rounding_misses_and_stops_there() -> None:
    table = torch.linspace(0, 1, 256, dtype=torch.float64)
    exact = torch.full((1, 10, 10), 100.4, dtype=torch.float64)
    exact[0, :, :5] = (
        50.4  # rounds down by 0.4 everywhere; a tolerance of half a level is missed by nothing, of 0.1 by all
    )
    inside = torch.ones(10, 10, dtype=torch.bool)
    inside[0] = False
    exact[0, 0] = 33.3
    mean, rms = 75.4 / 255, 25 / 255
    found = quantise.repair(
        exact, table, torch.ones(1).double(), inside=inside, mean=mean, rms=rms, tolerance=0.1 / 255
    )
    seen = found[0, 1:].flatten()
    assert abs(float(seen.mean()) / 255 - mean) <= 0.1 / 255
    assert abs(float(seen.std(correction=0)) / 255 - rms) <= 0.1 / 255
    assert ((found - exact).abs() <= 1).all()
    assert (found[0, 0] == 33).all()  # outside: rounded, never moved
    left = found[0, 1:, :5].flatten() - 50
    assert 25 <= int(left.sum()) + int((found[0, 1:, 5:] - 100).sum()) <= 45
    columns = (found[0, 1:] != exact[0, 1:].round()).sum(0)
    assert int((columns > 0).sum()) >= 7  # scattered, not filled from one side
    kept = quantise.repair(exact, table, torch.ones(1).double(), inside=None, mean=mean, rms=rms, tolerance=0.5)
    assert torch.equal(kept, exact.round())  # near enough already: nothing moves


def test_error_is_in_tolerances() -> None:
    mean, square = wide(0.3), wide(0.3**2 + 0.04)
    assert float(quantise._error(mean, square, 0.28, rms=0.23, tolerance=0.01)) == pytest.approx(4 + 9)
    assert float(quantise._error(mean, wide(0.05), 0.3, rms=0.02, tolerance=0.01)) == pytest.approx(
        4
    )  # no negative variance


# --- arguments and texts -----------------------------------------------------------------------------------------------


def test_defaults_and_description(make_photo) -> None:
    assert exact_statistics((1, 8, 8)).describe() == {
        "name": "exact_statistics",
        "shape": [1, 8, 8],
        "mean": None,
        "rms": None,
        "background": 128 / 255,
        "aperture": None,
        "linear": True,
    }
    aperture = torch.zeros(8, 8)
    aperture[2:4] = 0.5
    described = exact_statistics(
        (3, 8, 8), mean=0.4, aperture=aperture, to_luminance=torch.square, to_pixel=torch.sqrt
    ).describe()
    assert described["aperture"] == {"mean": 0.125}
    assert described["linear"] is False
    assert ConstraintError("text").index == -1
    assert ConstraintError("text").reachable is None
    assert str(ConstraintError("text")) == "text"


def test_tolerance_is_half_a_level_of_the_range() -> None:
    assert exact_statistics((1, 8, 8)).tolerance == pytest.approx(0.5 / 255)
    dim = exact_statistics((1, 8, 8), to_luminance=lambda x: 10 + 80 * x, to_pixel=lambda x: (x - 10) / 80)
    assert dim.tolerance == pytest.approx(40 / 255)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"to_luminance": torch.square}, "^only one of to_luminance and to_pixel is given; expected both or none$"),
        ({"to_pixel": torch.sqrt}, "^only one of to_luminance and to_pixel is given; expected both or none$"),
        (
            {"aperture": torch.full((8, 8), 1.5)},
            r"^aperture of shape \(8, 8\) and range 1.5 to 1.5; expected \(8, 8\) in \[0, 1\]$",
        ),
        ({"aperture": torch.full((8, 8), -0.5)}, r"range -0.5 to -0.5; expected \(8, 8\) in \[0, 1\]$"),
        (
            {"aperture": torch.zeros(8, 8)},
            "^the aperture is 0 everywhere; expected some pixels that show the image$",
        ),
        (
            {"aperture": torch.ones(8, 8), "background": 0.5},
            "^background 0.5 is not one of 256 levels, so that 8-bit images cannot hold it exactly; use 128 / 255$",
        ),
        ({"background": 1.1}, r"^background 1.1; expected a pixel value in \[0, 1\]$"),
        ({"background": -0.1}, r"^background -0.1; expected a pixel value in \[0, 1\]$"),
        (
            {"mean": 1.2},
            r"^mean luminance 1.2 cannot be reached; this display and aperture allow 0.0000 to 1.0000$",
        ),
        ({"mean": -0.1}, "mean luminance -0.1 cannot be reached"),
        (
            {"rms": 0.51},
            r"^RMS contrast 0.51 cannot be reached; at mean luminance 0.5 no image exceeds 0.5000$",
        ),
        (
            {"mean": 0.2, "rms": 0.0},
            r"^RMS contrast 0 cannot be reached; at mean luminance 0.2 no image exceeds 0.4000, and 0 would be a blank image$",
        ),
    ],
)
def test_arguments_that_cannot_be(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        exact_statistics((1, 8, 8), **arguments)


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (1, 1, 8, 8)])
def test_shapes_that_cannot_be(shape) -> None:
    with pytest.raises(ValueError, match=r"^shape \(.*\); expected \(C, H, W\) with C = 1 \(grey\) or 3 \(RGB\)$"):
        exact_statistics(shape)


def test_limits_that_can_just_be_reached() -> None:
    for arguments in (
        {"background": 0.0},
        {"background": 1.0},
        {"mean": 0.0},
        {"mean": 1.0},
        {"rms": 0.5},
        {"mean": 0.2, "rms": 0.4},
        {"background": 100.0004 / 255, "aperture": torch.ones(8, 8)},
    ):
        exact_statistics((1, 8, 8), **arguments)
    half = torch.zeros(8, 8)
    half[:4] = 0.5  # shows images between 64 and 191.5 of 255
    low, high = 64 / 255, 64 / 255 + 0.5
    for mean in (low + 1e-9, high - 1e-9):
        exact_statistics((1, 8, 8), mean=mean, aperture=half)
    for mean in (low - 1e-6, high + 1e-6):
        with pytest.raises(ConstraintError, match=r"allow 0\.2510 to 0\.7510"):
            exact_statistics((1, 8, 8), mean=mean, aperture=half)


def test_reachable_contrast_is_given_with_the_refusal() -> None:
    with pytest.raises(ConstraintError) as caught:
        exact_statistics((1, 8, 8), mean=0.1, rms=0.4)
    assert caught.value.reachable == pytest.approx(0.3)
    with pytest.raises(ConstraintError) as caught:  # luminance from 10 to 90: the middle is 50, the limit 40
        exact_statistics((1, 8, 8), rms=41.0, to_luminance=lambda x: 10 + 80 * x, to_pixel=lambda x: (x - 10) / 80)
    assert caught.value.reachable == pytest.approx(40)


def test_images_of_another_shape_are_refused_everywhere(make_photo) -> None:
    constraint = exact_statistics((1, 8, 8), mean=0.4)
    for act in (constraint, constraint.statistics, constraint.quantise):
        with pytest.raises(ValueError, match=r"^images of shape \(1, 8, 8\); expected \(B, 1, 8, 8\)$"):
            act(torch.zeros(1, 8, 8))
        with pytest.raises(ValueError, match=r"^images of shape \(2, 1, 9, 8\)"):
            act(torch.zeros(2, 1, 9, 8))


def test_refusals_of_single_images_in_full(make_photo) -> None:
    constraint = exact_statistics((1, 8, 8), mean=0.4, rms=0.1)
    images = make_photo((2, 1, 8, 8))
    images[1, 0, 0, 0] = math.nan
    text = "^image 1 cannot be given mean luminance 0.4000 and RMS contrast 0.1: "
    with pytest.raises(
        ConstraintError, match=text + "it holds NaN or infinite pixels; expected finite values$"
    ) as caught:
        constraint(images)
    assert (caught.value.index, caught.value.reachable) == (1, None)
    images[1] = 0.5
    with pytest.raises(
        ConstraintError, match=text + "it is constant within the aperture; start from noise or from a photograph$"
    ):
        constraint(images)
    images[1] = (torch.arange(64) == 5).float().reshape(1, 8, 8)
    with pytest.raises(
        ConstraintError, match=text + r"the most it reaches is mean 0.4000 with RMS contrast 0.0756$"
    ) as caught:
        constraint(images)
    most = (1 - (0.4 - 1 / 64) / (63 / 64)) * math.sqrt(63) / 64
    assert caught.value.reachable == pytest.approx(most, abs=1e-6)


def test_violations_in_full(make_photo) -> None:
    aperture = torch.ones(8, 8)
    aperture[0] = 0
    constraint = exact_statistics((1, 8, 8), mean=0.4, rms=0.1, aperture=aperture)
    pixels = torch.full((2, 8, 8, 1), 128, dtype=torch.uint8)
    pixels[1, 0, 0] = 127
    measured = "mean 0.50196 instead of 0.40000 +- 0.00196; rms 0.00000 instead of 0.10000 +- 0.00196"
    outside = "; the pixels outside the aperture are not the background"
    assert constraint.violations(pixels) == [measured, measured + outside]
    with pytest.raises(ValueError, match=r"^images of type torch.float32; expected uint8 of shape \(B, H, W, C\)$"):
        constraint.violations(pixels.float())


def test_a_violation_begins_half_a_level_off() -> None:
    pixels = torch.full((1, 8, 8, 1), 100, dtype=torch.uint8)
    for off, broken in ((0.4999, False), (0.5, False), (0.5001, True), (-0.5, False), (-0.5001, True)):
        constraint = exact_statistics((1, 8, 8), mean=(100 + off) / 255)
        assert bool(constraint.violations(pixels)[0]) is broken


def test_eight_bits_refused_in_full() -> None:
    table = lambda x: x**2.2  # noqa: E731
    constraint = exact_statistics(
        (1, 8, 8), mean=(240.5 / 255) ** 2.2, rms=1e-4, to_luminance=table, to_pixel=lambda x: x ** (1 / 2.2)
    )
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[0] = images[0].round()
    with pytest.raises(
        ConstraintError,
        match=r"^image 0 cannot meet mean 0.8791\d* and RMS contrast 0.0001 in 8 bits: rms 0.00\d+ instead of 0.00010 \+- 0.00196. "
        r"The nearest RMS found is 0.00\d+; 256 levels are too coarse there: raise the contrast or move the mean$",
    ) as caught:
        constraint.quantise(constraint(images))
    assert caught.value.index == 0
    assert 0.00196 < caught.value.reachable < 0.0043


def test_beyond_the_range_luminance_goes_on_straight() -> None:
    constraint = exact_statistics(
        (1, 1, 4), to_luminance=lambda x: 2 + 3 * x**2, to_pixel=lambda y: ((y - 2) / 3).sqrt()
    )
    images = wide([-0.5, 0.5, 1.0, 1.5]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(constraint._decode(images).flatten(), wide([0.5, 2.75, 5.0, 6.5]))
    back = constraint._encode(constraint._decode(images), images).flatten()
    torch.testing.assert_close(back, wide([0, 0.5, 1, 1]))


def test_pixels_held_at_the_border_take_no_gradient_and_the_others_do() -> None:
    constraint = exact_statistics((1, 1, 4), to_luminance=torch.square, to_pixel=torch.sqrt)
    shown = wide([0.0, 1.0, 0.25, 1e-3]).reshape(1, 1, 1, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(constraint._encode(shown, shown).sum(), shown)
    torch.testing.assert_close(gradient.flatten(), wide([0, 0, 1.0, 0.5 / math.sqrt(1e-3)]))
    dim = exact_statistics((1, 1, 4), to_luminance=lambda x: 10 + 80 * x, to_pixel=lambda y: (y - 10) / 80)
    shown = wide([10 + 7e-6, 90 - 7e-6, 10 + 9e-6, 90 - 9e-6]).reshape(1, 1, 1, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(
        dim._encode(shown, shown).sum(), shown
    )  # the border is a ten millionth of the range
    torch.testing.assert_close(gradient.flatten(), wide([0, 0, 1 / 80, 1 / 80]))


@pytest.mark.parametrize("free", ["mean", "rms"])
def test_repair_keeps_the_image_s_own_statistic_where_none_is_asked(free: str) -> None:
    """Two bright levels under gamma 2.2 need dithering; what is not asked stays as it is before rounding."""
    asked = {"mean": 0.83, "rms": 0.02} | {free: None}
    constraint = exact_statistics(
        (1, 32, 32), **asked, to_luminance=lambda x: x**2.2, to_pixel=lambda x: x ** (1 / 2.2)
    )
    repaired = 0
    for share in range(5, 95, 10):
        bright = (torch.arange(1024).reshape(1, 1, 32, 32) % 100 < share).float()
        images = (0.83 + 0.02 * (bright - share / 100) / (bright.std() + 1e-9)) ** (1 / 2.2)
        shown = constraint(images)
        own = constraint.statistics(shown)[free].item()
        pixels = constraint.quantise(shown)
        found = constraint.statistics(pixels.permute(0, 3, 1, 2) / 255)[free].item()
        changed = bool((pixels.permute(0, 3, 1, 2) != (shown * 255).round()).any())
        repaired += changed
        assert not changed or abs(found - own) <= constraint.tolerance * (1 + 1e-6)
    assert repaired > 0


def test_rounding_to_the_nearest_level() -> None:
    images = torch.tensor([-0.1, 0.2 / 255, 0.6 / 255, 254.4 / 255, 1.2, 100 / 255]).reshape(1, 1, 2, 3)
    pixels = exact_statistics((1, 2, 3)).quantise(images)
    assert pixels.shape == (1, 2, 3, 1)
    assert pixels.is_contiguous()
    assert pixels.flatten().tolist() == [0, 0, 1, 254, 255, 100]
