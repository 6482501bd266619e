"""Posterior variance of ridge predictions, and ridge fits from running sums that need no earlier images.

All arithmetic is float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .smoother import centre, centre_targets, check, gram

STATISTICS_LIMIT = 2 * 2**30  # bytes


def predictive_variance(
    features_train: Tensor, weights: Tensor | None, alpha: Tensor, *, residual_variance: Tensor, features_new: Tensor
) -> Tensor:
    r"""Posterior variance of a ridge prediction (not of a response: without the noise of a single trial).

    :math:`\sigma_u^2 z^T (Z^T W Z + \alpha_u D)^{-1} z` with Z the features and a column of ones, and D the identity
    but for the unpenalised intercept: Bayesian linear regression with noise variance :math:`\sigma_u^2` (MacKay 1992),
    which is the Laplace approximation of a network's last layer. One eigendecomposition, of the smaller of (N, N) and
    (P, P), serves all sites.

    Parameters
    ----------
    features_train : Tensor of shape (N, P)
    weights : Tensor of shape (N,) or None
        Weights of the images in the fit; only ratios matter, as in `ridge`.
    alpha : Tensor of shape (U,)
        Penalty of every site.
    residual_variance : Tensor of shape (U,)
        Noise variance of an image of mean weight, in squared units of the targets.
    features_new : Tensor of shape (M, P)

    Returns
    -------
    Tensor of shape (M, U), float64, in squared units of the targets
    """
    _, w = check([features_train], features_train.new_zeros(len(features_train), 1), None, weights=weights)
    if features_new.ndim != 2 or features_new.shape[1] != features_train.shape[1]:
        raise ValueError(f"new features {tuple(features_new.shape)}; expected (M, {features_train.shape[1]})")
    if alpha.ndim != 1 or alpha.shape != residual_variance.shape or not bool((alpha > 0).all()):
        raise ValueError(
            f"alpha {tuple(alpha.shape)}, residual variance {tuple(residual_variance.shape)}; expected (U,) both, "
            "alpha > 0"
        )
    part = centre(features_train, w)
    new = features_new.double() - part.mean
    if new.shape[1] > len(part.x):
        values, left = torch.linalg.eigh(gram(part.x))
        keep = values > values.max() * 1e-13
        values = values[keep]
        along = (new @ part.x.T) @ left[:, keep] / values.sqrt()  # (M, K)
        beyond = (new.square().sum(1) - along.square().sum(1)).clamp_min(0)  # orthogonal to all training images
    else:
        values, right = torch.linalg.eigh(gram(part.x.T))
        values, along, beyond = values.clamp_min(0), new @ right, new.new_zeros(len(new))
    variance = along.square() @ (1 / (values[:, None] + alpha)) + beyond[:, None] / alpha
    total: Tensor = (variance + 1 / len(part.x)) * residual_variance.double()
    return total


@dataclass
class RidgeStatistics:
    """Sufficient statistics of ridge regression: add images, merge two statistics, solve at any penalty.

    Means and sums of products about them are updated together (Chan, Golub & LeVeque 1983), which stays accurate where
    raw sums lose digits. Memory: 8 (P^2 + P U) bytes, at most `limit`; solving needs three times as much in addition.

    Attributes
    ----------
    n_features, n_sites : int
        P and U.
    limit : int
        Largest size of the statistics, bytes.
    n_images : int
    weight : float
        Sum of the weights.
    x_mean : Tensor of shape (P,), float64
    y_mean : Tensor of shape (U,), float64
    xx : Tensor of shape (P, P), float64
        Weighted products of the features about their mean; the lower triangle counts.
    xy : Tensor of shape (P, U), float64
    """

    n_features: int
    n_sites: int
    limit: int = STATISTICS_LIMIT
    n_images: int = field(default=0, init=False)
    weight: float = field(default=0.0, init=False)
    x_mean: Tensor = field(init=False, repr=False)
    y_mean: Tensor = field(init=False, repr=False)
    xx: Tensor = field(init=False, repr=False)
    xy: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        p, u = self.n_features, self.n_sites
        needed = 8 * (p * p + p * u)
        if needed > self.limit:
            raise ValueError(
                f"statistics of {p} features and {u} sites take {needed} bytes, more than the limit of {self.limit}. "
                "Fix: fewer features (pool or project them), or a larger limit"
            )
        self.x_mean, self.y_mean = torch.zeros(p, dtype=torch.float64), torch.zeros(u, dtype=torch.float64)
        self.xx, self.xy = torch.zeros(p, p, dtype=torch.float64), torch.zeros(p, u, dtype=torch.float64)

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add images: `features` (N, P), `targets` (N, U) without NaN, `weights` (N,); here the absolute size of
        weights counts.
        """
        if targets.ndim != 2 or targets.shape[1] != self.n_sites or features.shape[1:] != (self.n_features,):
            raise ValueError(
                f"features {tuple(features.shape)}, targets {tuple(targets.shape)}; "
                f"expected (N, {self.n_features}), (N, {self.n_sites})"
            )
        if not bool(torch.isfinite(targets).all()):
            raise ValueError("targets hold NaN: sites without an image need statistics of their own")
        y, w = check([features], targets, None, weights=weights, at_least=1)
        part = centre(features, w)
        centred, y_mean = centre_targets(y, part.root)
        mean = float(w.mean())
        self._absorb(
            len(y), float(w.sum()), part.mean, y_mean=y_mean, xx=mean * gram(part.x.T), xy=mean * (part.x.T @ centred)
        )

    def merge(self, other: RidgeStatistics) -> RidgeStatistics:
        """Statistics of the images of both; neither is changed."""
        if (self.n_features, self.n_sites) != (other.n_features, other.n_sites):
            raise ValueError(
                f"statistics of {self.n_features} features and {self.n_sites} sites with others of {other.n_features} "
                f"and {other.n_sites}; expected the same"
            )
        both = RidgeStatistics(self.n_features, self.n_sites, max(self.limit, other.limit))
        for one in (self, other):
            both._absorb(one.n_images, one.weight, one.x_mean, y_mean=one.y_mean, xx=one.xx, xy=one.xy)
        return both

    def solve(self, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (P, U) and intercepts (U,) of `ridge` on all images at the penalties `alpha`, one or (U,)."""
        penalty = torch.as_tensor(alpha, dtype=torch.float64)
        if self.n_images < 2 or penalty.shape not in ((), (self.n_sites,)) or not bool((penalty > 0).all()):
            raise ValueError(
                f"{self.n_images} images, alpha of shape {tuple(penalty.shape)}; expected at least two images and one "
                f"positive penalty, or {self.n_sites}"
            )
        unit = self.weight / self.n_images  # as if the weights had the mean one
        values, vectors = torch.linalg.eigh(self.xx / unit)
        coef = vectors @ (vectors.T @ (self.xy / unit) / (values.clamp_min(0)[:, None] + penalty))
        return coef, self.y_mean - self.x_mean @ coef

    def _absorb(self, n: int, weight: float, x_mean: Tensor, *, y_mean: Tensor, xx: Tensor, xy: Tensor) -> None:
        if n == 0:
            return
        total = self.weight + weight
        x_step, y_step, between = x_mean - self.x_mean, y_mean - self.y_mean, self.weight * weight / total
        self.xx += xx
        self.xx.addr_(x_step, x_step, alpha=between)
        self.xy += xy
        self.xy.addr_(x_step, y_step, alpha=between)
        self.x_mean = self.x_mean + x_step * (weight / total)
        self.y_mean = self.y_mean + y_step * (weight / total)
        self.n_images, self.weight = self.n_images + n, total
