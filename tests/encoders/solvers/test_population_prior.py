"""The prior that a fitted population gives to new sites, against dense Gaussian processes."""

from __future__ import annotations

import pytest
import torch

from encoders import correlation, group_folds, ridge
from encoders.solvers.population_prior import NOISE, PROPORTIONS, few_shot
from tests.encoders.helpers.population import planted


def scores(n: int, own: float = 0.5) -> tuple[float, float]:
    """Mean held-out correlation of few-shot and of ridge after `n` images."""
    x, population, truth, y = planted(own=own)
    folds = group_folds(range(n), 5)
    found = few_shot(population[:n], x[:n], y[:n]).predict(population[400:], x[400:])
    plain = ridge(x[:n], y[:n], folds=folds).predict(x[400:])
    return tuple(float(correlation(p, truth[400:]).mean()) for p in (found, plain))


@pytest.mark.parametrize("n", [30, 100])
def test_few_images_are_worth_more_beside_a_population(n):
    found, plain = scores(n)
    assert found > plain + 0.15


@pytest.mark.parametrize("own", [0.5, 3.0])
def test_many_images_lose_nothing(own):
    found, plain = scores(400, own)
    assert found > plain - 0.02


def test_a_population_that_has_nothing_to_say_costs_little():
    x, population, truth, y = planted()
    strange = population[torch.randperm(700, generator=torch.Generator().manual_seed(1))]
    n = 100
    found = few_shot(strange[:n], x[:n], y[:n])
    plain = ridge(x[:n], y[:n], folds=group_folds(range(n), 5)).predict(x[400:])
    r = [float(correlation(p, truth[400:]).mean()) for p in (found.predict(strange[400:], x[400:]), plain)]
    assert r[0] > r[1] - 0.05
    assert found.proportion.mean() < few_shot(population[:n], x[:n], y[:n]).proportion.mean() - 0.1


def by_hand(population, x, y, w, new_population, new_x):
    """The same posterior mean from dense Gaussian processes, one a point of the grid, with explicit restricted likelihoods."""
    n = len(y)
    w = w / w.mean()
    kernels = []
    for band, new in ((population, new_population), (x, new_x)):
        centred = band - (w @ band) / n
        scale = (w * centred.square().sum(1)).mean()
        kernels.append((centred @ centred.T / scale, (new - (w @ band) / n) @ centred.T / scale))
    one, predictions, logs = torch.ones(n, 1, dtype=y.dtype), [], []
    for rho in PROPORTIONS:
        (a, to_a), (b, to_b) = kernels
        for noise in NOISE:
            covariance = rho * a + (1 - rho) * b + noise * torch.diag(1 / w)
            inverse = torch.linalg.inv(covariance)
            information = one.T @ inverse @ one
            mean = torch.linalg.solve(information, one.T @ inverse @ y)
            residual = y - mean
            squared = residual @ inverse @ residual
            logs.append(-0.5 * (torch.logdet(covariance) + torch.logdet(information) + (n - 1) * squared.log()))
            predictions.append(mean + (rho * to_a + (1 - rho) * to_b) @ inverse @ residual)
    posterior = torch.stack(logs).softmax(0)
    return (posterior[:, None] * torch.stack(predictions)).sum(0)


def test_the_fit_is_the_average_over_dense_gaussian_processes():
    x, population, _, y = planted(n_new=1)
    n = 25
    w = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.5
    folds = torch.arange(n) % 4
    fit = few_shot(population[:n], x[:n], y[:n], folds=folds, weights=w)
    found = fit.predict(population[400:410], x[400:410])
    expected = by_hand(population[:n], x[:n], y[:n, 0], w, population[400:410], x[400:410])
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-6, atol=1e-8)
    rest = folds != 1
    without = few_shot(population[:n][rest], x[:n][rest], y[:n][rest], weights=w[rest])
    expected = without.predict(population[:n][~rest], x[:n][~rest])
    torch.testing.assert_close(fit.left_out[~rest], expected, rtol=1e-8, atol=1e-8)


def test_sites_without_some_images_are_fitted_without_them():
    x, population, _, y = planted(n_new=3)
    y = y[:60].clone()
    y[40:, 1] = torch.nan
    fit = few_shot(population[:60], x[:60], y, folds=torch.arange(60) % 3)
    alone = few_shot(population[:40], x[:40], y[:40, 1:2])
    new = (population[400:], x[400:])
    torch.testing.assert_close(fit.predict(*new)[:, 1:2], alone.predict(*new))
    assert torch.equal(torch.isnan(fit.left_out), torch.isnan(y))


def test_a_population_that_responds_equally_to_all_images_is_named():
    x, population, _, y = planted(n_new=1)
    with pytest.raises(ValueError, match="respond equally to all images"):
        few_shot(torch.ones_like(population[:30]), x[:30], y[:30])
