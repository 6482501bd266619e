"""Ridge regression in closed form, one penalty a site chosen by cross-validation over whole groups of images.

One eigendecomposition serves every penalty, every fold and every site: what a fold's images would be predicted as by a fit without
them follows from the full fit's smoother (leave-group-out identity), so no fold is ever fitted. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
        Variance explained on left-out groups, for every penalty of `alphas`.
    alphas : Tensor of shape (A,), float64
    at_edge : Tensor of shape (U,), bool
        The chosen penalty is the smallest or the largest of `alphas`: a wider grid might serve better.
    """

    coef: Tensor
    intercept: Tensor
    alpha: Tensor
    cv_r2: Tensor
    alphas: Tensor
    at_edge: Tensor

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
    r"""Ridge regression with an unpenalised intercept, one penalty a site.

    Minimises :math:`\sum_i w_i (y_{iu} - x_i b_u - c_u)^2 + \alpha_u \|b_u\|^2` for every site u (Hoerl & Kennard 1970), in the
    primal (P <= N) or the dual. The penalty is the one of `alphas` with the smallest weighted squared error over left-out folds;
    these residuals are :math:`(I - H_{kk})^{-1} (y - \hat y)_k` (the leave-one-out identity of Allen 1974, for groups), exact
    for fits without fold k that have their own intercept.

    Parameters
    ----------
    features : Tensor of shape (N, P)
    targets : Tensor of shape (N, U)
        NaN = the site was not recorded with this image; sites with one pattern of NaN are fitted together.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one.
    alphas : sequence of A floats, optional
        Penalties to choose from. Default: 15 values from 1e-4 to 1e3 times the mean diagonal of the weighted, centred kernel,
        which makes the choice independent of the scale and the number of features.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.

    Returns
    -------
    RidgeFit
    """
    x, y, w = _check(features, targets, folds, weights)
    grid = relative_alphas(x, w) if alphas is None else torch.as_tensor(alphas, dtype=torch.float64, device=x.device)
    if grid.ndim != 1 or not len(grid) or not bool((grid > 0).all()):
        raise ValueError(f"alphas of shape {tuple(grid.shape)}; expected at least one penalty, all positive")
    coef = x.new_zeros(x.shape[1], y.shape[1])
    intercept, chosen, scores = x.new_zeros(y.shape[1]), x.new_zeros(y.shape[1]), x.new_zeros(len(grid), y.shape[1])
    for columns, rows in _patterns(y):
        part = _Smoother(x[rows], y[rows][:, columns], w[rows])
        scores[:, columns] = part.cv_r2(grid, folds[rows])
        chosen[columns] = grid[scores[:, columns].argmax(0)]
        coef[:, columns], intercept[columns] = part.solve(chosen[columns])
    edge = (
        (chosen == grid.min()) | (chosen == grid.max()) if len(grid) > 1 else torch.zeros_like(chosen, dtype=torch.bool)
    )
    return RidgeFit(coef, intercept, chosen, scores, grid, edge)


def relative_alphas(features: Tensor, weights: Tensor, relative: Sequence[float] = RELATIVE_ALPHAS) -> Tensor:
    """`relative` times the mean diagonal of the weighted, centred kernel of `features` (N, P); shape (A,)."""
    w = weights.double() / weights.double().mean()
    x = features.double()
    centred = x - (w @ x) / w.sum()
    diagonal = float((w * centred.square().sum(1)).mean())
    if diagonal == 0:
        raise ValueError("all images have the same features: nothing to fit; check that the images differ")
    return torch.tensor(relative, dtype=torch.float64, device=features.device) * diagonal


def group_folds(groups: Sequence[object], n_folds: int, *, seed: int = 0) -> Tensor:
    """Fold of every image, whole groups to one fold, fold sizes as equal as the groups allow; shape (N,), int64.

    Groups are dealt out in a random order, each to the fold that is smallest so far, the largest groups first.
    """
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(str(group), []).append(i)
    if n_folds < 2 or len(members) < n_folds:
        raise ValueError(
            f"{len(members)} groups of images for {n_folds} folds; expected at least 2 folds and a group for each. "
            "Fix: record more images, or ask for fewer folds"
        )
    names = sorted(members)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    order.sort(key=lambda k: -len(members[names[k]]))
    sizes, folds = [0] * n_folds, torch.zeros(sum(map(len, members.values())), dtype=torch.int64)
    for k in order:
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[names[k]])
        folds[members[names[k]]] = fold
    return folds


class _Smoother:
    """The linear smoother of one design, diagonal in the eigenvectors of the weighted, centred kernel or covariance."""

    def __init__(self, x: Tensor, y: Tensor, w: Tensor) -> None:
        w = w / w.mean()
        self.root = w.sqrt()[:, None]  # (N, 1)
        self.x_mean, self.y_mean = (w @ x) / w.sum(), (w @ y) / w.sum()
        self.x = (x - self.x_mean) * self.root  # (N, P)
        self.y = (y - self.y_mean) * self.root  # (N, U)
        self.dual = x.shape[1] > x.shape[0]
        if self.dual:
            values, self.left = torch.linalg.eigh(self.x @ self.x.T)
            self.values = values.clamp_min(0)  # (N,)
        else:
            values, self.right = torch.linalg.eigh(self.x.T @ self.x)
            keep = values > values.max() * 1e-14
            self.values, self.right = values[keep], self.right[:, keep]
            self.left = self.x @ self.right / self.values.sqrt()  # (N, K)
        self.projected = self.left.T @ self.y  # (K, U)

    def solve(self, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (P, U) and intercepts (U,) at the penalties `alpha` (U,)."""
        if self.dual:
            coef = self.x.T @ (self.left @ (self.projected / (self.values[:, None] + alpha)))
        else:
            coef = self.right @ (self.projected * self.values.sqrt()[:, None] / (self.values[:, None] + alpha))
        return coef, self.y_mean - self.x_mean @ coef

    def cv_r2(self, alphas: Tensor, folds: Tensor) -> Tensor:
        """1 - squared error of left-out folds / total sum of squares, shape (A, U)."""
        total = self.y.square().sum(0).clamp_min(torch.finfo(torch.float64).tiny)
        held = [torch.nonzero(folds == k)[:, 0] for k in torch.unique(folds)]
        if len(held) < 2:
            raise ValueError("all images lie in one fold; expected at least two folds")
        error = torch.stack([sum((self._left_out(a, k).square().sum(0) for k in held), total * 0) for a in alphas])
        return 1 - error / total

    def _left_out(self, alpha: Tensor, k: Tensor) -> Tensor:
        """Weighted residuals of the images `k` under the fit without them, shape (len(k), U)."""
        shrink = self.values / (self.values + alpha)  # (K,)
        left = self.left[k]
        residual = self.y[k] - left @ (shrink[:, None] * self.projected)
        smoother = (left * shrink) @ left.T + self.root[k] @ self.root[k].T / self.root.square().sum()
        identity = torch.eye(len(k), dtype=left.dtype, device=left.device)
        solved: Tensor = torch.linalg.solve(identity - smoother, residual)
        return solved


def _patterns(y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Sites (columns) that share a pattern of missing images, and the images (rows) that they have."""
    finite = torch.isfinite(y)
    patterns, which = torch.unique(finite, dim=1, return_inverse=True)
    for p in range(patterns.shape[1]):
        yield torch.nonzero(which == p)[:, 0], torch.nonzero(patterns[:, p])[:, 0]


def _check(features: Tensor, targets: Tensor, folds: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    n = len(features)
    if features.ndim != 2 or targets.ndim != 2 or len(targets) != n or tuple(folds.shape) != (n,):
        raise ValueError(
            f"features {tuple(features.shape)}, targets {tuple(targets.shape)}, folds {tuple(folds.shape)}; "
            "expected (N, P), (N, U), (N,)"
        )
    w = torch.ones(n, dtype=torch.float64, device=features.device) if weights is None else weights.double()
    if tuple(w.shape) != (n,) or not bool((w > 0).all() and torch.isfinite(w).all()):
        raise ValueError(
            "weights: expected one positive finite number an image; leave out images that were not recorded"
        )
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold NaN or infinity; check the images and the backbone")
    if bool((torch.isfinite(targets).sum(0) < 2).any()):
        raise ValueError("a site has fewer than two recorded images; leave it out")
    return features.double(), targets.double(), w
