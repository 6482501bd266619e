"""Least-squares fit of one two-dimensional Gaussian on a constant background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoders.contract import Floats


@dataclass(frozen=True)
class Gaussian:
    """``background + amplitude * exp(-Mahalanobis distance squared / 2)``; a call with places gives the exponential
    only.

    Parameters
    ----------
    background, amplitude : float
    x, y : float
        Centre.
    covariance : array of shape (2, 2)
        x before y.
    """

    background: float
    amplitude: float
    x: float
    y: float
    covariance: Floats

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """The profile at `x`, `y`, 1 at the centre."""
        d = np.stack([x - self.x, y - self.y])
        inverse = np.linalg.inv(self.covariance)
        return np.asarray(np.exp(-np.einsum("i...,ij,j...->...", d, inverse, d) / 2))


def fit_gaussian(z: Floats, x: Floats, y: Floats) -> Gaussian:
    """Fit values `z`, which must vary, with a range of about 1, at the places `x`, `y`; all have one shape.

    Levenberg-Marquardt over (background, amplitude, x, y, root of the inverse covariance), from the moments of the part
    above half the peak. The root is triangular with a positive diagonal, so that every step is an ellipse and a round
    field is not a special case.
    """
    from scipy.optimize import least_squares  # slow to import

    start = _moments(z, x, y)
    places, values = (x.ravel(), y.ravel()), z.ravel()

    def residuals(p: Floats) -> Floats:
        return _residuals(p, *places, z=values)

    def jacobian(p: Floats) -> Floats:
        return _jacobian(p, *places)

    p = least_squares(residuals, start, jacobian, method="lm", max_nfev=60).x
    root = np.array([[np.exp(p[4]), p[5]], [0.0, np.exp(p[6])]])
    inverse = np.linalg.inv(root)
    covariance = np.asarray(inverse @ inverse.T, np.float64)
    return Gaussian(background=float(p[0]), amplitude=float(p[1]), x=float(p[2]), y=float(p[3]), covariance=covariance)


def _moments(z: Floats, x: Floats, y: Floats) -> Floats:
    """Start of the fit: (background, amplitude, x, y, root of the inverse covariance) of what exceeds half the peak."""
    background = min(float(np.median(z)), float(z.min() + z.max()) / 2)  # half or more of the map may be high
    above = np.where(z > (background + z.max()) / 2, z - background, 0.0)
    total = above.sum()
    cx, cy = (above * x).sum() / total, (above * y).sum() / total
    # A Gaussian cut at half its height has 1 - ln 2 = 0.307 of its variance left; half a pixel is the least.
    spread = [max(((above * (a - c) ** 2).sum() / total) / (1 - np.log(2)), 0.25) for a, c in ((x, cx), (y, cy))]
    return np.array([background, z.max() - background, cx, cy, -np.log(spread[0]) / 2, 0.0, -np.log(spread[1]) / 2])


def _whitened(p: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    dx, dy = x - p[2], y - p[3]
    return np.exp(p[4]) * dx + p[5] * dy, np.exp(p[6]) * dy


def _residuals(p: Floats, x: Floats, y: Floats, *, z: Floats) -> Floats:
    u, v = _whitened(p, x, y)
    return np.asarray(p[0] + p[1] * np.exp(-(u * u + v * v) / 2) - z)


def _jacobian(p: Floats, x: Floats, y: Floats) -> Floats:
    u, v = _whitened(p, x, y)
    g = np.exp(-(u * u + v * v) / 2)
    a, c, slope = np.exp(p[4]), np.exp(p[6]), -p[1] * g
    return np.stack(
        [
            np.ones_like(g),
            g,
            -slope * u * a,
            -slope * (u * p[5] + v * c),
            slope * u * a * (x - p[2]),
            slope * u * (y - p[3]),
            slope * v * c * (y - p[3]),
        ],
        axis=1,
    )
