"""The prior that a fitted population gives to a new site's readout, and the fit under it in closed form.

The prior is Gaussian. Its covariance is a mixture of the second moment of the readouts of sites that are already
fitted, and of the isotropic covariance of ridge regression. The marginal likelihood of each site's few responses weighs
the shares of both and the noise. All arithmetic is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .smoother import check, patterns

PROPORTIONS = (0.0, 0.25, 0.5, 0.75, 0.95)  # share of the population in the prior variance
NOISE = tuple(10.0 ** (k / 2) for k in range(-3, 7))  # noise variance over signal variance of an image


@dataclass(frozen=True)
class FewShotFit:
    """Readouts of U new sites from K known ones and P features.

    Attributes
    ----------
    population : Tensor of shape (K, U), float64
        Coefficients of the known sites' predictions.
    features : Tensor of shape (P, U), float64
        Coefficients of the features.
    intercept : Tensor of shape (U,), float64
    proportion : Tensor of shape (U,), float64
        Posterior mean share of the population in the prior variance, 0 ... 1.
    alpha : Tensor of shape (2, U), float64
        Penalties of population and features at the posterior means of proportion and log noise.
    left_out : Tensor of shape (N, U), float64
        Prediction of every image by a fit without its fold; NaN where not recorded or where no folds were given.
    """

    population: Tensor
    features: Tensor
    intercept: Tensor
    proportion: Tensor
    alpha: Tensor
    left_out: Tensor

    def predict(self, population: Tensor, features: Tensor) -> Tensor:
        """Predictions (N, U), float64, from known sites' predictions (N, K) and features (N, P)."""
        return population.double() @ self.population + features.double() @ self.features + self.intercept


def few_shot(
    population: Tensor,
    features: Tensor,
    targets: Tensor,
    *,
    folds: Tensor | None = None,
    weights: Tensor | None = None,
) -> FewShotFit:
    r"""Bayesian linear regression on two bands, the predictions of known sites and the features, averaged over
    hyper-parameters.

    The prior of a new site's function is a Gaussian process with kernel :math:`\sigma^2 (\rho\, k_p / \bar k_p + (1 -
    \rho)\, k_f / \bar k_f)`, linear kernels of centred population and features over their mean diagonals, noise
    variance :math:`\lambda \sigma^2 / w_i` and a flat prior on the intercept. With the population in units of each
    known site, :math:`k_p` is the prior whose covariance is the second moment of the known readouts. :math:`\sigma` is
    profiled out of the restricted likelihood (Patterson & Thompson 1971); predictions are averaged over the grid of
    :math:`\rho` (`PROPORTIONS`) and :math:`\lambda` (`NOISE`) by each site's own marginal likelihood, which needs no
    left-out images (Rasmussen & Williams 2006, section 5.4). The average stays linear. All arithmetic is float64.

    Parameters
    ----------
    population : Tensor of shape (N, K)
        Predictions of the known sites for the images, each over that site's SD.
    features : Tensor of shape (N, P)
    targets : Tensor of shape (N, U)
        Mean responses of the new sites; NaN = not recorded.
    folds : Tensor of shape (N,), int, optional
        Fold of every image, for `FewShotFit.left_out`; hyper-parameters are weighed again without each fold.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.

    Returns
    -------
    FewShotFit
    """
    bands = [population.double(), features.double()]
    y, w = check(bands, targets, folds, weights=weights)
    bands = [band - band.mean(0) for band in bands]
    kernels = torch.stack([band @ band.T for band in bands])  # (2, N, N)
    coefs = [y.new_empty(band.shape[1], y.shape[1]) for band in bands]
    intercept, proportion, alpha = y.new_empty(y.shape[1]), y.new_empty(y.shape[1]), y.new_empty(2, y.shape[1])
    left_out = torch.full_like(y, torch.nan)
    for columns, rows in patterns(y):
        recorded = torch.arange(len(y), device=y.device) if rows is None else rows
        part, own = kernels[:, recorded][:, :, recorded], y[recorded][:, columns]
        solved = _solve(part, own, w[recorded])
        for coef, band, dual in zip(coefs, bands, solved.dual, strict=True):
            coef[:, columns] = band[recorded].T @ dual
        intercept[columns], proportion[columns], alpha[:, columns] = solved.intercept, solved.proportion, solved.alpha
        if folds is not None:
            left_out[recorded[:, None], columns] = _left_out(part, own, w[recorded], folds=folds[recorded])
    for coef, x in zip(coefs, (population, features), strict=True):
        intercept -= x.double().mean(0) @ coef
    return FewShotFit(
        population=coefs[0],
        features=coefs[1],
        intercept=intercept,
        proportion=proportion,
        alpha=alpha,
        left_out=left_out,
    )


@dataclass(frozen=True)
class _Solved:
    """Functions sum_b k_b(x, .) dual_b + intercept, dual (2, n, U); proportion (U,) and alpha (2, U) as in
    `FewShotFit`.
    """

    dual: Tensor
    intercept: Tensor
    proportion: Tensor
    alpha: Tensor


def _solve(kernels: Tensor, y: Tensor, weights: Tensor) -> _Solved:
    """Posterior mean given two kernels (2, n, n), of responses (n, U), averaged over proportions and noise."""
    w = weights / weights.mean()
    root, share = w.sqrt(), w / w.sum()
    across = kernels @ share  # (2, n)
    centred = kernels - across[:, :, None] - across[:, None, :] + (across @ share)[:, None, None]
    centred = centred * torch.outer(root, root)
    size = centred.diagonal(dim1=1, dim2=2).mean(1)
    if not bool((size > 0).all()):
        raise ValueError(
            "the known sites, or the features, respond equally to all images: nothing to fit. Likely cause: one image "
            "many times. Fix: check that the images differ"
        )
    mean = share @ y
    z = (y - mean) * root[:, None]
    noise = torch.tensor(NOISE, dtype=y.dtype, device=y.device)
    spectra, evidence = [], []
    for rho in PROPORTIONS:
        values, vectors = torch.linalg.eigh(rho / size[0] * centred[0] + (1 - rho) / size[1] * centred[1])
        spectra.append((values.clamp_min(0), vectors, vectors.T @ z))
        evidence.append(_log_evidence(spectra[-1][0], spectra[-1][2], noise))
    posterior = torch.stack(evidence).flatten(0, 1).softmax(0).view(len(PROPORTIONS), len(NOISE), -1)  # (R, A, U)
    dual = torch.zeros(2, *y.shape, dtype=y.dtype, device=y.device)
    for rho, (values, vectors, along), weight in zip(PROPORTIONS, spectra, posterior, strict=True):
        shrink = (1 / (values[:, None] + noise)) @ weight  # (n, U)
        own = root[:, None] * (vectors @ (shrink * along))
        dual += torch.stack([rho / size[0] * own, (1 - rho) / size[1] * own])
    intercept = mean - (across.unsqueeze(1) @ dual).sum((0, 1))
    proportion = (posterior.sum(1) * y.new_tensor(PROPORTIONS)[:, None]).sum(0)
    mean_noise = (posterior.sum(0) * noise.log()[:, None]).sum(0).exp()
    share_of_population = proportion.clamp(1e-3, 1 - 1e-3)
    return _Solved(
        dual,
        intercept,
        proportion,
        mean_noise * size[:, None] / torch.stack([share_of_population, 1 - share_of_population]),
    )


def _log_evidence(values: Tensor, along: Tensor, noise: Tensor) -> Tensor:
    """Restricted log marginal likelihood (A, U) with the signal variance profiled out, up to a constant.

    `values` (n,) are those of the centred kernel: one of them is the intercept's, zero, and does not count.
    """
    total = values + noise[:, None]  # (A, n)
    squared = (1 / total) @ along.square()
    free = len(values) - 1
    log_determinant = total.log().sum(1) - noise.log()
    return -0.5 * (free * squared.clamp_min(torch.finfo(squared.dtype).tiny).log() + log_determinant[:, None])


def _left_out(kernels: Tensor, y: Tensor, weights: Tensor, *, folds: Tensor) -> Tensor:
    """Prediction (n, U) of every image by a fit without its fold."""
    out = torch.empty_like(y)
    for fold in torch.unique(folds).tolist():
        rest, own = torch.nonzero(folds != fold)[:, 0], torch.nonzero(folds == fold)[:, 0]
        solved = _solve(kernels[:, rest][:, :, rest], y[rest], weights[rest])
        out[own] = (kernels[:, own][:, :, rest] @ solved.dual).sum(0) + solved.intercept
    return out
