"""Banded ridge regression: one penalty per band of features and site, by random search over the bands' shares of a
kernel.

A band is a layer, a frequency range or any other set of features. Penalties alpha_b on bands X_b are one penalty alpha
on the kernel sum_b g_b K_b with alpha_b = alpha / g_b; for each candidate of the shares g, one eigendecomposition
serves all penalties, folds and sites, as in `ridge`. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .member import MemberFit, Rows, SolverSettings
from .ridge import RELATIVE_ALPHAS, as_grid, relative_alphas
from .smoother import Smoother, best_of, centre, centre_targets, check, gram, patterns

CONCENTRATIONS = (0.1, 1.0)  # of the Dirichlet draws, in turn: few bands dominate; all shares are equally likely


@dataclass(frozen=True)
class BandedRidgeFit:
    """A fitted banded ridge regression of B bands.

    Attributes
    ----------
    coefs : tuple of B Tensors of shape (P_b, U), float64
    intercept : Tensor of shape (U,), float64
    alpha : Tensor of shape (B, U), float64
        The chosen penalty of every band and site; infinite where a site does not use the band.
    cv_r2 : Tensor of shape (C, A, U), float64
        Variance explained on left-out groups, for every candidate of the shares and every penalty of `alphas`.
    proportions : Tensor of shape (C, B), float64
        The candidates: the share of every band in the kernel, all bands scaled to one mean diagonal; rows sum to one.
    alphas : Tensor of shape (A,), float64
    at_edge : Tensor of shape (U,), bool
        The chosen penalty is the smallest or the largest of `alphas`: a wider grid might be better.
    left_out : Tensor of shape (N, U), float64
        Prediction of every image by the fit at the chosen penalties without the image's fold; NaN where not recorded.
    """

    coefs: tuple[Tensor, ...]
    intercept: Tensor
    alpha: Tensor
    cv_r2: Tensor
    proportions: Tensor
    alphas: Tensor
    at_edge: Tensor
    left_out: Tensor

    def predict(self, features: Sequence[Tensor]) -> Tensor:
        """Predictions for B bands of `features`, each of shape (N, P_b), float64, shape (N, U)."""
        return self.parts(features).sum(0) + self.intercept

    def parts(self, features: Sequence[Tensor]) -> Tensor:
        """Contribution of every band to the prediction, shape (B, N, U)."""
        return torch.stack([x.double() @ coef for x, coef in zip(features, self.coefs, strict=True)])


def banded_ridge(
    features: Sequence[Tensor],
    targets: Tensor,
    *,
    folds: Tensor,
    alphas: Sequence[float] | Tensor | None = None,
    weights: Tensor | None = None,
    n_iter: int = 40,
    proportions: Tensor | None = None,
    seed: int = 0,
) -> BandedRidgeFit:
    r"""Ridge regression on bands of features, with a penalty for every band and site and an unpenalised intercept.

    Minimises :math:`\sum_i w_i (y_{iu} - \sum_b x_{bi} W_{bu} - c_u)^2 + \sum_b \alpha_{bu} \|W_{bu}\|^2` for every
    site u. The penalties :math:`\alpha_{bu} = \alpha_u d_b / (\bar d g_{bu})`, with :math:`d_b` the mean diagonal of
    band b's kernel and :math:`\bar d` the mean of these, are those with the smallest squared error over left-out folds,
    among all `alphas` times all candidates of the shares g: each band alone, all equally, and random draws (Dupre la
    Tour et al. 2022). Kernels of shape (N, N) are held for all bands, and each candidate costs one eigendecomposition
    of one.

    Parameters
    ----------
    features : sequence of B Tensors of shape (N, P_b)
    targets : Tensor of shape (N, U)
        NaN = the site was not recorded with this image; sites with one pattern of NaN are fitted together.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one.
    alphas : sequence of A floats, optional
        Penalties to choose from. Default: 15 values from 1e-4 to 1e3 times the mean of the bands' mean diagonals.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.
    n_iter : int
        Random candidates of the shares, beside the B + 1 fixed ones.
    proportions : Tensor of shape (C, B), optional
        The candidates, in place of random ones; rows sum to one.
    seed : int
        Of the random candidates.

    Returns
    -------
    BandedRidgeFit
    """
    if not len(features):
        raise ValueError("no band of features; expected at least one Tensor of shape (N, P)")
    y, w = check(features, targets, folds, weights=weights)
    diagonal = torch.cat([relative_alphas(x, w, [1.0]) for x in features])
    scale = diagonal.mean() / diagonal  # (B,): brings the bands to one mean diagonal
    grid = as_grid(torch.tensor(RELATIVE_ALPHAS) * float(diagonal.mean()) if alphas is None else alphas, y.device)
    shares = candidates(len(features), n_iter, seed) if proportions is None else _shares(proportions, len(features))
    mix = shares.to(y.device) * scale  # (C, B)
    coefs = tuple(y.new_empty(x.shape[1], y.shape[1]) for x in features)
    intercept, left_out = y.new_empty(y.shape[1]), torch.full_like(y, torch.nan)
    scores = y.new_empty(len(mix), len(grid), y.shape[1])
    for columns, rows in patterns(y):
        recorded = torch.arange(len(y), device=y.device) if rows is None else rows
        kernels = [gram(centre(x, w, rows).x) for x in features]
        root = (w[recorded] / w[recorded].mean()).sqrt()
        centred, intercept[columns] = centre_targets(y[recorded][:, columns], root)
        scores[:, :, columns], dual, residual = _search(kernels, mix, grid, y=centred, root=root, folds=folds[recorded])
        share = mix[best_of(scores[:, :, columns].amax(1))]  # (U, B)
        for b, x in enumerate(features):
            part = centre(x, w, rows)
            weight = part.x.T @ (dual * share[:, b])
            coefs[b][:, columns] = weight
            intercept[columns] -= part.mean @ weight
        left_out[recorded[:, None], columns] = y[recorded][:, columns] - residual / root[:, None]
    flat = best_of(scores.flatten(0, 1))
    chosen, best = grid[flat % len(grid)], mix[flat // len(grid)]
    edge = ((chosen == grid.min()) | (chosen == grid.max())) & (len(grid) > 1) & torch.isfinite(scores).all(0).all(0)
    return BandedRidgeFit(
        coefs=coefs,
        intercept=intercept,
        alpha=chosen / best.T,
        cv_r2=scores,
        proportions=shares,
        alphas=grid,
        at_edge=edge,
        left_out=left_out,
    )


def solve(
    features: Mapping[str, Tensor], targets: Tensor, folds: Tensor, *, weights: Tensor | None, settings: SolverSettings
) -> MemberFit:
    """One linear readout of the standardised layers, each of them a band of `banded_ridge`; see `Solver`."""
    data = Rows.of(features)
    fit = banded_ridge(data.rows, targets, folds=folds, weights=weights, seed=settings.run.seed)
    alpha = torch.where(
        torch.isinf(fit.alpha), 0.0, fit.alpha
    ).T  # the coefficients of a band that a site does not use are 0
    readout = data.readout(torch.cat(fit.coefs), fit.intercept, alpha=alpha, pool=settings.pool, solver="banded_ridge")
    return MemberFit(
        readouts=(readout,),
        left_out=fit.left_out,
        cv_r2=fit.cv_r2.amax((0, 1)),
        strength=fit.alpha.amin(0),
        at_edge=fit.at_edge,
    )


def candidates(n_bands: int, n_random: int, seed: int = 0) -> Tensor:
    """Candidates of the shares, (C, B): each band alone, all equally, `n_random` Dirichlet draws; rows sum to one."""
    if n_bands == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    draws = [
        rng.dirichlet(np.full(n_bands, CONCENTRATIONS[i % len(CONCENTRATIONS)]))[None] for i in range(max(0, n_random))
    ]
    return torch.from_numpy(np.concatenate([np.eye(n_bands), np.full((1, n_bands), 1 / n_bands), *draws]))


def _shares(proportions: Tensor, n_bands: int) -> Tensor:
    shares = proportions.double()
    if shares.ndim != 2 or shares.shape[1] != n_bands or not len(shares):
        raise ValueError(f"proportions of shape {tuple(shares.shape)}; expected (C, {n_bands}), one column per band")
    if not bool((shares >= 0).all() and torch.allclose(shares.sum(1), shares.new_ones(len(shares)))):
        raise ValueError("proportions: expected shares of at least zero, each row with the sum one")
    return shares


def _search(
    kernels: Sequence[Tensor], mix: Tensor, grid: Tensor, *, y: Tensor, root: Tensor, folds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (C, A, U) of all candidates; dual coefficients and left-out residuals (N, U) of every site's best."""
    scores, best = [], torch.full_like(y[0], -torch.inf)
    dual, residual = torch.zeros_like(y), torch.zeros_like(y)
    for shares in mix:
        kernel = torch.zeros_like(kernels[0])
        for share, part in zip(shares.tolist(), kernels, strict=True):
            kernel.add_(part, alpha=share)
        smoother = Smoother.of_kernel(kernel, y, root)
        score, left_out = smoother.search(grid, folds)
        top, a = score.max(0)
        better = top > best
        dual[:, better] = smoother.dual(grid[a[better]], better)
        residual[:, better] = left_out[:, better]
        best = torch.maximum(best, top)
        scores.append(score)
    return torch.stack(scores), dual, residual
