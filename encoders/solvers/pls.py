"""Partial least squares regression in kernel form, with a cross-validated number of components for every site.

All arithmetic is float64. The features enter only through their kernel (N, N), so that the cost does not grow with
their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.reliability import varies

from .member import MemberFit, Rows, SolverSettings
from .smoother import best_of, centre, centre_targets, check, gram, patterns


@dataclass(frozen=True)
class PLSFit:
    """A fitted partial least squares regression.

    Attributes
    ----------
    coef : Tensor of shape (P, U), float64
    intercept : Tensor of shape (U,), float64
    n_components : Tensor of shape (U,), int64
        The chosen number of components of every site.
    cv_r2 : Tensor of shape (A, U), float64
        Variance explained on left-out groups with 1, ..., A components.
    at_edge : Tensor of shape (U,), bool
        All components are used: more might be better.
    left_out : Tensor of shape (N, U), float64
        Prediction of every image, with the chosen number of components, by the fit without the image's fold; NaN where
        not recorded.
    """

    coef: Tensor
    intercept: Tensor
    n_components: Tensor
    cv_r2: Tensor
    at_edge: Tensor
    left_out: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Predictions for `features` of shape (N, P), float64, shape (N, U)."""
        return features.double() @ self.coef + self.intercept


def pls(
    features: Tensor,
    targets: Tensor,
    *,
    folds: Tensor,
    max_components: int = 25,
    weights: Tensor | None = None,
) -> PLSFit:
    """Partial least squares regression of all sites together (PLS2: Wold 1966; in kernel form, Rosipal & Trejo 2001).

    Every component is the direction of the features with the largest covariance with any combination of the sites.
    Sites with large variance dominate; scale the targets first unless that is intended. All sites share the components.
    Each site uses as many of them as give the smallest weighted squared error over left-out folds; each fold has its
    own fit and intercept.

    Parameters
    ----------
    features : Tensor of shape (N, P)
    targets : Tensor of shape (N, U)
        NaN = the site was not recorded with this image; only sites with one pattern of NaN share their components.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one.
    max_components : int
        The largest number of components, A; components past the rank of the features add nothing.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.

    Returns
    -------
    PLSFit
    """
    if max_components < 1:
        raise ValueError(f"max_components = {max_components}; expected at least 1")
    y, w = check([features], targets, folds, weights=weights)
    coef = y.new_empty(features.shape[1], y.shape[1])
    intercept, scores = y.new_empty(y.shape[1]), y.new_empty(max_components, y.shape[1])
    left_out = torch.full_like(y, torch.nan)
    for columns, rows in patterns(y):
        recorded = torch.arange(len(y), device=y.device) if rows is None else rows
        part, targets_ = centre(features, w, rows), y[recorded][:, columns]
        kernel = gram(part.x)
        kernel = kernel.tril() + kernel.tril(-1).mT
        centred, mean = centre_targets(targets_, part.root)
        scores[:, columns], left_out[recorded[:, None], columns] = _cross_validate(
            kernel / torch.outer(part.root, part.root),
            targets_,
            part.root.square(),
            folds=folds[recorded],
            number=max_components,
        )
        rotation, loading = components(kernel, centred, max_components)
        used = torch.arange(max_components, device=y.device)[:, None] <= best_of(scores[:, columns])
        weight = part.x.T @ (rotation @ (loading * used))
        coef[:, columns], intercept[columns] = weight, mean - part.mean @ weight
    number = best_of(scores) + 1
    return PLSFit(
        coef=coef,
        intercept=intercept,
        n_components=number,
        cv_r2=scores,
        at_edge=(number == max_components) & (max_components > 1),
        left_out=left_out,
    )


def solve(
    features: Mapping[str, Tensor], targets: Tensor, folds: Tensor, *, weights: Tensor | None, settings: SolverSettings
) -> MemberFit:
    """One linear readout of the standardised layers, by `pls` on responses scaled to unit SD; see `Solver`."""
    data = Rows.of(features)
    alive = torch.from_numpy(varies(targets.numpy()))
    scale = torch.where(alive, torch.from_numpy(np.nanstd(targets.numpy(), 0)), 1.0)
    fit = pls(torch.cat(data.rows, 1), targets / scale, folds=folds, weights=weights)
    no_penalty = torch.zeros_like(scale)
    readout = data.readout(fit.coef * scale, fit.intercept * scale, alpha=no_penalty, pool=settings.pool, solver="pls")
    return MemberFit(
        readouts=(readout,),
        left_out=fit.left_out * scale,
        cv_r2=fit.cv_r2.amax(0),
        strength=fit.n_components.double(),
        at_edge=fit.at_edge,
    )


def components(kernel: Tensor, y: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Rotation R (N, A) and loadings Q (A, U) of centred data: scores T = K R are orthonormal, and y_hat = T Q.

    The first a components are those of a fit with a components. Algorithm of Rosipal & Trejo (2001), with the leading
    eigenvector of Y^T K Y in place of a power iteration. Components past the rank of the kernel are zero.
    """
    deflated, rest = kernel.clone(), y.clone()
    t, u = y.new_zeros(len(y), number), y.new_zeros(len(y), number)
    limit = 1e-12 * float(kernel.diagonal().sum()) * float(y.square().sum())
    rank = 0
    for a in range(number):
        product = deflated @ rest
        values, vectors = torch.linalg.eigh(rest.T @ product)
        if float(values[-1]) <= limit:
            break
        score = product @ vectors[:, -1]
        score = score - t[:, :a] @ (t[:, :a].T @ score)  # again: rounding leaves a part along the earlier ones
        t[:, a], u[:, a] = score / score.norm(), rest @ vectors[:, -1] / score.norm()
        along = deflated @ t[:, a]
        deflated -= torch.outer(t[:, a], along) + torch.outer(along - (t[:, a] @ along) * t[:, a], t[:, a])
        rest -= torch.outer(t[:, a], t[:, a] @ rest)
        rank += 1
    rotation = torch.zeros_like(t)
    triangle = (t[:, :rank].T @ kernel @ u[:, :rank]).triu()  # of scores and start vectors: upper triangular
    rotation[:, :rank] = torch.linalg.solve_triangular(triangle, u[:, :rank], upper=True, left=False)
    return rotation, t.T @ y


def _cross_validate(kernel: Tensor, y: Tensor, w: Tensor, *, folds: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Scores (A, U) of 1 to A components, and predictions (N, U) at the best, from fits without each fold."""
    names = torch.unique(folds)
    if len(names) < 2:
        raise ValueError("all images lie in one fold; expected at least two folds")
    total = centre_targets(y, w.sqrt())[0].square().sum(0)
    total = torch.where(total > 0, total, torch.nan)  # a constant site has no variance to explain
    predictions = y.new_empty(number, *y.shape)
    for name in names:
        test, train = torch.nonzero(folds == name)[:, 0], torch.nonzero(folds != name)[:, 0]
        for a, predicted in enumerate(_predict(kernel, y, w, train=train, test=test, number=number)):
            predictions[a, test] = predicted
    scores = 1 - torch.einsum("n,anu->au", w, (predictions - y).square()) / total
    return scores, predictions.gather(0, best_of(scores).expand(1, *y.shape))[0]


def _predict(kernel: Tensor, y: Tensor, w: Tensor, *, train: Tensor, test: Tensor, number: int) -> Iterator[Tensor]:
    """Predictions of the images `test` by fits to the images `train` with 1, 2, ... components, each (n, U)."""
    share, root = w[train] / w[train].sum(), w[train].sqrt()
    inner, across = kernel[train][:, train], kernel[test][:, train]
    column = inner @ share
    inner = inner - column - column[:, None] + share @ column  # about the mean of `train`
    across = across - column - (across @ share)[:, None] + share @ column
    centred, mean = centre_targets(y[train], root)
    rotation, loading = components(inner * torch.outer(root, root), centred, number)
    scores, predicted = (across * root) @ rotation, mean.expand(len(test), -1)
    for a in range(number):
        predicted = predicted + torch.outer(scores[:, a], loading[a])
        yield predicted
