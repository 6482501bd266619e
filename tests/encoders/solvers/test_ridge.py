"""Ridge with left-out scores in closed form, against scikit-learn, himalaya and explicit refits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from encoders.solvers.ridge import relative_alphas, ridge, ridge_memory
from encoders.splits import group_folds


def problem(n: int, p: int, u: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64) + 2
    y = x @ torch.randn(p, u, generator=generator, dtype=torch.float64) / p**0.5
    y = y + torch.randn(n, u, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 0.5, 1, 3.0])[:u] + 7
    return x, y, group_folds(range(n), 5, seed=seed), torch.rand(n, generator=generator, dtype=torch.float64) + 0.5


SHAPES = [(60, 12), (40, 90)]


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_equal_scikit_learn(n, p, weighted):
    x, y, folds, w = problem(n, p)
    w = w / w.mean() if weighted else torch.ones(n, dtype=torch.float64)
    fit = ridge(x, y, folds=folds, alphas=[3.0], weights=w)
    reference = Ridge(alpha=3.0).fit(x.numpy(), y.numpy(), sample_weight=w.numpy())
    np.testing.assert_allclose(fit.coef.T, reference.coef_, atol=1e-9)
    np.testing.assert_allclose(fit.intercept, reference.intercept_, atol=1e-8)
    np.testing.assert_allclose(fit.predict(x), reference.predict(x.numpy()), atol=1e-8)


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_every_site_solves_its_own_normal_equations(n, p):
    x, y, folds, w = problem(n, p)
    fit = ridge(x, y, folds=folds, weights=w)
    w = w / w.mean()
    for u in range(y.shape[1]):  # intercept as a last, unpenalised column
        design = torch.cat([x, torch.ones(n, 1, dtype=torch.float64)], 1)
        penalty = torch.diag(torch.cat([fit.alpha[u].expand(p), torch.zeros(1)]))
        solution = torch.linalg.solve(design.T @ (w[:, None] * design) + penalty, design.T @ (w * y[:, u]))
        torch.testing.assert_close(fit.coef[:, u], solution[:-1], atol=1e-8, rtol=1e-6)
        torch.testing.assert_close(fit.intercept[u], solution[-1], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_scores_equal_explicit_refits(n, p, weighted):
    x, y, folds, w = problem(n, p)
    w = w / w.mean() if weighted else torch.ones(n, dtype=torch.float64)
    alphas = [0.01, 1.0, 100.0]
    fit = ridge(x, y, folds=folds, alphas=alphas, weights=w)
    total = (w[:, None] * (y - (w @ y) / w.sum()).square()).sum(0)
    for a, alpha in enumerate(alphas):
        error = torch.zeros(y.shape[1], dtype=torch.float64)
        for k in range(5):
            train, test = (folds != k).numpy(), folds == k
            model = Ridge(alpha=alpha).fit(x[train], y[train], sample_weight=w[train].numpy())
            error += (w[test, None] * (y[test] - torch.from_numpy(model.predict(x[test]))).square()).sum(0)
        torch.testing.assert_close(fit.cv_r2[a], 1 - error / total, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(fit.alpha, torch.tensor(alphas, dtype=torch.float64)[fit.cv_r2.argmax(0)])


@pytest.mark.parametrize(("n", "p"), [*SHAPES, (40, 39), (40, 40)])
def test_left_out_predictions_equal_refits_without_the_fold(n, p):
    x, y, folds, w = problem(n, p)
    holed = y.clone()
    holed[::7, 1] = torch.nan
    fit = ridge(x, holed, folds=folds, weights=w)
    for u in range(y.shape[1]):
        recorded = torch.isfinite(holed[:, u])
        scale = w[recorded].mean()  # only ratios of weights matter: penalties are on their mean over the site's images
        for k in range(5):
            train = (folds != k) & recorded
            model = Ridge(alpha=float(fit.alpha[u])).fit(x[train], holed[train, u], sample_weight=w[train] / scale)
            test = (folds == k) & recorded
            np.testing.assert_allclose(fit.left_out[test, u], model.predict(x[test]), atol=1e-7)
    assert torch.equal(torch.isnan(fit.left_out), torch.isnan(holed))


def test_single_images_left_out_and_tiny_penalties_keep_their_accuracy():
    x, y, _, _ = problem(30, 60)
    fit = ridge(x, y, folds=torch.arange(30), alphas=[1e-9])
    for k in range(30):  # without a penalty: the shortest coefficients that interpolate the other images
        others = torch.arange(30) != k
        mean, level = x[others].mean(0), y[others].mean(0)
        coef = torch.linalg.lstsq(x[others] - mean, y[others] - level, driver="gelsd").solution
        torch.testing.assert_close(fit.left_out[k], (x[k] - mean) @ coef + level, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), [(60, 12), (40, 90)])
def test_himalaya_chooses_the_same_penalties(n, p):
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import PredefinedSplit

    x, y, folds, _ = problem(n, p, seed=2)
    alphas = np.logspace(-2, 4, 13)
    split = PredefinedSplit(folds.numpy())
    reference = RidgeCV(alphas=alphas, fit_intercept=True, cv=split, solver_params={"warn": False})
    reference.fit(x.numpy(), y.numpy())
    fit = ridge(x, y, folds=folds, alphas=torch.from_numpy(alphas))
    np.testing.assert_allclose(fit.alpha, reference.best_alphas_, rtol=1e-5)
    np.testing.assert_allclose(fit.coef, reference.coef_, atol=1e-5)


def test_kernel_ridge_of_himalaya_chooses_the_same_penalties():
    from himalaya.kernel_ridge import KernelRidgeCV
    from sklearn.model_selection import PredefinedSplit

    x, y, folds, _ = problem(40, 90, seed=4)
    alphas = np.logspace(-2, 4, 13)
    constant = torch.full((40, 1), 1e4, dtype=torch.float64)  # it has no intercept: a large constant column is one
    reference = KernelRidgeCV(alphas=alphas, cv=PredefinedSplit(folds.numpy()))
    reference.fit(torch.cat([x, constant], 1).numpy(), y.numpy())
    fit = ridge(x, y, folds=folds, alphas=torch.from_numpy(alphas))
    np.testing.assert_allclose(fit.alpha, reference.best_alphas_, rtol=1e-5)


def test_scale_of_features_and_weights_does_not_matter():
    x, y, folds, w = problem(40, 90)
    one, other = ridge(x, y, folds=folds, weights=w), ridge(1000 * x + 5, y, folds=folds, weights=7 * w)
    torch.testing.assert_close(other.predict(1000 * x + 5), one.predict(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(other.cv_r2, one.cv_r2, atol=1e-8, rtol=1e-6)


def test_sites_with_missing_images_are_fitted_to_what_they_have():
    x, y, folds, _ = problem(60, 12)
    holed = y.clone()
    holed[::7, 1] = torch.nan
    fit = ridge(x, holed, folds=folds, alphas=[1.0, 10.0])
    rows = torch.isfinite(holed[:, 1])
    alone = ridge(x[rows], y[rows][:, 1:2], folds=folds[rows], alphas=[1.0, 10.0])
    torch.testing.assert_close(fit.coef[:, 1], alone.coef[:, 0])
    torch.testing.assert_close(fit.coef[:, 0], ridge(x, y, folds=folds, alphas=[1.0, 10.0]).coef[:, 0])


def test_a_penalty_at_the_edge_of_the_grid_is_reported():
    x, _, folds, _ = problem(200, 12)
    noise = torch.randn(200, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    y = torch.cat([noise, x[:, :1], x[:, :1] + noise], 1)
    fit = ridge(x, y, folds=folds, alphas=[1e-6, 1e-3, 20.0, 1e5])
    assert fit.alpha.tolist()[:2] == [1e5, 1e-6]  # pure noise: the largest; noiseless: the smallest
    assert fit.at_edge.tolist() == [True, True, False]


def test_relative_alphas_follow_the_mean_diagonal():
    x = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    torch.testing.assert_close(relative_alphas(x, torch.ones(4), [1.0, 2.0]), torch.tensor([2.5, 5.0]).double())


def test_float32_features_on_a_large_offset_keep_their_accuracy():
    x, y, folds, _ = problem(60, 12)
    offset = (x + 1000).float()
    expected = Ridge(alpha=1.0).fit(offset.double().numpy(), y.numpy()).coef_
    np.testing.assert_allclose(ridge(offset, y, folds=folds, alphas=[1.0]).coef.T, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": torch.zeros(60, dtype=torch.int64)}, "one fold"),
        ({"folds": torch.zeros(59, dtype=torch.int64)}, r"folds \(59,\)"),
        ({"alphas": [0.0, 1.0]}, "all positive"),
        ({"alphas": []}, "at least one"),
        ({"weights": torch.zeros(60)}, "positive finite"),
        ({"features": torch.full((60, 12), torch.nan)}, "NaN"),
        ({"features": torch.ones(60, 12)}, "same features"),
        ({"targets": torch.full((60, 2), torch.nan)}, "fewer than two"),
    ],
)
def test_bad_input_is_named(changes, message):
    x, y, folds, _ = problem(60, 12)
    given = {"features": x, "targets": y, "folds": folds} | changes
    with pytest.raises(ValueError, match=message):
        ridge(given.pop("features"), given.pop("targets"), **given)


def peak_bytes(call) -> int:
    """The most that torch held at a time during `call`, workspaces of the linear algebra included."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]))


@pytest.mark.parametrize("shape", [(600, 3000, 20), (300, 4000, 1200), (2000, 60, 5), (300, 300, 5), (100, 50, 3000)])
def test_memory_is_estimated_within_a_factor_of_one_and_a_half(shape):
    n, p, u = shape
    x, y, folds = torch.randn(n, p, dtype=torch.float64), torch.randn(n, u, dtype=torch.float64), torch.arange(n) % 5
    assert 1 / 1.5 < peak_bytes(lambda: ridge(x, y, folds=folds)) / ridge_memory(n, p, u) < 1.5


def test_float32_features_need_no_more_memory_than_estimated():
    x, y, folds = torch.randn(600, 3000), torch.randn(600, 20), torch.arange(600) % 5
    for features in (x, torch.cat([x[:300], x[:300]])):  # in float32; float64 after a look at float32
        assert peak_bytes(lambda given=features: ridge(given, y, folds=folds)) < 1.05 * ridge_memory(600, 3000, 20)


def test_memory_grows_with_every_size_and_with_the_penalties_of_small_problems():
    assert ridge_memory(1000, 9216, 200) > 8 * 1000 * 9216
    assert ridge_memory(1000, 9216, 200) < ridge_memory(1100, 9216, 200) < ridge_memory(1100, 9300, 210)
    assert ridge_memory(50, 20, 3, n_alphas=2) < ridge_memory(50, 20, 3, n_alphas=30)
