"""Every rule of guidance against its published equation, written out for a nonlinear denoiser and objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synth.diffusion import methods
from synth.diffusion.methods import Step, rms, unit
from tests.synth.helpers.gaussian_prior import Gaussian

SIGMA = 0.7
ABAR = 1 / (1 + SIGMA**2)


class Curved(Gaussian):
    """A denoiser with curvature, so that the network's Jacobian is not the identity."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return 0.8 * torch.tanh(super().__call__(x, sigma)) + 0.1 * x.roll(1, -1)


def score(clean: Tensor) -> Tensor:
    """Minus a squared error, of two images of different steepness."""
    scale = torch.tensor([1.0, 30.0])[: len(clean)]
    return -scale * (clean - 0.3).square().sum((1, 2, 3)) - (clean**4).sum((1, 2, 3))


@pytest.fixture
def step() -> Step:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    return Step(Curved(), x, torch.full((2,), SIGMA, dtype=torch.float64), score=score)


def gradient(function, at: Tensor) -> Tensor:
    leaf = at.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def by_vp(step: Step, function) -> tuple[Tensor, Tensor]:
    """x_t = sqrt(abar) x, as in the papers, and the gradient there of `function` of x_t."""
    x_t = step.x * ABAR**0.5
    return x_t, gradient(function, x_t)


def denoised(step: Step, x_t: Tensor) -> Tensor:
    return step.prior(x_t / ABAR**0.5, step.sigma)


def test_guided_moves_by_the_posterior_sd_along_the_gradient_through_the_network(step: Step) -> None:
    edit = methods.guided().rule(step, 0.3)
    clean = step.prior(step.x, step.sigma)
    g = gradient(lambda x: score(step.prior(x, step.sigma)), step.x)
    tau = SIGMA * 0.5 / (SIGMA**2 + 0.25) ** 0.5
    torch.testing.assert_close(
        edit.clean, clean + 0.3 * tau * g / g.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)
    )
    torch.testing.assert_close(rms(edit.clean - clean).flatten(), torch.full((2,), 0.3 * tau).double())
    assert edit.shift is None


def test_guided_fast_takes_inner_steps_on_the_clean_estimate(step: Step) -> None:
    edit = methods.guided_fast(inner=3).rule(step, 0.3)
    clean = step.prior(step.x, step.sigma)
    tau = SIGMA * 0.5 / (SIGMA**2 + 0.25) ** 0.5
    for _ in range(3):
        clean = clean + 0.1 * tau * unit(gradient(score, clean))
    torch.testing.assert_close(edit.clean, clean)


def test_guided_fast_never_differentiates_the_network(step: Step) -> None:
    class Closed(Curved):
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().__call__(x, sigma)

    step.prior = Closed()
    methods.guided_fast().rule(step, 0.3)
    methods.classifier_guidance().rule(step, 0.3)


def test_egg_shifts_the_next_sample_by_the_unit_gradient_of_each_image(step: Step) -> None:
    """Pierzchlewicz et al. 2023: x_{t-1} = DDPM(x_t) - lambda g / ||g||_2 for an energy; ours is a score."""
    edit = methods.egg().rule(step, 10.0)
    _, g = by_vp(step, lambda x_t: score(denoised(step, x_t)))
    torch.testing.assert_close(edit.clean, step.prior(step.x, step.sigma))
    for i in range(2):
        torch.testing.assert_close(edit.shift[i], 10 * g[i] / g[i].norm())


def test_braindive_shifts_the_predicted_noise(step: Step) -> None:
    """Luo et al. 2023: eps' = eps - sqrt(1 - abar) gamma grad_{x_t} J(f D + (1 - f) x_t), f = sqrt(1 - abar)."""
    edit = methods.braindive().rule(step, 130.0)
    f = (1 - ABAR) ** 0.5
    x_t, g = by_vp(step, lambda x_t: score(f * denoised(step, x_t) + (1 - f) * x_t))
    eps = (x_t - ABAR**0.5 * denoised(step, x_t)) / (1 - ABAR) ** 0.5
    shifted = eps - (1 - ABAR) ** 0.5 * 130 * g
    torch.testing.assert_close(edit.clean, (x_t - (1 - ABAR) ** 0.5 * shifted) / ABAR**0.5)


def test_classifier_guidance_asks_of_the_noisy_image(step: Step) -> None:
    """Dhariwal & Nichol 2021, algorithm 2: eps' = eps - sqrt(1 - abar) s grad_{x_t} log p(y | x_t)."""
    edit = methods.classifier_guidance().rule(step, 2.0)
    x_t, g = by_vp(step, score)
    eps = (x_t - ABAR**0.5 * denoised(step, x_t)) / (1 - ABAR) ** 0.5
    shifted = eps - (1 - ABAR) ** 0.5 * 2.0 * g
    torch.testing.assert_close(edit.clean, (x_t - (1 - ABAR) ** 0.5 * shifted) / ABAR**0.5)


def test_dps_divides_by_the_residual(step: Step) -> None:
    """Chung et al. 2023, algorithm 1: x_{t-1} -= zeta / ||r|| grad_{x_t} ||r||^2."""
    edit = methods.dps().rule(step, 0.4)
    clean = step.prior(step.x, step.sigma)
    _, g = by_vp(step, lambda x_t: -score(denoised(step, x_t)))
    residual = (-score(clean)).sqrt().view(-1, 1, 1, 1)
    torch.testing.assert_close(edit.shift, -0.4 / residual * g)
    torch.testing.assert_close(edit.clean, clean)


def test_dps_refuses_what_is_no_squared_error(step: Step) -> None:
    step.score = lambda clean: clean.sum((1, 2, 3)) + 1000
    with pytest.raises(ValueError, match="dps needs minus a squared error"):
        methods.dps().rule(step, 0.4)


@pytest.mark.parametrize("inner", [0, 1, 4])
def test_universal_guidance_forward_and_backward(inner: int, step: Step) -> None:
    """Bansal et al. 2023: eq. 6 on the predicted noise, eqs 7 and 9: Delta by gradient descent on the clean estimate."""
    edit = methods.universal(inner, rate=0.01).rule(step, 1.5)
    x_t, g = by_vp(step, lambda x_t: score(denoised(step, x_t)))
    clean = denoised(step, x_t)
    eps = (x_t - ABAR**0.5 * clean) / (1 - ABAR) ** 0.5 - 1.5 * (1 - ABAR) ** 0.5 * g
    delta = torch.zeros_like(clean)
    for _ in range(inner):
        delta = delta + 0.01 * gradient(score, clean + delta)
    eps = eps - (ABAR / (1 - ABAR)) ** 0.5 * delta
    torch.testing.assert_close(edit.clean, (x_t - (1 - ABAR) ** 0.5 * eps) / ABAR**0.5)


@pytest.mark.parametrize("name", [n for n in methods.__all__ if n != "initial_noise"])
def test_rules_treat_each_image_by_itself(name: str, step: Step) -> None:
    rule = getattr(methods, name)().rule
    both = rule(step, 0.1)
    first = rule(Step(step.prior, step.x[:1], step.sigma[:1], score=score), 0.1)
    torch.testing.assert_close(first.clean[0], both.clean[0])
    if both.shift is not None:
        torch.testing.assert_close(first.shift[0], both.shift[0])


@pytest.mark.parametrize("name", [n for n in methods.__all__ if n not in ("initial_noise", "braindive", "dps")])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_the_score_does_not_underflow(name: str, scale: float, step: Step) -> None:
    """Normalised rules do not care; raw ones are proportional to it (dps to its root)."""
    rule = getattr(methods, name)().rule
    plain = rule(step, 0.1)
    step.score = lambda clean: scale * score(clean)
    scaled = rule(step, 0.1 if name in ("guided", "guided_fast", "egg") else 0.1 / scale)
    torch.testing.assert_close(scaled.clean, plain.clean)


def test_a_gradient_of_zero_moves_nothing_and_is_remembered(step: Step) -> None:
    step.score = lambda clean: clean.square().sum((1, 2, 3)) * torch.tensor([0.0, 1.0])
    edit = methods.guided().rule(step, 0.3)
    torch.testing.assert_close(edit.clean[0], step.prior(step.x, step.sigma)[0])
    assert step.moved.tolist() == [False, True]


def test_a_gradient_that_is_not_finite_is_told(step: Step) -> None:
    step.score = lambda clean: (clean * torch.tensor([1.0, torch.inf]).view(2, 1, 1, 1)).sum((1, 2, 3))
    with pytest.raises(ValueError, match="gradient at image 1 is not finite at noise level"):
        methods.guided().rule(step, 0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: methods.guided_fast(0), "inner is 0"),
        (lambda: methods.initial_noise(0), "iterations is 0"),
        (lambda: methods.initial_noise(range_penalty=0.0), "images saturate"),
        (lambda: methods.universal(-1), "inner -1"),
        (lambda: methods.universal(rate=0.0), "rate 0"),
    ],
)
def test_wrong_settings_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
