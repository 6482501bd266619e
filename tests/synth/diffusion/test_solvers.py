"""Samples of a Gaussian prior, guided by a linear objective: mean and SD are known in closed form for every solver."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from synth.diffusion import coarse_to_fine, ddim, scheduler
from synth.diffusion.methods import guided, guided_fast, universal
from synth.diffusion.schedulers import CLASSES, TRAVELLERS
from synth.diffusion.solvers import fitting_h0, karras, shares
from tests.synth.helpers.gaussian_prior import BlindGaussian, Gaussian, samples

PREDICTIONS = ("epsilon", "sample", "v_prediction")
REFUSED = {("euler_ancestral", "sample")}  # by diffusers
FRESH_NOISE = {"ddpm", "euler_ancestral", "ancestral"}
SECOND_ORDER = {"dpm", "unipc", "heun", "deis", "lms"}
PATTERN = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
PATTERN = PATTERN / PATTERN.square().mean().sqrt()
SOLVERS = {
    "own": ddim(),
    "ancestral": ddim(1.0),
    **{f"{n}-{p}": scheduler(n, prediction_type=p) for n in CLASSES for p in PREDICTIONS if (n, p) not in REFUSED},
}


@functools.cache
def plain_samples(name: str) -> torch.Tensor:
    return samples(SOLVERS[name])


def linear(clean: torch.Tensor) -> torch.Tensor:
    return (clean * PATTERN).sum((1, 2, 3))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_guided_mean_of_a_gaussian_is_that_of_the_tilted_one(name: str) -> None:
    """N(0, sd^2) x exp(s a . clean) = N(s sd^2 a, sd^2): guidance by the exact gradient shifts the samples, and no more."""
    kind = name.split("-")[0]
    plain = plain_samples(name)
    tilted = samples(SOLVERS[name], method=universal(), strength=0.8, score=linear)
    shift = tilted - plain
    assert float((shift * PATTERN).mean()) == pytest.approx(0.8 * 0.5**2, rel=0.025)
    assert float((shift - 0.2 * PATTERN).abs().max()) < 0.012
    # a first-order step lacks variance: of these, 50 steps leave 0.44 (with fresh noise) and 0.47
    assert float(plain.std()) == pytest.approx(0.5, abs=0.03 if kind in SECOND_ORDER else 0.08)


@pytest.mark.parametrize("name", [n for n in SOLVERS if "-" not in n or n.endswith("-epsilon")])
def test_strength_in_posterior_sds_shifts_by_its_closed_form(name: str) -> None:
    """Each step adds strength sigma sd / sqrt(sigma^2 + sd^2) to the clean estimate.

    Along dx / dsigma = (x - clean) / sigma, m = sqrt(sigma^2 + sd^2) k gives dk / dsigma = -strength sd / (sigma^2 + sd^2), and so the
    mean strength sd arctan(sigma_max / sd). With fresh noise dx / dsigma is doubled, and the mean 2 strength sd.
    """
    fresh = name.split("-")[0] in FRESH_NOISE
    for method in (guided(), guided_fast(2)):
        shift = samples(SOLVERS[name], method=method, strength=0.2, score=linear) - plain_samples(name)
        mean = float((shift * PATTERN).mean())
        if fresh:
            assert 0.5 * 0.2 * math.pi / 2 < mean < 2 * 0.2 * 0.5 * 1.001
        else:
            assert mean == pytest.approx(0.2 * 0.5 * math.atan(80 / 0.5), rel=0.04)


def test_ancestral_steps_approach_their_closed_form() -> None:
    means = []
    for steps in (25, 100, 400):
        shift = samples(ddim(1.0), method=guided(), strength=0.2, score=linear, steps=steps, seeds=range(2))
        plain = samples(ddim(1.0), steps=steps, seeds=range(2))
        means.append(float(((shift - plain) * PATTERN).mean()))
    errors = [abs(m - 0.2) for m in means]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.005


@pytest.mark.parametrize("name", [n for n in SOLVERS if "-" not in n or n.endswith("-epsilon")])
def test_samples_do_not_depend_on_their_batch(name: str) -> None:
    together = samples(SOLVERS[name], method=guided(), strength=0.3, score=linear, seeds=(3, 4, 5), steps=12)
    alone = samples(SOLVERS[name], method=guided(), strength=0.3, score=linear, seeds=(4,), steps=12)
    assert torch.allclose(alone[0], together[1], atol=1e-5)


@pytest.mark.parametrize("name", ["own", "ancestral", *(f"{n}-epsilon" for n in TRAVELLERS)])
def test_time_travel_keeps_the_distribution_and_strengthens_guidance(name: str) -> None:
    run = lambda strength, repeats: samples(SOLVERS[name], method=guided(), strength=strength, score=linear, steps=20, repeats=repeats)  # noqa: E731  # fmt: skip
    plain, once, travelled, twice = run(0.0, 1), run(0.2, 1), run(0.0, 2), run(0.2, 2)
    assert float(travelled.std()) == pytest.approx(float(plain.std()), abs=0.06)
    gains = [float(((a - b) * PATTERN).mean()) for a, b in ((once, plain), (twice, travelled))]
    assert gains[1] > gains[0] + 0.008


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(TRAVELLERS)))
def test_schedulers_that_keep_x_refuse_time_travel(name: str) -> None:
    with pytest.raises(ValueError, match="goes on from an x that it kept"):
        samples(scheduler(name), method=guided(), score=linear, repeats=2)


def test_what_diffusers_refuses_is_refused_with_a_sentence() -> None:
    with pytest.raises(
        ValueError, match="diffusers refuses EulerAncestralDiscreteScheduler with prediction_type 'sample'"
    ):
        samples(scheduler("euler_ancestral", prediction_type="sample"), steps=3, seeds=(0,))
    with pytest.raises(ValueError, match="diffusers refuses this UniPCMultistepScheduler: nonsense"):
        samples(scheduler("unipc", beta_schedule="nonsense"), steps=3, seeds=(0,))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("dpmm", {}, "did you mean 'dpm'"),
        ("ddim", {"predicton_type": "sample"}, "did you mean 'prediction_type'"),
        ("ddpm", {"clip_sample": True}, "clips undoes the guidance"),
        ("dpm", {"thresholding": True}, "clips undoes the guidance"),
        ("unipc", {"prediction_type": "flow_prediction"}, "flow matching"),
    ],
)
def test_wrong_schedulers_are_named(name: str, config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scheduler(name, **config)


def test_clipping_is_off_where_diffusers_has_it_on() -> None:
    """Its DDIM clips by default, and then guides the wrong way."""
    trajectory = scheduler("ddim").begin(Gaussian(), 5, torch.device("cpu"), travels=False)
    assert trajectory.scheduler.config.clip_sample is False


@pytest.mark.parametrize("name", ["dpm", "euler"])
def test_settings_of_a_scheduler_reach_it(name: str) -> None:
    trajectory = scheduler(name, use_karras_sigmas=True).begin(Gaussian(), 5, torch.device("cpu"), travels=False)
    assert trajectory.scheduler.config.use_karras_sigmas is True


def test_levels_are_those_of_karras() -> None:
    levels = karras((0.002, 80.0), 18, 7.0)
    assert levels[0] == pytest.approx(80)
    assert levels[-2:] == [pytest.approx(0.002), 0.0]
    assert levels[1] == pytest.approx(57.586, abs=1e-3)  # (80^(1/7) + (0.002^(1/7) - 80^(1/7)) / 17)^7
    assert levels == sorted(levels, reverse=True)


class TestCoarseToFine:
    """Kadkhodaie & Simoncelli 2021, algorithm 1."""

    def test_shares_are_the_papers(self) -> None:
        assert shares(0.01, 3) == [0.01, 0.02 / 1.01, 0.03 / 1.02]

    def test_h0_lands_on_the_smallest_level(self) -> None:
        h0 = fitting_h0(100.0, 40, 0.5)
        left = math.prod(1 - 0.5 * h for h in shares(h0, 40))
        assert left == pytest.approx(1 / 100, rel=1e-6)
        with pytest.raises(ValueError, match="lower the noise level at most"):
            fitting_h0(100.0, 3, 0.1)

    def test_the_noise_level_falls_as_planned(self) -> None:
        """A denoiser that knows the clean image takes away the noise alone, so the measured level is the true one."""

        class Known(Gaussian):
            blind = True
            shape, sigmas = (3, 32, 32), (0.02, 2.0)
            seen: list[torch.Tensor] = []  # noqa: RUF012

            def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
                self.seen.append(x.flatten(1).std(1))
                return torch.zeros_like(x)

        prior = Known((3, 32, 32))
        samples(coarse_to_fine(0.5, h0=0.2), prior=prior, steps=12, seeds=(0, 1))
        expected = 2 * torch.tensor([math.prod(1 - 0.5 * h for h in shares(0.2, t)) for t in range(12)])
        for k in range(2):
            assert torch.allclose(torch.stack(prior.seen)[:, k], expected, rtol=0.06)

    def test_samples_rise_with_strength_and_do_not_depend_on_their_batch(self) -> None:
        prior = BlindGaussian((3, 16, 16))
        score = lambda clean: clean[:, :, :8].mean((1, 2, 3)) - clean[:, :, 8:].mean((1, 2, 3))  # noqa: E731
        run = lambda strength, seeds: samples(coarse_to_fine(), prior=prior, method=guided(), strength=strength, score=score, seeds=seeds, steps=30)  # noqa: E731  # fmt: skip
        weak, strong = run(0.1, (3, 4)), run(0.3, (3, 4))
        assert (score(strong) > score(weak)).all()
        assert torch.allclose(run(0.3, (4,))[0], strong[1], atol=1e-5)

    def test_what_it_cannot_do_is_refused(self) -> None:
        with pytest.raises(ValueError, match="does not go back"):
            samples(coarse_to_fine(), prior=BlindGaussian(), method=guided(), score=linear, repeats=2)
        with pytest.raises(ValueError, match="Gaussian needs it as an input"):
            samples(coarse_to_fine())
        with pytest.raises(ValueError, match="expected 0 < beta <= 1"):
            coarse_to_fine(0.0)


def test_ddim_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="expected 0 <= eta <= 1"):
        ddim(1.5)
