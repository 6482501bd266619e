"""Gain and offset of every site from new images, while the readouts stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .contract import Floats

GAIN_SD = 0.5  # of the prior about 1
OFFSET_SD = 0.5  # of the prior about 0, in natural SDs, at the natural mean
ROUNDING, TINY = 1e-12, 1e-300  # least noise and least prior, beside the responses and at all
MINIMUM_IMAGES = 4  # with fewer, gain and offset stay 1 and 0


@dataclass(frozen=True)
class Adjustment:
    """measured = gain * predicted + offset, for every site.

    Attributes
    ----------
    gain, offset : arrays of shape (U,)
        1 and 0 where there are too few images.
    images : int array of shape (U,)
        Number of images behind each estimate.
    """

    gain: Floats
    offset: Floats
    images: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"gain": self.gain.tolist(), "offset": self.offset.tolist(), "images": self.images.tolist()}


def fit_adjustment(
    predicted: ArrayLike,
    measured: ArrayLike,
    *,
    natural_mean: ArrayLike,
    natural_sd: ArrayLike,
    weights: ArrayLike | None = None,
) -> Adjustment:
    r"""Weighted least squares of measured on predicted responses; few or noisy images shrink the gain to 1, the offset
    to 0.

    With m and s the natural mean and SD of a site, minimises :math:`\sum_i w_i (y_i - m - g (p_i - m) - o)^2 / \sigma^2
    + (g - 1)^2 / 0.5^2 + (o / 0.5 s)^2`, the posterior mode for normal priors; :math:`\sigma^2` is the residual
    variance of the unshrunken fit, the weights have mean 1. A negative gain becomes 0.

    Parameters
    ----------
    predicted, measured : arrays of shape (N, U)
        Mean responses; NaN = not recorded.
    natural_mean, natural_sd : arrays of shape (U,)
    weights : array of shape (N,), optional
        Weight of every image, such as its number of trials; only ratios matter.

    Returns
    -------
    Adjustment
        Its offset is that of the equation without centring, m + o - g m.
    """
    p, y = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    m, s = np.asarray(natural_mean, np.float64), np.asarray(natural_sd, np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    if p.shape != y.shape or p.ndim != 2 or w.shape != (len(p),) or not {m.shape, s.shape} <= {(p.shape[1],)}:
        raise ValueError(
            f"predicted {p.shape}, measured {y.shape}, weights {w.shape}, natural {m.shape}, {s.shape}; expected (N, "
            "U), (N, U), (N,) and (U,)"
        )
    gain, offset, images = np.ones(p.shape[1]), np.zeros(p.shape[1]), np.zeros(p.shape[1], dtype=np.int64)
    for u in range(p.shape[1]):
        rows = np.isfinite(p[:, u]) & np.isfinite(y[:, u]) & (w > 0)
        images[u] = rows.sum()
        if images[u] >= MINIMUM_IMAGES and np.ptp(p[rows, u]) > 0:
            shift = _shrunken(p[rows, u] - m[u], y[rows, u] - m[u], w[rows] / w[rows].mean(), sd=float(s[u]))
            gain[u], offset[u] = shift[0], m[u] + shift[1] - shift[0] * m[u]
    return Adjustment(gain, offset, images)


def _shrunken(p: Floats, y: Floats, w: Floats, *, sd: float) -> tuple[float, float]:
    """Gain and offset of y on p, both about the natural mean."""
    design = np.stack([p, np.ones_like(p)], 1)
    root = np.sqrt(w)
    plain = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    residual = float((w * (y - design @ plain) ** 2).sum() / (len(p) - 2))
    noise = max(residual, 1e-6 * sd**2, ROUNDING * float(np.abs(y).max()) ** 2, TINY)
    prior = np.array([1 / GAIN_SD**2, 1 / max((OFFSET_SD * sd) ** 2, ROUNDING * noise)])
    precision = (design.T * w) @ design / noise + np.diag(prior)
    g, o = np.linalg.solve(precision, (design.T * w) @ y / noise + prior * [1, 0])
    if g < 0:
        g, o = 0.0, (w @ y / noise) / precision[1, 1]
    return float(g), float(o)
