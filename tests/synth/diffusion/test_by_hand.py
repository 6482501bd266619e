"""Whole guided runs against plain numpy: linear denoiser, linear or quadratic score, every gradient written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synth import exact_statistics, guide, stretch
from synth.constraints import gamut
from synth.diffusion import methods
from synth.diffusion.sampling import Guidance, Travel, sample
from synth.diffusion.solvers import ddim, karras
from tests.synth.helpers.gaussian_prior import Gaussian, Linear

QUIET = settings(max_examples=40, deadline=None)
SHAPE = (1, 2, 3)
SD = 0.5


def numpy_run(method: str, strength: float, *, noise: np.ndarray, sigmas: list[float], goal: np.ndarray, scale: float) -> np.ndarray:  # fmt: skip
    """DDIM (Song, Meng & Ermon 2021, eq. 12, eta 0) with the denoiser D = a x, a = sd^2 / (sd^2 + sigma^2).

    The score is J(c) = -scale ||c - goal||^2, of gradient -2 scale (c - goal); papers write z = x / n, n^2 = 1 +
    sigma^2, abar = 1 / n^2.
    """
    x = sigmas[0] * noise
    for now, after in itertools.pairwise(sigmas):
        a, n = SD**2 / (SD**2 + now**2), math.sqrt(1 + now**2)
        clean = a * x
        slope = lambda c: -2 * scale * (c - goal)  # noqa: E731
        eps, shift = (x - clean) / now, np.zeros_like(x)
        through_z = n * a * slope(clean)  # grad_z J(D(x)), since x = n z
        if method == "guided":  # clean + s * posterior SD * g / rms(g)
            g = a * slope(clean)
            clean = clean + strength * now * SD / math.sqrt(now**2 + SD**2) * g / math.sqrt((g**2).mean())
        elif method == "guided_fast":
            g = slope(clean)
            clean = clean + strength * now * SD / math.sqrt(now**2 + SD**2) * g / math.sqrt((g**2).mean())
        elif method == "universal":  # Bansal et al. 2023, eq. 6: eps - s sqrt(1 - abar) grad
            eps = eps - strength * math.sqrt(1 - 1 / n**2) * through_z
        elif method == "classifier_guidance":  # Dhariwal & Nichol 2021, alg. 2: of the noisy z
            eps = eps - strength * math.sqrt(1 - 1 / n**2) * slope(x / n)
        elif method == "braindive":  # Luo et al. 2023: of f D + (1 - f) z
            f = math.sqrt(1 - 1 / n**2)
            eps = eps - strength * f * slope(f * clean + (1 - f) * x / n) * (f * a * n + (1 - f))
        elif method == "egg":  # Pierzchlewicz et al. 2023: the next z along the unit gradient
            shift = strength * through_z / np.linalg.norm(through_z)
        elif method == "dps":  # Chung et al. 2023, alg. 1: z -= zeta / ||r|| grad ||r||^2
            residual = math.sqrt(scale * ((a * x - goal) ** 2).sum())
            shift = strength / residual * through_z
        if method in ("universal", "classifier_guidance", "braindive"):
            clean = x - now * eps
        x = clean + after / now * (x - clean) + math.sqrt(1 + after**2) * shift
    return x


@QUIET
@given(method=st.sampled_from(["guided", "guided_fast", "universal", "classifier_guidance", "braindive", "egg", "dps"]), strength=st.floats(0.01, 1), steps=st.integers(1, 6), scale=st.floats(0.2, 2), seed=st.integers(0, 9999), low=st.floats(0.05, 0.3), high=st.floats(1, 10))  # fmt: skip
def test_a_guided_run_is_that_of_the_papers_in_numpy(method: str, strength: float, steps: int, scale: float, seed: int, low: float, high: float) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    noise, goal = rng.normal(size=SHAPE), rng.uniform(-1, 1, SHAPE)
    sigmas = [*((high ** (1 / 7) + i / max(steps - 1, 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(steps)), 0.0]  # fmt: skip

    class Prior(Gaussian):
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x * (SD**2 / (SD**2 + sigma.view(-1, 1, 1, 1) ** 2))

    prior: Any = Prior(SHAPE)
    prior.sigmas = (low, high)
    assert karras((low, high), steps, 7.0) == pytest.approx(sigmas)
    wanted = torch.from_numpy(goal)
    score = lambda clean: -scale * (clean - wanted).square().sum((1, 2, 3))  # noqa: E731
    made = getattr(methods, method)()
    guidance = Guidance(score, lambda step: made.rule(step, strength), Travel(), [])
    trajectory = ddim().begin(prior, steps, torch.device("cpu"), travels=False)
    with torch.no_grad():
        found = sample(prior, trajectory, torch.from_numpy(noise)[None], generators=[torch.Generator()], guidance=guidance)[0].numpy()  # fmt: skip
    expected = numpy_run(method, strength, noise=noise, sigmas=sigmas, goal=goal, scale=scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * max(1.0, float(np.abs(expected).max())))


@settings(QUIET, max_examples=10)
@given(chroma=st.floats(0.02, 0.3), strength=st.floats(0, 1), seed=st.integers(0, 99), method=st.sampled_from(["guided", "guided_fast", "initial_noise"]))  # fmt: skip
def test_guided_images_keep_the_chroma_limit_and_tell_what_is_black_or_white(chroma: float, strength: float, seed: int, method: str) -> None:  # fmt: skip
    """Worst chroma of any pixel by plain loops: at most one level of rounding above the limit."""
    from synth.priors import spectral

    shape = (3, 12, 12)
    encoder = Linear(shape)
    display = [exact_statistics(shape, mean=0.45, rms=0.15), gamut(chroma=chroma)]
    made = methods.initial_noise(2) if method == "initial_noise" else method
    batch = guide(encoder, stretch(encoder.site_ids[:1]), spectral(shape), method=made, strength=strength, steps=3, constraints=display, seeds=[seed])  # fmt: skip
    worst, ends = 0.0, 0
    for pixel in batch.images[0].reshape(-1, 3).tolist():
        grey = sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), pixel, strict=True)) / 255
        worst = max(worst, *(abs(v / 255 - grey) for v in pixel))
        ends += sum(v in (0, 255) for v in pixel)
    assert worst <= chroma + 1.5 / 255
    assert batch.black_or_white.tolist() == pytest.approx([ends / batch.images[0].size])
