from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression

from encoders.solvers.pls import components, pls
from encoders.splits import group_folds


def problem(n: int, p: int, u: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64) * torch.linspace(0.3, 2, p).double() + 2
    y = x @ torch.randn(p, u, generator=generator, dtype=torch.float64) / p**0.5
    y = y + torch.randn(n, u, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 0.5, 1, 3.0])[:u] + 7
    return x, y, group_folds(range(n), 5, seed=seed), torch.randint(1, 4, (n,), generator=generator)


def reference(x, y, number):
    return PLSRegression(number, scale=False, tol=1e-14, max_iter=100000).fit(x.numpy(), y.numpy())


SHAPES = [(60, 12, 4), (40, 90, 4), (40, 90, 1), (30, 30, 3)]


@pytest.mark.parametrize(("n", "p", "u"), SHAPES)
def test_coefficients_equal_scikit_learn_at_the_chosen_number(n, p, u):
    x, y, folds, _ = problem(n, p, u)
    fit = pls(x, y, folds=folds, max_components=8)
    for site in range(u):
        model = reference(x, y, int(fit.n_components[site]))
        np.testing.assert_allclose(fit.coef[:, site], model.coef_[site], atol=1e-6)
        np.testing.assert_allclose(fit.predict(x)[:, site], model.predict(x.numpy())[:, site], atol=1e-6)


@pytest.mark.parametrize(("n", "p", "u"), SHAPES)
def test_left_out_scores_and_predictions_equal_refits_of_scikit_learn(n, p, u):
    x, y, folds, _ = problem(n, p, u)
    fit = pls(x, y, folds=folds, max_components=4)
    total = (y - y.mean(0)).square().sum(0)
    for number in range(1, 5):
        predicted = torch.empty_like(y)
        for k in range(5):
            model = reference(x[folds != k], y[folds != k], number)
            predicted[folds == k] = torch.from_numpy(model.predict(x[folds == k].numpy())).double()
        r2 = 1 - (y - predicted).square().sum(0) / total
        torch.testing.assert_close(fit.cv_r2[number - 1], r2, atol=1e-6, rtol=1e-6)
        chosen = fit.n_components == number
        torch.testing.assert_close(fit.left_out[:, chosen], predicted[:, chosen], atol=1e-6, rtol=1e-6)
    assert torch.equal(fit.n_components, fit.cv_r2.argmax(0) + 1)
    assert torch.equal(fit.at_edge, fit.n_components == 4)


@pytest.mark.parametrize(("n", "p"), [(60, 12), (40, 90)])
def test_whole_weights_are_repeated_images(n, p):
    x, y, folds, w = problem(n, p)
    fit, index = pls(x, y, folds=folds, weights=5 * w, max_components=5), torch.repeat_interleave(torch.arange(n), w)
    repeated = pls(x[index], y[index], folds=folds[index], max_components=5)
    torch.testing.assert_close(fit.coef, repeated.coef, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(fit.intercept, repeated.intercept, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(fit.cv_r2, repeated.cv_r2, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(fit.left_out[index], repeated.left_out, atol=1e-8, rtol=1e-6)


def test_all_components_are_least_squares_and_more_add_nothing():
    x, y, folds, _ = problem(60, 6)
    kernel = (x - x.mean(0)) @ (x - x.mean(0)).T
    rotation, loading = components(kernel, y - y.mean(0), 9)
    assert rotation[:, 6:].abs().max() == 0
    solution = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0)).solution
    torch.testing.assert_close((x - x.mean(0)).T @ rotation @ loading, solution, atol=1e-8, rtol=1e-6)
    scores = kernel @ rotation[:, :6]
    torch.testing.assert_close(scores.T @ scores, torch.eye(6, dtype=torch.float64))
    assert pls(x, y, folds=folds, max_components=9).coef.isfinite().all()


def test_sites_with_missing_images_are_fitted_to_what_they_have():
    x, y, folds, _ = problem(60, 12)
    y[::7, 1] = torch.nan
    fit, rows = pls(x, y, folds=folds, max_components=5), torch.isfinite(y[:, 1])
    alone = pls(x[rows], y[rows][:, 1:2], folds=folds[rows], max_components=5)
    others = pls(x, y[:, [0, 2, 3]], folds=folds, max_components=5)
    torch.testing.assert_close(fit.coef[:, 1], alone.coef[:, 0])
    torch.testing.assert_close(fit.coef[:, [0, 2, 3]], others.coef)
    assert torch.equal(torch.isnan(fit.left_out), torch.isnan(y))


def test_float32_features_on_a_large_offset_keep_their_accuracy():
    x, y, folds, _ = problem(40, 90)
    offset = (x + 1000).float()
    fit = pls(offset, y, folds=folds, max_components=3)
    model = reference(offset.double(), y, int(fit.n_components[0]))
    np.testing.assert_allclose(fit.coef[:, 0], model.coef_[0], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_components": 0}, "expected at least 1"),
        ({"folds": torch.zeros(60, dtype=torch.int64)}, "one fold"),
        ({"folds": torch.zeros(59, dtype=torch.int64)}, r"folds \(59,\)"),
        ({"weights": -torch.ones(60)}, "positive finite"),
    ],
)
def test_bad_input_is_named(changes, message):
    x, y, folds, _ = problem(60, 12)
    with pytest.raises(ValueError, match=message):
        pls(x, y, **({"folds": folds} | changes))
