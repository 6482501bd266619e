from __future__ import annotations

import pytest
import torch

from encoders.solvers.posterior import RidgeStatistics, predictive_variance
from encoders.solvers.ridge import ridge


def normal(*shape, seed: int = 0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SHAPES = [(60, 12), (40, 90), (30, 30)]


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_variance_is_the_direct_inverse(n, p, weighted):
    x, new, alpha = normal(n, p) + 3, normal(7, p, seed=1) + 3, torch.tensor([0.01, 1.0, 50.0]).double()
    noise, w = (
        torch.tensor([1.0, 2.0, 0.5]).double(),
        torch.rand(n, generator=torch.Generator().manual_seed(2)).double() + 0.5,
    )
    used = w / w.mean() if weighted else torch.ones(n, dtype=torch.float64)
    found = predictive_variance(x, w if weighted else None, alpha, residual_variance=noise, features_new=new)
    one = torch.ones(max(n, 7), 1, dtype=torch.float64)
    design, points = torch.cat([x, one[:n]], 1), torch.cat([new, one[:7]], 1)
    for u in range(3):  # the intercept is a last, unpenalised column
        precision = design.T @ (used[:, None] * design) + alpha[u] * torch.diag((torch.arange(p + 1) < p).double())
        expected = noise[u] * (points @ torch.linalg.inv(precision) * points).sum(1)
        torch.testing.assert_close(found[:, u], expected, rtol=1e-8, atol=1e-10)


def test_variance_is_that_of_the_posterior_over_data_drawn_from_the_prior():
    n, p, draws, alpha, noise = 15, 25, 4000, 2.0, 0.5
    x, new = normal(n, p), normal(1, p, seed=1)
    weights = normal(p, draws, seed=2) * (noise / alpha) ** 0.5  # the prior that the penalty stands for
    y = x @ weights + normal(n, draws, seed=3) * noise**0.5
    fit = ridge(x, y, folds=torch.arange(n) % 3, alphas=[alpha])
    error = (fit.predict(new) - new @ weights).square().mean()
    variance = predictive_variance(
        x, None, torch.tensor([alpha]), residual_variance=torch.tensor([noise]), features_new=new
    )
    assert float(error) == pytest.approx(float(variance), rel=0.1)


def test_more_images_leave_less_variance_and_far_ones_have_more():
    x, new = normal(40, 90), normal(5, 90, seed=1)
    alpha, noise = torch.ones(1), torch.ones(1)
    some, more = (predictive_variance(x[:k], None, alpha, residual_variance=noise, features_new=new) for k in (20, 40))
    assert bool((more < some).all())
    assert bool((predictive_variance(x, None, alpha, residual_variance=noise, features_new=3 * new) > more).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"new": torch.ones(3, 5)}, r"\(3, 5\); expected \(M, 4\)"),
        ({"alpha": torch.zeros(2)}, "alpha > 0"),
        ({"alpha": torch.ones(3)}, r"\(3,\), residual variance \(2,\)"),
    ],
)
def test_bad_input_of_the_variance_is_named(arguments, message):
    given = {"alpha": torch.ones(2), "new": torch.ones(3, 4)} | arguments
    with pytest.raises(ValueError, match=message):
        predictive_variance(
            normal(10, 4), None, given["alpha"], residual_variance=torch.ones(2), features_new=given["new"]
        )


def pooled():
    x, w = normal(70, 12) * 2 + 1000, torch.rand(70, generator=torch.Generator().manual_seed(1)).double() + 0.5
    y = x @ normal(12, 3, seed=2) + normal(70, 3, seed=3) + 7
    return x, y, w


@pytest.mark.parametrize("sizes", [(70,), (40, 30), (1, 20, 49)])
def test_statistics_added_batch_by_batch_solve_as_the_pooled_fit(sizes):
    x, y, w = pooled()
    statistics = RidgeStatistics(12, 3)
    for part in zip(*(z.split(list(sizes)) for z in (x, y, w)), strict=True):
        statistics.add(*part)
    for alpha in (0.5, 20.0):
        fit = ridge(x, y, folds=torch.arange(70) % 5, alphas=[alpha], weights=w)
        coef, intercept = statistics.solve(alpha)
        torch.testing.assert_close(coef, fit.coef, atol=1e-9, rtol=1e-8)
        torch.testing.assert_close(intercept, fit.intercept, atol=1e-6, rtol=1e-8)
    assert statistics.n_images == 70


def test_a_penalty_a_site_and_features_that_outnumber_the_images():
    x, y, alpha = normal(20, 50), normal(20, 2, seed=1), torch.tensor([0.1, 30.0]).double()
    statistics = RidgeStatistics(50, 2)
    statistics.add(x.float(), y)
    coef, _ = statistics.solve(alpha)
    for u in range(2):
        fit = ridge(x.float(), y[:, u : u + 1], folds=torch.arange(20) % 4, alphas=[float(alpha[u])])
        torch.testing.assert_close(coef[:, u], fit.coef[:, 0], atol=1e-9, rtol=1e-8)


def test_merging_is_adding_and_changes_neither():
    x, y, w = pooled()
    one, other, whole = (RidgeStatistics(12, 3) for _ in range(3))
    one.add(x[:25], y[:25], w[:25]), other.add(x[25:], y[25:], w[25:]), whole.add(x, y, w)
    before = one.solve(1.0)[0]
    for merged in (one.merge(other), other.merge(one), one.merge(RidgeStatistics(12, 3)).merge(other)):
        torch.testing.assert_close(merged.solve(1.0)[0], whole.solve(1.0)[0], atol=1e-9, rtol=1e-8)
        assert merged.weight == pytest.approx(float(w.sum()))
    assert torch.equal(one.solve(1.0)[0], before)


def test_statistics_refuse_what_they_cannot_hold():
    with pytest.raises(ValueError, match="take 7202400000 bytes, more than the limit of 2147483648"):
        RidgeStatistics(30000, 10)  # 8 (P^2 + P U)
    with pytest.raises(ValueError, match="take 168 bytes, more than the limit of 100"):
        RidgeStatistics(3, 4, limit=100)
    statistics = RidgeStatistics(12, 3)
    x, y, _ = pooled()
    with pytest.raises(ValueError, match="0 images"):
        statistics.solve(1.0)
    with pytest.raises(ValueError, match=r"expected \(N, 12\), \(N, 3\)"):
        statistics.add(x[:, :11], y)
    with pytest.raises(ValueError, match="hold NaN"):
        statistics.add(x, y.where(y > y.min(), torch.nan))
    statistics.add(x, y)
    for alpha in (0.0, torch.ones(2)):
        with pytest.raises(ValueError, match="expected at least two images"):
            statistics.solve(alpha)
    with pytest.raises(ValueError, match="others of 11"):
        statistics.merge(RidgeStatistics(11, 3))
