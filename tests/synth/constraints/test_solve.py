"""The two ways to the gain and offset each on its own, their derivatives by finite differences, and single-level repair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from synth.constraints import solve as solving
from tests.synth.helpers.checks import wide

WEIGHTS = {1: (1.0,), 3: (0.2126, 0.7152, 0.0722)}
BACKGROUND, LOWEST, HIGHEST = 0.4, 0.05, 0.9


def problem_of(channels: int, aperture: Tensor | None, like: Tensor) -> solving.Problem:
    weights = torch.tensor(WEIGHTS[channels], dtype=torch.float64)
    return solving.Problem.make(weights, aperture, BACKGROUND, lowest=LOWEST, highest=HIGHEST, like=like)


def soft_aperture(height: int, width: int) -> Tensor:
    """A quarter fully seen, a quarter dim, the rest hidden or nearly so."""
    levels = torch.tensor([1.0, 0.6, 0.0, 0.1], dtype=torch.float64)
    return levels[torch.arange(height * width) % 4].reshape(height, width)


@pytest.fixture(params=[(1, False), (3, False), (3, True)], ids=["grey", "rgb", "rgb_aperture"])
def case(request: pytest.FixtureRequest, make_photo) -> tuple[solving.Problem, Tensor]:
    """A problem and the luminance (3, C, P) of three images within its aperture."""
    channels, with_aperture = request.param
    images = make_photo((3, channels, 12, 15)).double()
    problem = problem_of(channels, soft_aperture(12, 15) if with_aperture else None, images)
    return problem, problem.inside(images)


def by_hand(problem: solving.Problem, values: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and SD of luminance, written out."""
    clipped = (gain[:, None, None] * values + offset[:, None, None]).clamp(LOWEST, HIGHEST)
    weights = torch.tensor(WEIGHTS[values.shape[1]], dtype=torch.float64)
    luminance = torch.einsum("bcp,c->bp", clipped, weights)
    if problem.aperture is not None:
        luminance = BACKGROUND + problem.aperture * (luminance - BACKGROUND)
    return luminance.mean(1), luminance.std(1, correction=0)


def test_statistics_and_jacobian_of_gain_and_offset(case) -> None:
    problem, values = case
    gain, offset = wide([0.7, 1.0, 2.5]), wide([0.1, 0.0, -0.6])
    found = solving.Evaluator(problem, values)(gain, offset)
    torch.testing.assert_close(found.reached, torch.stack(by_hand(problem, values, gain, offset), 1))
    step = 1e-7
    for k, (dg, do) in enumerate(((step, 0.0), (0.0, step))):
        above = torch.stack(by_hand(problem, values, gain + dg, offset + do), 1)
        below = torch.stack(by_hand(problem, values, gain - dg, offset - do), 1)
        torch.testing.assert_close(found.jacobian[:, :, k], (above - below) / (2 * step), atol=1e-5, rtol=1e-5)


def test_shown_image_and_its_statistics(case) -> None:
    problem, values = case
    gain, offset = wide([1.5] * 3), wide([-0.2] * 3)
    shown = problem.shown(values, gain, offset)
    clipped = (1.5 * values - 0.2).clamp(LOWEST, HIGHEST)
    aperture = 1.0 if problem.aperture is None else problem.aperture
    torch.testing.assert_close(shown, BACKGROUND + aperture * (clipped - BACKGROUND))
    for found, expected in zip(problem.statistics(shown), by_hand(problem, values, gain, offset), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        problem.shown(values), BACKGROUND + aperture * (values.clamp(LOWEST, HIGHEST) - BACKGROUND)
    )


def test_the_aperture_picks_its_pixels() -> None:
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    aperture = soft_aperture(4, 6)
    problem = problem_of(3, aperture, images)
    torch.testing.assert_close(problem.inside(images), images.flatten(2)[:, :, aperture.flatten() > 0])
    whole = problem.shown(images.flatten(2), whole=True)
    assert whole.shape == (2, 3, 24)
    assert (whole[:, :, aperture.flatten() == 0] == BACKGROUND).all()
    narrow = problem.to(torch.zeros(1))
    for tensor in (narrow.weights, narrow.aperture, narrow.whole_aperture):
        assert tensor.dtype == torch.float32
    assert (narrow.background, narrow.lowest, narrow.highest) == (BACKGROUND, LOWEST, HIGHEST)
    assert narrow.index is problem.index


def test_luminance_of_a_constant_image_has_no_spread() -> None:
    problem = problem_of(1, None, torch.zeros(1).double())
    mean, sd = problem.statistics(torch.full((1, 1, 9), 0.3).double())
    assert mean.item() == pytest.approx(0.3)
    assert sd.item() == pytest.approx(0.0, abs=1e-14)
    assert math.isfinite(solving.Evaluator(problem, torch.full((1, 1, 9), 0.3).double())(torch.ones(1).double(), torch.zeros(1).double()).jacobian.sum())  # fmt: skip


@pytest.mark.parametrize(("pixels", "stride"), [(10, 1), (2999, 1), (3000, 3), (4500, 3), (6000, 5), (7500, 5)])
def test_the_first_guess_reads_every_odd_so_many_pixels(pixels: int, stride: int) -> None:
    aperture = torch.linspace(0.5, 1, pixels)[None]
    values = torch.arange(2.0 * pixels).reshape(2, 1, pixels)
    for mask in (None, aperture):
        problem = problem_of(1, mask, values)
        sparse, some = problem.sparse(values)
        assert some.dtype == torch.float64
        assert torch.equal(some, values[:, :, ::stride].double())
        assert (sparse.background, sparse.lowest, sparse.highest) == (BACKGROUND, LOWEST, HIGHEST)
        assert torch.equal(sparse.weights, problem.weights)
        assert sparse.aperture is None if mask is None else torch.equal(sparse.aperture, problem.aperture[::stride])


TARGETS = [(0.45, 0.1), (0.5, 0.2), (0.4, None)]


def newton_alone(*_: object) -> tuple[Tensor, Tensor]:
    raise AssertionError("Newton's iteration did not converge")


@pytest.mark.parametrize(("mean", "rms"), TARGETS)
@pytest.mark.parametrize("scale", [0.02, 1.0, 8.0])
def test_newton_alone_solves_ordinary_images(case, mean, rms, scale, monkeypatch) -> None:
    problem, values = case
    if problem.aperture is not None:
        mean, rms = 0.42, rms and 0.08  # as much as the dim quarter allows
    if rms is None:
        scale = min(scale, 1.0)
    values = 0.5 + scale * (values - 0.5)
    monkeypatch.setattr(solving, "_search", newton_alone)
    wanted = wide([mean] * 3)
    solution = solving.solve(problem, values, wanted, rms=rms, tolerance=1e-8)
    assert solution.found.all()
    found_mean, found_rms = by_hand(problem, values, solution.gain, solution.offset)
    torch.testing.assert_close(found_mean, wanted, atol=1e-11, rtol=0)
    if rms is None:
        assert (solution.gain == 1).all()
    else:
        torch.testing.assert_close(found_rms, torch.full_like(found_rms, rms), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("mean", "rms"), [(0.45, 0.1), (0.4, None)])
@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_the_search_finds_what_newton_finds(case, mean, rms, scale) -> None:
    problem, values = case
    if problem.aperture is not None:
        mean, rms = 0.42, rms and 0.08
    values = 0.5 + scale * (values - 0.5)
    wanted = wide([mean] * 3)
    expected = solving.solve(problem, values, wanted, rms=rms, tolerance=1e-8)
    for i in range(3):
        gain, offset = solving._search(problem, values[i : i + 1], wanted[i : i + 1], rms=rms)
        found_mean, found_rms = by_hand(problem, values[i : i + 1], gain, offset)
        assert found_mean.item() == pytest.approx(mean, abs=1e-9)
        assert gain.item() == pytest.approx(expected.gain[i].item(), rel=1e-6)
        assert offset.item() == pytest.approx(expected.offset[i].item(), abs=1e-6 * gain.item())
        if rms is not None:
            assert rms - 1e-12 <= found_rms.item() <= rms + 1e-6


def test_solve_falls_back_on_the_search_image_by_image(case, monkeypatch) -> None:
    """With Newton stopped before its first step is checked, the search gives every image its statistics, and a true inverse."""
    problem, values = case
    mean, rms = (0.42, 0.08) if problem.aperture is not None else (0.45, 0.1)
    wanted = wide([mean] * 3)
    expected = solving.solve(problem, values, wanted, rms=rms, tolerance=1e-8)
    monkeypatch.setattr(solving, "NEWTON_STEPS", 1)
    found = solving.solve(problem, values, wanted, rms=rms, tolerance=1e-8)
    assert found.found.all()
    torch.testing.assert_close(found.gain, expected.gain, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.reached, torch.stack(by_hand(problem, values, found.gain, found.offset), 1))
    torch.testing.assert_close(found.inverse, expected.inverse, rtol=1e-4, atol=1e-5)


def test_what_no_gain_reaches_is_not_found_and_told_by_how_much() -> None:
    values = (torch.arange(100.0).double() == 7).double()[None, None]  # one bright pixel of a hundred
    problem = solving.Problem.make(torch.ones(1).double(), None, 0.5, lowest=0.0, highest=1.0, like=values)
    found = solving.solve(problem, torch.cat([values, values]), wide([0.5, 0.01]), rms=0.09, tolerance=1e-8)
    assert found.found.tolist() == [False, True]
    # at mean 0.5 the 99 lie at a and the one at 1, 0.99 a + 0.01 = 0.5: SD = (1 - a) sqrt(0.01 * 0.99)
    most = (1 - 0.49 / 0.99) * math.sqrt(0.0099)
    torch.testing.assert_close(found.reached[0], wide([0.5, most]), atol=1e-8, rtol=0)
    torch.testing.assert_close(found.reached[1], wide([0.01, 0.09]), atol=1e-8, rtol=0)


def test_an_image_that_is_not_finite_is_not_searched(make_photo, monkeypatch) -> None:
    values = make_photo((2, 1, 8, 8)).double().flatten(2)
    values[1, 0, 3] = math.inf
    problem = problem_of(1, None, values)
    monkeypatch.setattr(solving, "_search", newton_alone)
    assert solving.solve(problem, values, wide([0.45] * 2), rms=0.1, tolerance=1e-8).found.tolist() == [True, False]


@pytest.mark.parametrize("gain", [0.01, 1.0, 40.0])
def test_offsets_keep_the_mean_at_any_gain(case, gain) -> None:
    problem, values = case
    unit = values[:1] - values[:1].mean()
    gains = gain * wide([0.5, 1.0, 2.0])
    mean = wide([0.42])
    offsets = solving._offsets(problem, unit, gains, mean=mean)
    found, _ = by_hand(problem, unit.expand(3, -1, -1), gains, offsets)
    torch.testing.assert_close(found, mean.expand(3), atol=1.1e-10, rtol=0)


def test_inverse_jacobian() -> None:
    g = torch.Generator().manual_seed(0)
    jacobian = torch.randn(5, 2, 2, generator=g).double()
    torch.testing.assert_close(solving._invert(jacobian, 0.1), torch.linalg.inv(jacobian))
    tiny = jacobian * wide([1e-9, 1.0])  # a large gain has a small derivative, and is sound
    torch.testing.assert_close(solving._invert(tiny, 0.1), torch.linalg.inv(tiny))
    singular = wide([[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[2.0, 1.0], [1.0, 3.0]]])
    found = solving._invert(singular, 0.1)
    assert (found[:2] == 0).all()
    torch.testing.assert_close(found[2], torch.linalg.inv(singular[2]))
    free = solving._invert(singular, None)  # the contrast is free: only the offset answers, to the mean
    torch.testing.assert_close(free, wide([[[0, 0], [0.5, 0]], [[0, 0], [0, 0]], [[0, 0], [1, 0]]]))


def test_first_guess_is_the_image_itself_or_right_but_for_the_clipping(case) -> None:
    problem, values = case
    values = 0.45 + 0.1 * (values - 0.45)  # nothing is clipped, before or after
    mean, sd = by_hand(problem, values, torch.ones(3).double(), torch.zeros(3).double())
    evaluator = solving.Evaluator(problem, values)
    if problem.aperture is None:
        wanted = mean + 0.02
        gain, offset = solving._first_guess(evaluator, wanted, 0.03)
        found = by_hand(problem, values, gain, offset)
        torch.testing.assert_close(found[0], wanted)
        torch.testing.assert_close(found[1], wide([0.03] * 3))
        gain, offset = solving._first_guess(evaluator, wanted, None)
        torch.testing.assert_close(offset, wide([0.02] * 3))
        gain, _ = solving._first_guess(evaluator, mean, float(sd[1]))
        torch.testing.assert_close(gain, sd[1] / sd)


def test_first_guess_is_the_image_itself_where_only_clipping_explains_its_statistics(case) -> None:
    problem, values = case
    values = 0.5 + 4 * (values - 0.5)
    mean, sd = by_hand(problem, values, wide([1.0] * 3), wide([0.0] * 3))
    gain, offset = solving._first_guess(solving.Evaluator(problem, values), mean, None)
    assert (gain.tolist(), offset.tolist()) == ([1, 1, 1], [0, 0, 0])
    gain, offset = solving._first_guess(solving.Evaluator(problem, values), mean, float(sd[1]))
    assert (gain[1].item(), offset[1].item()) == (1, 0)


def test_first_guess_allows_for_a_uniform_aperture(make_photo) -> None:
    images = 0.45 + 0.1 * (make_photo((2, 1, 8, 8)).double() - 0.45)
    problem = problem_of(1, torch.full((8, 8), 0.5).double(), images)
    values = problem.inside(images)
    wanted = wide([0.43, 0.41])
    gain, offset = solving._first_guess(solving.Evaluator(problem, values), wanted, 0.02)
    found = by_hand(problem, values, gain, offset)
    torch.testing.assert_close(found[0], wanted)
    torch.testing.assert_close(found[1], wide([0.02] * 2))


def test_bounded_steps_hold_the_middle_of_the_range() -> None:
    problem = problem_of(1, None, torch.zeros(1).double())
    middle = (LOWEST + HIGHEST) / 2
    gain, offset = wide([1.0, 2.0]), wide([0.1, -0.3])
    factor = wide([3.0, 1 / 3])
    held = solving._hold_middle(problem, offset, factor)
    pixel = (middle - offset) / gain  # shown at the middle of the range
    torch.testing.assert_close(factor * gain * pixel + held, wide([middle] * 2))


# --- single levels -----------------------------------------------------------------------------------------------------
