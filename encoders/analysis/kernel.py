"""Kernel analysis: how well labels can be read from a representation, by complexity of the readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats
from encoders.metrics import MINIMUM_IMAGES

Kernel = Literal["gaussian", "linear"]
Along = Literal["regularisation", "dimension"]
Loss = Literal["leave_one_out", "training"]
LAMBDAS = tuple(float(x) for x in np.logspace(4, -4, 33))  # from the simplest function to the most complex


@dataclass(frozen=True)
class KernelAnalysis:
    """Curve of a kernel analysis.

    Parameters
    ----------
    complexity : array of shape (K,)
        1 / lambda, or the number of kernel principal components.
    precision : array of shape (K,)
        1 - loss, the loss of the labels' mean being 1: 1 is perfect, 0 no better than the mean, below 0 worse.
    area : float
        KA-AUC: mean of `precision` over the K points. Comparable only between curves over the same points.
    quantile : array of shape (K,)
        Distance quantile whose kernel width served best at that point; NaN for the linear kernel.
    """

    complexity: Floats
    precision: Floats
    area: float
    quantile: Floats


def kernel_analysis(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    along: Along = "regularisation",
    loss: Loss = "leave_one_out",
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    lambdas: Sequence[float] = LAMBDAS,
    n_dimensions: int | None = None,
) -> KernelAnalysis:
    """Precision against complexity of regularised least squares on a representation, and the area under that curve.

    ``along="regularisation"``: kernel ridge regression with a free intercept for every lambda, the kernel scaled to a
    mean diagonal of 1 after centring; with the leave-one-out loss this is the extended kernel analysis of Cadieu et al.
    2014. ``along="dimension"``: least squares on the leading d kernel principal components (Montavon, Braun & Müller
    2011); with ``loss="training"`` and ``n_dimensions=N`` this is the KA-AUC of Cadieu et al. 2013. Leave-one-out
    refits only the weights: the components stay those of all images (they hold no labels), as do the scale and width of
    the kernel. At every complexity the kernel width with the smallest loss counts; this choice among few favours all
    representations equally.

    Parameters
    ----------
    features : array of shape (N, P)
        One row per image: encoder features, or mean responses of the recorded sites. Columns with a large variance
        weigh most; scale them first unless that is intended.
    labels : array of shape (N,) or (N, K)
        Classes (integers, booleans or strings: one column of -1 or 1 per class), or floats, which are predicted as they
        are.
    kernel : "gaussian" or "linear"
        exp(-d^2 / s^2), or the inner product.
    along, loss : see above
    quantiles : sequence of floats in (0, 1]
        s^2 is this quantile of the squared distances between images.
    lambdas : sequence of K positive floats
        From simple to complex, evenly spaced on a log scale, so that the area is taken over log complexity.
    n_dimensions : int, optional
        Largest d. Default: N // 2; near N - 1 components the leave-one-out loss grows without limit.

    Returns
    -------
    KernelAnalysis

    Raises
    ------
    ValueError
        For wrong shapes, values that are not finite, or labels or features that do not vary.
    """
    x, y = _checked(features, labels)
    n = len(x)
    if n_dimensions is None:
        n_dimensions = n // 2
    if (
        kernel not in ("gaussian", "linear")
        or along not in ("regularisation", "dimension")
        or loss not in ("leave_one_out", "training")
    ):
        raise ValueError(
            f"kernel {kernel!r}, along {along!r}, loss {loss!r}; expected gaussian or linear, regularisation or "
            "dimension, leave_one_out or training"
        )
    limit = n - 2 if loss == "leave_one_out" else n
    if (
        min(lambdas, default=0.0) <= 0
        or not 1 <= n_dimensions <= limit
        or not quantiles
        or not all(0 < q <= 1 for q in quantiles)
    ):
        raise ValueError(
            f"lambdas {list(lambdas)[:3]} ..., {n_dimensions} dimensions, quantiles {list(quantiles)}; expected "
            f"positive lambdas, 1 ... {limit} dimensions for {n} images, quantiles in (0, 1]"
        )
    complexity = 1 / np.asarray(lambdas, np.float64) if along == "regularisation" else np.arange(n_dimensions + 1.0)
    widths = tuple(quantiles) if kernel == "gaussian" else (float("nan"),)
    losses = np.stack([_losses(_centred_eigen(x, q), y, complexity, along=along, loss=loss) for q in widths])  # (Q, K)
    best = losses.argmin(0)
    precision = 1 - losses.min(0)
    return KernelAnalysis(complexity, precision, float(precision.mean()), np.array(widths)[best])


def _checked(features: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Features (N, P), and targets (N, C) centred and scaled to a mean square of 1."""
    x, given = np.asarray(features, np.float64), np.asarray(labels)
    if (
        x.ndim != 2
        or given.ndim not in (1, 2)
        or len(given) != len(x)
        or len(x) < MINIMUM_IMAGES
        or not np.isfinite(x).all()
    ):
        raise ValueError(
            f"features {x.shape}, labels {given.shape}; expected finite (N, P) and (N,) or (N, K), N at least "
            f"{MINIMUM_IMAGES}. Likely cause: missing responses (NaN), or feature maps not flattened. Fix: leave "
            "incomplete images or sites out"
        )
    if np.issubdtype(given.dtype, np.floating):
        y = np.asarray(given, np.float64).reshape(len(given), -1)
    elif given.ndim == 1:
        y = np.where(given[:, None] == np.unique(given), 1.0, -1.0)
    else:
        raise ValueError(f"labels {given.shape} of {given.dtype}; expected (N,) classes, or floats to be predicted")
    y = y - y.mean(0)
    spread = np.sqrt((y * y).mean())
    if not np.isfinite(spread) or spread <= 0 or (x == x[0]).all():
        raise ValueError(
            "labels or features do not vary, or labels are not finite; expected at least two classes and two patterns"
        )
    return x, y / spread


def _centred_eigen(x: Floats, quantile: float) -> tuple[Floats, Floats]:
    """Eigenvalues (R,), largest first, and eigenvectors (N, R) of the centred kernel with a mean diagonal of 1."""
    if np.isnan(quantile):
        k = (x - x.mean(0)) @ (x - x.mean(0)).T
    else:
        from scipy.spatial.distance import pdist, squareform  # slow to import

        squared = pdist(x, "sqeuclidean")
        width = np.quantile(squared, quantile)
        if width <= 0:
            raise ValueError(
                f"the {quantile} quantile of the distances between images is 0. Likely cause: many images with one and "
                "the same pattern. Fix: leave duplicates out, or raise the quantile"
            )
        k = np.exp(-squareform(squared) / width)
        k = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    values, vectors = np.linalg.eigh(k)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-10 * values[0]
    return values[kept] * len(x) / values[kept].sum(), vectors[:, kept]


def _losses(eigen: tuple[Floats, Floats], y: Floats, complexity: Floats, *, along: str, loss: str) -> Floats:
    """Mean squared error for every complexity (K,), that of the labels' mean being 1.

    The smoother is H = 1 1' / N + V F V' with F diagonal, and the error of a refit without image i is residual_i / (1 -
    H_ii).
    """
    values, vectors = eigen
    n = len(y)
    weights, squares = vectors.T @ y, vectors**2  # (R, C), (N, R)
    result = np.empty(len(complexity))
    for k, c in enumerate(complexity):
        factors = (
            values / (values + 1 / c) if along == "regularisation" else (np.arange(len(values)) < c).astype(np.float64)
        )
        residual = y - vectors @ (factors[:, None] * weights)
        if loss == "leave_one_out":
            left = (1 - 1 / n - squares @ factors)[:, None]  # 0: the other images determine only the mean here
            determined = left > 1e-10
            residual = (1 - 1 / n) * np.where(determined, residual, y) / np.where(determined, left, 1 - 1 / n)
        result[k] = (residual**2).mean()
    return result
