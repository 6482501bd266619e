"""Shared parts of the closed-form regressions: checked input, centred features, Gram matrices, left-out residuals
without refits.

Arithmetic is float64, or float32 where `precision` allows it. Where a symmetric matrix is needed, only its lower
triangle is computed and read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 32  # images per block when centring; a block fits into the processor's cache
ROUNDING = 1e-12  # what varies by less than this share of its size is constant
BATCH = 2**22  # numbers in the largest temporary array of the search over penalties


@dataclass(frozen=True)
class Centred:
    """Weighted, centred features, float64 or float32.

    Attributes
    ----------
    x : Tensor of shape (N, P)
        Features less their weighted mean, times the root of the weights.
    mean : Tensor of shape (P,), float64
    root : Tensor of shape (N,), float64
        Root of the weights.
    """

    x: Tensor
    mean: Tensor
    root: Tensor


def centre(
    features: Tensor, weights: Tensor, rows: Tensor | None = None, *, dtype: torch.dtype = torch.float64
) -> Centred:
    """Weighted, centred copy of `features` (N, P), or of its `rows`; weights (N,) are divided by their mean.

    The mean is float64 and taken away in two parts where the copy's `dtype` is not: its rounding does not matter.
    """
    if rows is not None:
        features, weights = features[rows], weights[rows]
    w = weights.double() / weights.double().mean()
    root, mean = w.sqrt(), weighted_mean(features, w)
    x, high = torch.empty(features.shape, dtype=dtype, device=features.device), mean.to(dtype)
    low, factor = (mean - high).to(dtype), root.to(dtype)[:, None]
    for i in range(0, len(x), ROWS):
        block = torch.sub(features[i : i + ROWS], high, out=x[i : i + ROWS])
        if dtype != torch.float64:
            block.sub_(low)
        block.mul_(factor[i : i + ROWS])
    return Centred(x, mean, root)


def weighted_mean(features: Tensor, weights: Tensor) -> Tensor:
    """Mean of `features` (N, P) over images, float64, without a float64 copy of them; shape (P,)."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for i in range(0, len(features), ROWS):
        total += weights[i : i + ROWS] @ features[i : i + ROWS].double()
    return total / weights.sum()


def gram(x: Tensor) -> Tensor:
    """Gram matrix (..., N, N) of the rows of `x` (..., N, P), panel by panel; only its lower triangle is complete."""
    n = x.shape[-2]
    out = x.new_zeros(*x.shape[:-1], n)
    step = -(-n // min(5, 1 + n // 128))
    for i in range(0, n, step):
        out[..., i : i + step, : i + step] = x[..., i : i + step, :] @ x[..., : i + step, :].mT
    return out


@dataclass(frozen=True)
class Smoother:
    """Ridge fits at all penalties to one weighted, centred kernel.

    With K = U diag(s) U^T, the prediction at the penalty alpha is y_hat = U diag(s / (s + alpha)) U^T y.

    Attributes
    ----------
    left : Tensor of shape (N, K)
        Eigenvectors U of the kernel; K = N, or the rank of the features where they are fewer than the images.
    values : Tensor of shape (K,)
    y : Tensor of shape (N, U)
        Targets less their weighted mean, times the root of the weights.
    root : Tensor of shape (N,)
    """

    left: Tensor
    values: Tensor
    y: Tensor
    root: Tensor

    @classmethod
    def of_features(cls, x: Tensor, y: Tensor, root: Tensor) -> Smoother:
        """Smoother of weighted, centred features `x` (N, P), from x^T x where P <= N, else from x x^T."""
        if x.shape[1] > x.shape[0]:
            return cls.of_kernel(gram(x), y, root)
        values, right = torch.linalg.eigh(gram(x.T))
        keep = values > values.max() * 1e-14
        values = values[keep]
        return cls((x @ right[:, keep]).div_(values.sqrt()), values, y, root)

    @classmethod
    def of_kernel(cls, kernel: Tensor, y: Tensor, root: Tensor) -> Smoother:
        """Smoother of a weighted, centred kernel (N, N), of which the lower triangle is read."""
        values, left = torch.linalg.eigh(kernel)
        return cls(left, values.clamp_min_(0), y, root)

    def dual(self, alpha: Tensor, sites: Tensor | None = None) -> Tensor:
        """Dual coefficients (N, U) of all or some `sites` at the penalties `alpha` (U,); linear weights are x^T times
        these.
        """
        y = self.y if sites is None else self.y[:, sites]
        return self.left @ ((self.left.T @ y) / (self.values[:, None] + alpha.to(y)))

    def search(self, alphas: Tensor, folds: Tensor) -> tuple[Tensor, Tensor]:
        """Variance explained on left-out folds (A, U) at every penalty, NaN for a constant site, and residuals (N, U)
        at each site's best.

        The residuals of fold k are (I - H)_kk^-1 ((I - H) y)_k. With q the unit vector along `root`, the intercept's
        direction, and Z = (I - q q^T) U, I - H = (I - q q^T - U U^T) + Z diag(alpha / (s + alpha)) Z^T: a sum of
        positive semidefinite terms, so that nothing cancels at small penalties. Images are sorted by fold, which makes
        each fold's rows a view.
        """
        order = torch.argsort(folds, stable=True)
        ends = torch.bincount(torch.unique(folds, return_inverse=True)[1]).cumsum(0).tolist()
        if len(ends) < 2:
            raise ValueError("all images lie in one fold; expected at least two folds")
        n = len(self.y)
        held = [slice(i, j) for i, j in zip([0, *ends], ends, strict=False)]
        y, left, q = self.y[order], self.left[order], self.root[order] / self.root.norm()
        projected = left.T @ y
        complete = left.shape[1] == n
        rest = [
            (q.new_zeros(()),) * 2 if complete else _unreached(left[k], q[k], y[k], projected=projected) for k in held
        ]
        basis = (left - torch.outer(q, q @ left)).T  # (K, N)
        alphas = alphas.to(y)
        total = y.square().sum(0, dtype=torch.float64)
        total = torch.where(total > 0, total, torch.nan)  # a constant site has no variance to explain
        best, residual, scores = torch.full_like(total, -torch.inf), torch.zeros_like(y.T), []
        step = at_once(
            len(alphas), basis.numel() + projected.numel(), y.numel(), max(k.stop - k.start for k in held) ** 2
        )
        for chunk in (alphas[i : i + step] for i in range(0, len(alphas), step)):
            shrink = chunk[:, None] / (self.values + chunk[:, None])  # (A, K)
            left_out = _left_out(basis, shrink, projected, held=held, rest=rest)  # (A, U, N)
            scores.append(1 - left_out.square().sum(2, dtype=torch.float64) / total)
            score, a = scores[-1].nan_to_num(-torch.inf).max(0)
            better = torch.nonzero(score > best)[:, 0]
            residual[better] = left_out[a[better], better]
            best = torch.maximum(best, score)
        return torch.cat(scores), torch.empty_like(y).index_copy_(0, order, residual.T)


def at_once(n_alphas: int, *sizes: int) -> int:
    """Number of penalties searched together, so that arrays of `sizes` numbers per penalty have at most `BATCH` numbers
    if possible.
    """
    return min(n_alphas, max(1, BATCH // max(1, *sizes)))


def _left_out(
    basis: Tensor, shrink: Tensor, projected: Tensor, *, held: Sequence[slice], rest: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Left-out residuals (A, U, N) of A penalties, which leave `shrink` (A, K) of the directions `basis` (K, N).

    Images are the last axis: what is solved is then in the order in which the library reads and writes it.
    """
    out = (projected.T * shrink[:, None]) @ basis  # (A, U, N)
    half = basis * shrink.sqrt()[:, :, None]  # (A, K, N)
    for k, (matrix, right) in zip(held, rest, strict=True):
        part = out[:, :, k].mT
        out[:, :, k] = solve_positive(gram(half[:, :, k].mT).add_(matrix), part + right).mT
    return out


def _unreached(left: Tensor, q: Tensor, y: Tensor, *, projected: Tensor) -> tuple[Tensor, Tensor]:
    """A fold's part of I - q q^T - U U^T, (n, n), and of its product with y, (n, U): directions without penalty."""
    identity = torch.eye(len(q), dtype=y.dtype, device=y.device) - torch.outer(q, q)
    return identity - left @ left.T, y - left @ projected


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve positive definite systems (..., n, n), of which the lower triangle is read; by LU where Cholesky fails by
    rounding.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not bool(failed.any()):
        return torch.cholesky_solve(right, factor)
    solved: Tensor = torch.linalg.solve(matrix.tril() + matrix.tril(-1).mT, right)
    return solved


def patterns(y: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Groups of sites with one pattern of missing images: their columns, and the rows of their images (None = all)."""
    finite = torch.isfinite(y)
    if bool(finite.all()):
        yield torch.arange(y.shape[1], device=y.device), None
        return
    different, which = torch.unique(finite, dim=1, return_inverse=True)
    for p in range(different.shape[1]):
        yield torch.nonzero(which == p)[:, 0], torch.nonzero(different[:, p])[:, 0]


def centre_targets(targets: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Targets (N, U) less their weighted mean, times `root` (N,); and that mean (U,).

    Where a site varies by rounding alone, exact zeros.
    """
    mean = (root.square() @ targets) / root.square().sum()
    centred = targets - mean
    constant = centred.abs().amax(0) <= ROUNDING * targets.abs().amax(0)
    return torch.where(constant, 0.0, centred) * root[:, None], mean


def best_of(scores: Tensor) -> Tensor:
    """Position of the best score (A, U) of each site, (U,); the first where none is known."""
    return scores.nan_to_num(-torch.inf).argmax(0)


def check(
    bands: Sequence[Tensor], targets: Tensor, folds: Tensor | None, *, weights: Tensor | None, at_least: int = 2
) -> tuple[Tensor, Tensor]:
    """Targets (N, U) and weights (N,) as float64, checked."""
    n = len(targets)
    if targets.ndim != 2 or any(x.ndim != 2 or len(x) != n for x in bands):
        shapes = ", ".join(str(tuple(x.shape)) for x in bands)
        raise ValueError(f"features {shapes}, targets {tuple(targets.shape)}; expected (N, P), (N, U)")
    if folds is not None and tuple(folds.shape) != (n,):
        raise ValueError(f"targets {tuple(targets.shape)}, folds {tuple(folds.shape)}; expected (N, U), (N,)")
    w = torch.ones(n, dtype=torch.float64, device=targets.device) if weights is None else weights.double()
    if tuple(w.shape) != (n,) or not bool((w > 0).all() and torch.isfinite(w).all()):
        raise ValueError(
            "weights: expected one positive finite number per image; leave out images that were not recorded"
        )
    if not all(map(all_finite, bands)):
        raise ValueError("features hold NaN or infinity; check the images and the backbone")
    if bool((torch.isfinite(targets).sum(0) < at_least).any()):
        raise ValueError(f"a site has fewer than {('one', 'two')[at_least - 1]} recorded images; leave it out")
    return targets.double(), w


def all_finite(x: Tensor) -> bool:
    """Whether `x` holds no NaN and no infinity. A finite sum shows it in one pass; otherwise each number is checked."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
