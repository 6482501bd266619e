"""Ridge regression in closed form, one penalty per site, chosen by cross-validation over whole groups of images.

One eigendecomposition serves every penalty, every fold and every site: the prediction of a fold's images by a fit
without them follows from the full fit's smoother (leave-group-out identity), so no fold is ever fitted. Arithmetic is
float64, or float32 where the features are and `precision` finds that it serves as well; results are float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .member import MemberFit, Rows, SolverSettings
from .precision import smoother_of
from .smoother import ROWS, at_once, best_of, centre_targets, check, patterns, weighted_mean

RELATIVE_ALPHAS = tuple(10.0 ** (k / 2) for k in range(-8, 7))  # times the mean diagonal of the kernel


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression.

    Attributes
    ----------
    coef : Tensor of shape (P, U), float64
    intercept : Tensor of shape (U,), float64
    alpha : Tensor of shape (U,), float64
        The chosen penalty of every site.
    cv_r2 : Tensor of shape (A, U), float64
        Variance explained on left-out groups, for every penalty of `alphas`; NaN for a constant site.
    alphas : Tensor of shape (A,), float64
    at_edge : Tensor of shape (U,), bool
        The chosen penalty is the smallest or the largest of `alphas`: a wider grid might be better.
    left_out : Tensor of shape (N, U), float64
        Prediction of every image, in the unit of the targets, by the fit at the chosen penalty without the image's
        fold; NaN where the site was not recorded.
    """

    coef: Tensor
    intercept: Tensor
    alpha: Tensor
    cv_r2: Tensor
    alphas: Tensor
    at_edge: Tensor
    left_out: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Predictions for `features` of shape (N, P), float64, shape (N, U)."""
        return features.double() @ self.coef + self.intercept


def ridge(
    features: Tensor,
    targets: Tensor,
    *,
    folds: Tensor,
    alphas: Sequence[float] | Tensor | None = None,
    weights: Tensor | None = None,
) -> RidgeFit:
    r"""Ridge regression with an unpenalised intercept, one penalty per site.

    Minimises :math:`\sum_i w_i (y_{iu} - x_i b_u - c_u)^2 + \alpha_u \|b_u\|^2` for every site u (Hoerl & Kennard
    1970), in the primal (P <= N) or the dual. The penalty is the one of `alphas` with the smallest weighted squared
    error over left-out folds; these residuals are :math:`(I - H_{kk})^{-1} (y - \hat y)_k` (the leave-one-out identity
    of Allen 1974, for groups), exact for fits without fold k that have their own intercept.

    Parameters
    ----------
    features : Tensor of shape (N, P)
    targets : Tensor of shape (N, U)
        NaN = the site was not recorded with this image; sites with one pattern of NaN are fitted together.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one.
    alphas : sequence of A floats, optional
        Penalties to choose from. Default: 15 values from 1e-4 to 1e3 times the mean diagonal of the weighted, centred
        kernel, which makes the choice independent of the scale and the number of features.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.

    Returns
    -------
    RidgeFit
    """
    y, w = check([features], targets, folds, weights=weights)
    grid = as_grid(relative_alphas(features, w) if alphas is None else alphas, features.device)
    coef = y.new_empty(0 if bool(torch.isfinite(y).all()) else features.shape[1], y.shape[1])
    intercept, chosen, scores = y.new_empty(y.shape[1]), y.new_empty(y.shape[1]), y.new_empty(len(grid), y.shape[1])
    left_out = torch.full_like(y, torch.nan)
    for columns, rows in patterns(y):
        recorded = torch.arange(len(y), device=y.device) if rows is None else rows
        root = (w[recorded] / w[recorded].mean()).sqrt()
        centred, mean = centre_targets(y[recorded][:, columns], root)
        part, smoother = smoother_of(features, w, rows, y=centred, alpha=float(grid.min()))
        scores[:, columns], residual = smoother.search(grid, folds[recorded])
        chosen[columns] = grid[best_of(scores[:, columns])]
        weight = (part.x.T @ smoother.dual(chosen[columns]).to(part.x)).double()
        intercept[columns] = mean - part.mean @ weight
        if rows is None:
            coef = weight  # all sites at once: no second copy
        else:
            coef[:, columns] = weight
        left_out[recorded[:, None], columns] = y[recorded][:, columns] - residual / root[:, None]
    edge = ((chosen == grid.min()) | (chosen == grid.max())) & torch.isfinite(scores).all(0)
    return RidgeFit(
        coef=coef,
        intercept=intercept,
        alpha=chosen,
        cv_r2=scores,
        alphas=grid,
        at_edge=edge & (len(grid) > 1),
        left_out=left_out,
    )


def solve(
    features: Mapping[str, Tensor], targets: Tensor, folds: Tensor, *, weights: Tensor | None, settings: SolverSettings
) -> MemberFit:
    """One linear readout of the standardised layers, by `ridge`; see `Solver`."""
    data = Rows.of(features)
    fit = ridge(torch.cat(data.rows, 1), targets, folds=folds, weights=weights)
    readout = data.readout(fit.coef, fit.intercept, alpha=fit.alpha, pool=settings.pool, solver="ridge")
    return MemberFit(
        readouts=(readout,), left_out=fit.left_out, cv_r2=fit.cv_r2.amax(0), strength=fit.alpha, at_edge=fit.at_edge
    )


def ridge_memory(n_images: int, n_features: int, n_sites: int, *, n_alphas: int = 15, n_folds: int = 5) -> int:
    """Bytes that `ridge` needs at its peak beside its arguments, where every site was recorded with every image.

    For float64, which float32 features may need, too. One centred copy of the features (8 N P) stays throughout. On
    top of it comes the largest of three stages: the eigendecomposition, in the smaller of N and P; the search over
    penalties; and the coefficients (8 P U). What the linear algebra library keeps for itself, some tens of megabytes,
    is not counted.
    """
    n, p, u, k = n_images, n_features, n_sites, min(n_images, n_features)
    vectors, basis, fold = n * k, k * (n + u), math.ceil(n / n_folds) ** 2
    primal, unreached = (2 * p * p + n * p, n_folds * fold) if p <= n else (0, 0)
    together = at_once(n_alphas, basis, n * u, fold)
    search = 2 * vectors + basis + unreached + max(2 * vectors, together * (basis + n * u + max(n * u, 3 * fold)))
    return 8 * (n * p + 7 * n * u + max(4 * k * k, primal, search, vectors + n * u + p * u))


def as_grid(alphas: Sequence[float] | Tensor, device: torch.device) -> Tensor:
    """Penalties as float64, shape (A,), checked to be positive."""
    grid = torch.as_tensor(alphas, dtype=torch.float64, device=device)
    if grid.ndim != 1 or not len(grid) or not bool((grid > 0).all()):
        raise ValueError(f"alphas of shape {tuple(grid.shape)}; expected at least one penalty, all positive")
    return grid


def relative_alphas(features: Tensor, weights: Tensor, relative: Sequence[float] = RELATIVE_ALPHAS) -> Tensor:
    """`relative` times the mean diagonal of the weighted, centred kernel of `features` (N, P); shape (A,)."""
    w = weights.double() / weights.double().mean()
    mean, total = weighted_mean(features, w), torch.zeros((), dtype=torch.float64, device=features.device)
    for i in range(0, len(features), ROWS):
        total += w[i : i + ROWS] @ (features[i : i + ROWS] - mean).square().sum(1)
    diagonal = float(total) / len(features)
    if diagonal == 0:
        raise ValueError("all images have the same features: nothing to fit; check that the images differ")
    return torch.tensor(relative, dtype=torch.float64, device=features.device) * diagonal
