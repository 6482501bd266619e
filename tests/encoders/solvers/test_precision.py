"""Ridge on float32 features: in float32 where the kernel's condition allows it, never at the cost of the fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from encoders.solvers import precision
from encoders.solvers.ridge import RidgeFit, ridge
from encoders.solvers.smoother import centre, centre_targets

N, P = 520, 700
FOLDS = torch.arange(N) % 5


def problem(seed: int = 0, *, decay: float = 0.0, n: int = N, p: int = P) -> tuple[Tensor, Tensor]:
    """Features (n, p) with a spectrum that falls as a power, and targets (n, 3), all float32."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator)
    if decay:
        x = x * torch.arange(1, p + 1) ** -decay
    y = x @ torch.randn(p, 3, generator=generator) / p**0.5 + 0.5 * torch.randn(n, 3, generator=generator) + 7
    return x, y


def both(x: Tensor, y: Tensor, **options: object) -> tuple[RidgeFit, RidgeFit]:
    """The fit to float32 features, and the float64 fit to the same numbers."""
    folds = torch.arange(len(x)) % 5
    return ridge(x, y, folds=folds, **options), ridge(x.double(), y, folds=folds, **options)


def chosen(x: Tensor, y: Tensor, alpha: float) -> torch.dtype:
    """The arithmetic that is chosen."""
    w = torch.ones(len(x), dtype=torch.float64)
    centred, _ = centre_targets(y.double(), w)
    return precision.smoother_of(x, w, None, y=centred, alpha=alpha)[1].values.dtype


def assert_as_good(found: RidgeFit, expected: RidgeFit, x: Tensor, y: Tensor) -> None:
    """The same penalties, R2 to 1e-3 and predictions to a thousandth of the residuals."""
    torch.testing.assert_close(found.cv_r2, expected.cv_r2, rtol=0, atol=1e-3)
    near = expected.cv_r2.topk(2, 0).values.diff(dim=0).abs()[0] > 1e-3 if len(expected.cv_r2) > 1 else slice(None)
    torch.testing.assert_close(found.alpha[near], expected.alpha[near], rtol=1e-12, atol=0)
    same = found.alpha == expected.alpha
    residual = (y - expected.left_out).std(0)
    assert bool((((found.left_out - expected.left_out).std(0) / residual)[same] < 1e-3).all())
    apart = (found.predict(x) - expected.predict(x)).abs().amax(0)
    assert bool((apart < 1e-3 * residual)[same].all())


@given(
    seed=st.integers(0, 99),
    decay=st.sampled_from([0.0, 0.2, 0.6, 1.5]),
    offset=st.sampled_from([0.0, 300.0]),
    scale=st.sampled_from([1e-9, 1.0, 1e6, 1e12]),
    weighted=st.booleans(),
)
@settings(max_examples=6, deadline=None)
def test_any_float32_features_give_the_fit_of_float64(seed, decay, offset, scale, weighted):
    x, y = problem(seed, decay=decay)
    x = (x + offset) * scale
    w = 0.5 + torch.rand(N, generator=torch.Generator().manual_seed(seed)) if weighted else None
    assert_as_good(*both(x, y, weights=w), x, y)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_well_conditioned_kernel_is_fitted_in_float32(offset):
    x, y = problem()
    x = x + offset
    assert chosen(x, y, 1.0) == torch.float32
    found, expected = both(x, y, alphas=[1.0, 100.0, 1e4])
    assert not torch.equal(found.cv_r2, expected.cv_r2)
    assert_as_good(found, expected, x, y)


def duplicates() -> tuple[Tensor, Tensor]:
    x, y = problem()
    return torch.cat([x[:260], x[:260]]), y


@pytest.mark.parametrize(
    ("features", "alpha"),
    [
        pytest.param(duplicates(), 1e-3, id="each image twice"),
        pytest.param(problem(decay=1.0), 1e-3, id="a steep spectrum"),
        pytest.param(problem(n=540, p=530), 1.0, id="more images than features"),
        pytest.param(problem(n=500, p=700), 1.0, id="few images"),
        pytest.param((problem()[0] * 1e13, problem()[1]), 1.0, id="a kernel beyond the range of float32"),
        pytest.param((problem()[0].double(), problem()[1]), 1.0, id="features of float64"),
    ],
)
def test_float64_where_float32_does_not_serve(features, alpha):
    x, y = features
    assert chosen(x, y, alpha) == torch.float64
    found, expected = both(x, y, alphas=[alpha, 100 * alpha])
    assert torch.equal(found.cv_r2, expected.cv_r2)
    assert torch.equal(found.coef, expected.coef)


def test_a_larger_penalty_lets_float32_serve_the_same_images():
    x, y = duplicates()
    assert chosen(x, y, 1e-3) == torch.float64
    assert chosen(x, y, 10.0) == torch.float32
    assert_as_good(*both(x, y, alphas=[10.0, 1e3]), x, y)


def test_one_image_that_the_first_look_misses_is_found():
    x, y = problem()
    x[3] *= 1e4  # not among every 8th
    assert chosen(x, y, 1e-3) == torch.float64
    x[3] *= 1e12
    assert chosen(x, y, 1e-3) == torch.float64
    assert_as_good(*both(x, y), x, y)


@given(smallest=st.floats(0, 1e6), ratio=st.floats(1, 1e9), alpha=st.floats(1e-9, 1e9))
def test_the_condition_counts_the_penalty(smallest, ratio, alpha):
    values = torch.tensor([smallest, smallest * ratio], dtype=torch.float64)
    condition = (float(values[1]) + alpha) / (smallest + alpha)
    if abs(condition / precision.CONDITION - 1) > 1e-9:
        assert precision.serves(values, alpha) == (condition < precision.CONDITION)


def test_centring_to_float32_loses_nothing_to_a_large_mean():
    x = problem()[0] + 5e4
    w = torch.ones(N, dtype=torch.float64)
    exact, single = centre(x, w).x, centre(x, w, dtype=torch.float32).x
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=2e-7, atol=2e-7)
