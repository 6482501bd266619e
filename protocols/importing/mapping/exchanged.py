"""Whether two axes of an array were named in the wrong order, as far as its numbers tell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats

from .refusals import misfit

LEAST_IMAGES = 20
"""Images from which on the numbers are asked."""
TWICE, APART = 2.0, 0.05
"""Different sites of one repeat are more alike than repeats of one site: by this factor, and by this correlation."""
LEVELS, NOISE = 4.0, 0.1
"""Repeats differ more in their mean than sites do: by this factor in variance, and by this share of the variance over
images."""
SMOOTH, ROUGHER = 0.3, 3.0
"""Squared steps from one place to the next over those between any two: below, an axis is smooth. The other axis is less
so by this factor."""


def refuse_exchanged(values: NDArray[Any], where: str) -> None:
    """Refuse images x repeats x sites (x bins) whose missing numbers say that repeats and sites were exchanged.

    Repeats that an image lacks are missing at every site, at the end of the axis. Where instead the last "sites" of an
    image are missing in every "repeat", and another number of them for other images, the axes are named in the wrong
    order.

    Raises
    ------
    DataError
        A20
    """
    if values.dtype.kind != "f" or min(values.shape[1:3]) < 2:
        return
    missing = np.isnan(values).reshape(*values.shape[:3], -1).all(axis=-1)
    if not missing.any() or not (missing == missing[:, :1]).all():
        return
    each = missing[:, 0]
    if (np.diff(each.astype(np.int8), axis=1) >= 0).all() and len(np.unique(each.sum(axis=1))) > 1:
        raise misfit(
            where,
            f"for every image, the last of {values.shape[2]} sites without any number, and another number of them for "
            "other images",
            "missing repeats: numbers that are missing at every site",
            fix='exchange "site" and "repeat" in axes',
        )


class Alike(NamedTuple):
    """What numbers of images x repeats x sites say of their axes.

    repeats, sites : float
        Mean correlation over images of two repeats of one site, and of two sites in one repeat.
    repeat_levels, site_levels : float
        Variance of the means of repeats, and of sites.
    variance : float
        Over images, mean of all repeats and sites.
    """

    repeats: float
    sites: float
    repeat_levels: float
    site_levels: float
    variance: float

    @property
    def by_images(self) -> bool:
        """Whether sites of one repeat answer to images more alike than repeats of one site."""
        return self.sites > max(TWICE * self.repeats, self.repeats + APART)

    @property
    def by_levels(self) -> bool:
        """Whether repeats differ in their mean, and sites do not."""
        return self.repeat_levels > max(LEVELS * self.site_levels, NOISE * self.variance)


def alike(values: NDArray[Any]) -> Alike | None:
    """How alike repeats and sites are, of numbers of shape (images, repeats, sites); None: nothing can be said."""
    images, repeats, sites = values.shape
    if images < LEAST_IMAGES or min(repeats, sites) < 2:
        return None
    table = values.astype(np.float64)
    known = np.isfinite(table)
    number = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, table, 0).sum(axis=0) / number  # (R, U)
    centred = np.where(known, table - means, 0)
    power = (centred**2).sum(axis=0)
    varying = power > 1e-12 * max(float(power.max()), 1e-300)
    profiles = np.divide(centred, np.sqrt(power), out=np.zeros_like(centred), where=varying)
    if varying.sum() < 4:
        return None
    by_site, by_repeat = varying.sum(axis=0), varying.sum(axis=1)
    pairs = float((by_site * (by_site - 1)).sum()), float((by_repeat * (by_repeat - 1)).sum())
    if min(pairs) == 0:
        return None
    total = float(varying.sum())
    level = means - means.mean()
    return Alike(
        repeats=(float((profiles.sum(axis=1) ** 2).sum()) - total) / pairs[0],
        sites=(float((profiles.sum(axis=2) ** 2).sum()) - total) / pairs[1],
        repeat_levels=float(level.mean(axis=1).var(ddof=1)),
        site_levels=float(level.mean(axis=0).var(ddof=1)),
        variance=float((power / number).mean()),
    )


def check_repeats(values: NDArray[Any], where: str, *, sure: bool, notes: list[str]) -> None:
    """Refuse, or tell of, images x repeats x sites (x bins) that look as if repeats and sites were exchanged.

    Repeats of one site answer to images alike, and different sites less so; sites differ in their mean response, and
    repeats hardly. Where both are the other way round, the axes are named in the wrong order.

    Parameters
    ----------
    values : array of shape (I, R, U) or (I, R, U, B)
    where : str
    sure : bool
        The map says that the axes were checked: nothing is refused.
    notes : list of str

    Raises
    ------
    DataError
        A20
    """
    found = alike(values if values.ndim == 3 else np.asarray(np.nansum(values, axis=3, dtype=np.float64)))
    if found is None or not (found.by_images or found.by_levels):
        return
    told = (
        f"two of the {values.shape[2]} sites correlate over images by {found.sites:.2f} in one repeat, two of the "
        f"{values.shape[1]} repeats by {found.repeats:.2f} at one site; the means of the repeats vary by "
        f"{found.repeat_levels:.3g}, those of the sites by {found.site_levels:.3g}"
    )
    if found.by_images and found.by_levels and not sure:
        raise misfit(
            where,
            told,
            "repeats that are more alike than sites",
            fix='exchange "site" and "repeat" in axes; if they are right as they are, say axes_checked = true in '
            "[responses]",
        )
    notes.append(f"{where}: {told}: look whether site and repeat are exchanged in axes")


def roughness(table: Floats, axis: int) -> float:
    """Squared steps from one place to the next over those between any two places: about 1 without any order."""
    steps = np.diff(table, axis=axis)
    apart = 2 * table.var(axis=axis, ddof=1).sum()
    return float((steps**2).mean(axis=axis).sum() / apart) if apart > 0 else float("nan")


def tell_bins(means: Floats, where: str, notes: list[str]) -> None:
    """Tell where the mean response, (U, B), is smooth from site to site and not from bin to bin."""
    table = np.asarray(means, dtype=np.float64)
    table = table[np.isfinite(table).all(axis=1)]
    if min(table.shape) < 6:
        return
    by_site, by_bin = roughness(table, 0), roughness(table, 1)
    if by_site < SMOOTH < by_bin and by_bin > ROUGHER * by_site:
        notes.append(
            f"{where}: the mean response changes smoothly from site to site and jumps from one time bin to the next: "
            "look whether site and time are exchanged in axes"
        )
