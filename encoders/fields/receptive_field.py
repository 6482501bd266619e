"""Centre and size of receptive-field maps in degrees, and the overlap of two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats

from .gaussian import Gaussian, fit_gaussian

FWHM = float(2 * np.sqrt(2 * np.log(2)))  # of a Gaussian, in standard deviations


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of one site; all numbers NaN where `reason` is not empty.

    Parameters
    ----------
    x_deg, y_deg : float
        Centre, rightwards and upwards from the centre of the image.
    sd_x_deg, sd_y_deg : float
        Standard deviations along the horizontal and the vertical.
    sd_major_deg, sd_minor_deg : float
        Along the axes of the ellipse.
    orientation_deg : float
        Of the long axis, counter-clockwise from the horizontal, in [0, 180); arbitrary for a round field.
    within_2sd : float
        Fraction of the map above background inside the ellipse of 2 standard deviations; 0.865 for a Gaussian.
    inside_image : float
        Fraction of the fitted Gaussian that lies in the image; less than 1 where the field is cut by its edge.
    explained : float
        Squared correlation of the map with the Gaussian.
    reason : str
        Why there is no answer; "" where there is one.
    """

    x_deg: float
    y_deg: float
    sd_x_deg: float
    sd_y_deg: float
    sd_major_deg: float
    sd_minor_deg: float
    orientation_deg: float
    within_2sd: float
    inside_image: float
    explained: float
    reason: str = ""

    @property
    def fwhm_x_deg(self) -> float:
        """Full width at half maximum along the horizontal."""
        return FWHM * self.sd_x_deg

    @property
    def fwhm_y_deg(self) -> float:
        """Full width at half maximum along the vertical."""
        return FWHM * self.sd_y_deg

    @property
    def elongation(self) -> float:
        """Long over short axis, at least 1."""
        return self.sd_major_deg / self.sd_minor_deg


def fit_receptive_field(
    maps: ArrayLike, field_of_view_deg: float, *, minimum_explained: float = 0.1
) -> tuple[ReceptiveField, ...]:
    """Place and size of receptive fields: a two-dimensional Gaussian on a constant background, by least squares.

    The fit starts from the moments of the part above half the peak. Degrees are pixels times one factor.

    Parameters
    ----------
    maps : array of shape (U, H, W)
        From `gradient_map` or `mask_map`; row 0 is the top of the image.
    field_of_view_deg : float
        Width of the image.
    minimum_explained : float
        Smallest squared correlation of map and Gaussian; maps below it get no numbers.

    Returns
    -------
    tuple of U ReceptiveField
        NaN and a `reason` for a map that is flat, contains NaN, or has no bump in the image.
    """
    stack = np.asarray(maps, np.float64)
    if stack.ndim != 3 or min(stack.shape[1:], default=0) < 3 or not field_of_view_deg > 0:
        raise ValueError(
            f"maps of shape {stack.shape}, field of view {field_of_view_deg} deg; expected (U, H, W), at least 3 x 3 "
            "pixels, and positive degrees. Likely cause: a single map. Fix: maps[None]"
        )
    return tuple(_fit_one(one, field_of_view_deg / stack.shape[2], minimum_explained) for one in stack)


def overlap(maps: ArrayLike) -> Floats:
    """Overlap of receptive fields: O_kl = <|s_k|, |s_l|> / (||s_k|| ||s_l||), a cosine over pixels.

    Parameters
    ----------
    maps : array of shape (U, H, W)

    Returns
    -------
    array of shape (U, U)
        In [0, 1]: 0 = no common pixel, 1 = the same up to a factor; NaN for a map of zeros. A constant background
        counts as shared.
    """
    stack = np.abs(np.asarray(maps, np.float64))
    if stack.ndim != 3:
        raise ValueError(f"maps of shape {stack.shape}; expected (U, H, W). Fix: maps[None] for a single one")
    rows = stack.reshape(len(stack), -1)
    norm = np.sqrt((rows * rows).sum(1, keepdims=True))
    unit = np.divide(rows, norm, out=np.full_like(rows, np.nan), where=norm > 0)
    return np.asarray(np.minimum(unit @ unit.T, 1.0))


def _fit_one(one: Floats, degrees_per_pixel: float, minimum_explained: float) -> ReceptiveField:
    if not np.isfinite(one).all():
        return _unknown("the map holds values that are not finite")
    low, high = float(one.min()), float(one.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return _unknown("the map is flat")
    height, width = one.shape
    y, x = np.meshgrid(height / 2 - np.arange(height) - 0.5, np.arange(width) + 0.5 - width / 2, indexing="ij")
    z = (one - low) / (high - low)
    bump = fit_gaussian(z, x, y)
    outside = abs(bump.x) > width / 2 or abs(bump.y) > height / 2
    if bump.amplitude <= 0 or outside or bump.covariance.max() > max(height, width) ** 2:
        return _unknown(
            "no bump within the image: the fitted Gaussian is a dip, lies outside, or is wider than the image"
        )
    profile = bump(x, y)
    explained = float(np.corrcoef(profile.ravel(), z.ravel())[0, 1] ** 2) if profile.std() > 1e-12 else 0.0
    if explained < minimum_explained:
        return _unknown(f"a Gaussian explains {explained:.3f} of the map, less than {minimum_explained}")
    return _describe(bump, profile, z - bump.background, explained=explained, degrees=degrees_per_pixel)


def _describe(bump: Gaussian, profile: Floats, above: Floats, *, explained: float, degrees: float) -> ReceptiveField:
    values, vectors = np.linalg.eigh(bump.covariance)
    held = float(profile.sum() / (2 * np.pi * np.sqrt(np.linalg.det(bump.covariance))))
    return ReceptiveField(
        x_deg=bump.x * degrees,
        y_deg=bump.y * degrees,
        sd_x_deg=float(np.sqrt(bump.covariance[0, 0])) * degrees,
        sd_y_deg=float(np.sqrt(bump.covariance[1, 1])) * degrees,
        sd_major_deg=float(np.sqrt(values[1])) * degrees,
        sd_minor_deg=float(np.sqrt(values[0])) * degrees,
        orientation_deg=float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180),
        within_2sd=float(above[profile > np.exp(-2.0)].sum() / above.sum()),
        inside_image=min(held, 1.0),  # fields about a pixel wide: the sum over pixels exceeds the integral a little
        explained=explained,
    )


def _unknown(reason: str) -> ReceptiveField:
    nan = float("nan")
    return ReceptiveField(
        x_deg=nan,
        y_deg=nan,
        sd_x_deg=nan,
        sd_y_deg=nan,
        sd_major_deg=nan,
        sd_minor_deg=nan,
        orientation_deg=nan,
        within_2sd=nan,
        inside_image=nan,
        explained=nan,
        reason=reason,
    )
