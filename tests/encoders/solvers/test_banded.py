from __future__ import annotations

import numpy as np
import pytest
import torch
from himalaya.kernel_ridge import (
    solve_multiple_kernel_ridge_random_search,
    solve_weighted_kernel_ridge_conjugate_gradient,
)
from sklearn.model_selection import PredefinedSplit

from encoders.solvers.banded import banded_ridge, candidates
from encoders.solvers.ridge import ridge
from encoders.splits import group_folds

N, SITES = 60, 5


def problem(widths=(8, 90, 20), seed: int = 0):
    """Sites that follow the first band, the second, both, all or none; bands of different scales."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    bands = [normal(N, p) * 3.0**b + b for b, p in enumerate(widths)]
    share = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0.0]]).double()[: len(widths)]
    y = sum((x @ normal(x.shape[1], SITES) / x.norm() * N**0.5) * s for x, s in zip(bands, share, strict=True))
    return bands, y + 0.3 * normal(N, SITES) + 5, group_folds(range(N), 5), torch.rand(N, generator=generator) + 0.5


def direct(bands, y, w, penalties):
    """One site by augmented least squares: features over the roots of their penalties, then a row for every weight."""
    scaled = torch.cat([x / a**0.5 for x, a in zip(bands, penalties, strict=True) if np.isfinite(a)], 1)
    p = scaled.shape[1]
    design = torch.cat(
        [torch.cat([scaled, torch.ones(len(y), 1).double()], 1) * w.sqrt()[:, None], torch.eye(p, p + 1)]
    )
    right = torch.cat([w.sqrt() * y, torch.zeros(p)])[:, None]
    return scaled, torch.linalg.lstsq(design, right, driver="gelsd").solution[:, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_every_site_solves_its_augmented_least_squares(weighted):
    bands, y, folds, w = problem()
    w = w.double() / w.double().mean() if weighted else torch.ones(N, dtype=torch.float64)
    fit = banded_ridge(bands, y, folds=folds, weights=w, n_iter=10)
    assert len({tuple(a) for a in fit.alpha.T.tolist()}) > 2  # the sites do not all choose alike
    for u in range(SITES):
        scaled, solution = direct(bands, y[:, u], w, fit.alpha[:, u].tolist())
        torch.testing.assert_close(
            fit.predict(bands)[:, u], scaled @ solution[:-1] + solution[-1], atol=1e-7, rtol=1e-7
        )
        torch.testing.assert_close(fit.intercept[u], solution[-1], atol=1e-7, rtol=1e-7)
        start = 0
        for x, coef, alpha in zip(bands, fit.coefs, fit.alpha[:, u].tolist(), strict=True):
            if np.isinf(alpha):
                assert coef[:, u].abs().max() == 0
                continue
            expected = solution[start : start + x.shape[1]] / alpha**0.5
            torch.testing.assert_close(coef[:, u], expected, atol=1e-7, rtol=1e-6)
            start += x.shape[1]


def test_left_out_predictions_and_scores_equal_refits_without_the_fold():
    bands, y, folds, _ = problem()
    fit = banded_ridge(bands, y, folds=folds, n_iter=4)
    for u in range(SITES):
        for k in range(5):
            train, test = folds != k, folds == k
            penalties = fit.alpha[:, u].tolist()
            ones = torch.ones(int(train.sum()), dtype=torch.float64)
            _, solution = direct([x[train] for x in bands], y[train, u], ones, penalties)
            scaled = torch.cat([x[test] / a**0.5 for x, a in zip(bands, penalties, strict=True) if np.isfinite(a)], 1)
            torch.testing.assert_close(
                fit.left_out[test, u], scaled @ solution[:-1] + solution[-1], atol=1e-7, rtol=1e-7
            )
    explained = 1 - (y - fit.left_out).square().sum(0) / (y - y.mean(0)).square().sum(0)
    torch.testing.assert_close(fit.cv_r2.amax((0, 1)), explained)


def kernels(bands):
    """Centred kernels of the bands, brought to their mean diagonal, as himalaya takes them."""
    made = [(x - x.mean(0)) @ (x - x.mean(0)).T for x in bands]
    mean = torch.stack([k.diagonal().mean() for k in made]).mean()
    return torch.stack([k * mean / k.diagonal().mean() for k in made]).numpy()


def test_himalaya_predicts_the_same_at_equal_penalties():
    bands, y, folds, _ = problem()
    share = torch.tensor([[0.2, 0.5, 0.3]])
    fit = banded_ridge(bands, y, folds=folds, alphas=[7.0], proportions=share)
    deltas = np.log(share.double().numpy()).T.repeat(SITES, 1)
    centred = (y - y.mean(0)).numpy()
    dual = solve_weighted_kernel_ridge_conjugate_gradient(kernels(bands), centred, deltas, 7.0, max_iter=500, tol=1e-12)
    predicted = np.einsum("bij,b,ju->iu", kernels(bands), share[0].double().numpy(), dual)
    np.testing.assert_allclose(fit.predict(bands), predicted + y.mean(0).numpy(), atol=1e-6)


def test_himalaya_chooses_the_same_shares_of_the_same_candidates():
    bands, y, folds, _ = problem(seed=3)
    shares, alphas = candidates(3, 12, seed=1), np.logspace(-1, 4, 6)
    fit = banded_ridge(bands, y, folds=folds, alphas=alphas.tolist(), proportions=shares)
    deltas, _, scores, _ = solve_multiple_kernel_ridge_random_search(
        kernels(bands), y.numpy(), shares.numpy(), alphas=alphas, cv=PredefinedSplit(folds.numpy()), fit_intercept=True, return_weights="dual",
        progress_bar=False,
    )  # fmt: skip
    chosen = fit.cv_r2.amax(1).argmax(0)
    assert chosen.tolist() == scores.argmax(0).tolist()
    total = (y - y.mean(0)).square().mean(0)
    np.testing.assert_allclose((1 - fit.cv_r2.amax((0, 1))) * total, -scores.max(0), rtol=1e-4)  # folds are equal
    used = shares[chosen].T.numpy() > 0
    scale = float(torch.stack([(x - x.mean(0)).square().sum(1).mean() for x in bands]).mean())
    diagonal = np.array([float((x - x.mean(0)).square().sum(1).mean()) for x in bands])
    expected = diagonal[:, None] / scale / np.exp(deltas)
    np.testing.assert_allclose(fit.alpha.numpy()[used], expected[used], rtol=1e-4)


def test_one_band_is_ridge():
    bands, y, folds, w = problem()
    holed = y.clone()
    holed[::9, 2] = torch.nan
    for x in bands[:2]:
        banded, plain = banded_ridge([x], holed, folds=folds, weights=w), ridge(x, holed, folds=folds, weights=w)
        torch.testing.assert_close(banded.alpha[0], plain.alpha)
        torch.testing.assert_close(banded.coefs[0], plain.coef, atol=1e-8, rtol=1e-6)
        torch.testing.assert_close(banded.intercept, plain.intercept, atol=1e-8, rtol=1e-6)
        torch.testing.assert_close(banded.cv_r2[0], plain.cv_r2, atol=1e-8, rtol=1e-6)
        torch.testing.assert_close(banded.left_out, plain.left_out, atol=1e-8, rtol=1e-6, equal_nan=True)


def test_sites_use_the_bands_that_drive_them_and_scale_does_not_matter():
    bands, y, folds, _ = problem()
    fit = banded_ridge(bands, y, folds=folds, seed=4)
    parts = fit.parts(bands).var(1)  # (B, U)
    assert parts[:, 0].argmax() == 0
    assert parts[:, 1].argmax() == 1
    torch.testing.assert_close(fit.parts(bands).sum(0) + fit.intercept, fit.predict(bands))
    scaled = banded_ridge([100 * bands[0], bands[1] / 7, bands[2]], y, folds=folds, seed=4)
    torch.testing.assert_close(scaled.cv_r2, fit.cv_r2, atol=1e-7, rtol=1e-6)
    together = ridge(torch.cat(bands, 1), y, folds=folds)
    assert (fit.cv_r2.amax((0, 1)) > together.cv_r2.amax(0))[0]


def test_missing_images_leave_the_other_sites_alone():
    bands, y, folds, _ = problem()
    holed = y.clone()
    holed[::7, 1] = torch.nan
    rows = torch.isfinite(holed[:, 1])
    grid, shares = [1.0, 30.0], candidates(3, 3)
    fit = banded_ridge(bands, holed, folds=folds, alphas=grid, proportions=shares)
    whole = banded_ridge(bands, y, folds=folds, alphas=grid, proportions=shares)
    torch.testing.assert_close(fit.coefs[1][:, 0], whole.coefs[1][:, 0])
    for u, penalties in enumerate(fit.alpha.T.tolist()):
        kept = rows if u == 1 else torch.ones(N, dtype=torch.bool)
        scaled, solution = direct([x[kept] for x in bands], y[kept, u], torch.ones(int(kept.sum())).double(), penalties)
        torch.testing.assert_close(
            fit.predict(bands)[kept, u], scaled @ solution[:-1] + solution[-1], atol=1e-7, rtol=1e-7
        )
    assert torch.equal(torch.isnan(fit.left_out), torch.isnan(holed))


def test_candidates_are_shares_and_follow_the_seed():
    shares = candidates(4, 20, seed=2)
    assert shares.shape == (25, 4)
    torch.testing.assert_close(shares[:5], torch.cat([torch.eye(4), torch.full((1, 4), 0.25)]).double())
    torch.testing.assert_close(shares.sum(1), torch.ones(25, dtype=torch.float64))
    assert torch.equal(shares, candidates(4, 20, seed=2))
    assert not torch.equal(shares, candidates(4, 20, seed=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "no band"),
        ({"proportions": torch.ones(2, 2)}, r"\(2, 2\); expected \(C, 3\)"),
        ({"proportions": torch.ones(1, 3)}, "sum one"),
        ({"features": [torch.ones(N, 2)] * 3}, "same features"),
        ({"alphas": [-1.0]}, "all positive"),
        ({"features": [torch.ones(N - 1, 2)]}, r"\(59, 2\)"),
        ({"folds": torch.zeros(N, dtype=torch.int64)}, "one fold"),
    ],
)
def test_bad_input_is_named(changes, message):
    bands, y, folds, _ = problem()
    given = {"features": bands, "folds": folds} | changes
    with pytest.raises(ValueError, match=message):
        banded_ridge(given.pop("features"), y, **given)
