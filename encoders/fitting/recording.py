"""What an encoder is fitted to: images, responses, sites and display of one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.splits import Photographs, photographs

from .trials import Trials, read_trials


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Images that were shown, and the responses to them.

    Attributes
    ----------
    pixels : array of shape (N, H, W, C), uint8
        The images, C = 1 (grey) or 3.
    values : array of shape (T, U)
        Responses in `unit`, one row per trial and one column per site; NaN = missing.
    image_index : array of shape (T,), int
        Image of each trial; -1 = none of `pixels`.
    site_ids : sequence of U str
        Names of the sites, all different.
    unit : str
        Unit of `values`; the encoder predicts in it.
    field_of_view_deg : float
        Width of the images on the screen, in degrees of visual angle.
    background : int
        Pixel value around the images, 0 ... 255.
    colour : "grey" or "rgb"
        What the screen shows.
    groups : sequence of N, optional
        Group of each image. Images of one group (crops of one photograph, one object) never lie on two sides of a
        split. Pixel-identical images are one group in any case. Default: each image is a group, named by its pixels.
    coordinates : array of shape (U, d), optional
        Place of each site in the brain, for the readout "topographic".
    averages : bool
        The rows are averages over an unknown number of trials: the fit knows no reliability, and scores stay
        uncorrected.
    repeats : array of shape (T,), optional
        Trials behind each row of `values`, where rows are averages.
    held_out : array of shape (N,), bool, optional
        Images to hold out. Default: `FitOptions.holdout_fraction` of the groups. A group on both sides is an error.
    natural : array of shape (N,), bool, optional
        Images that define ``natural_mean`` and ``natural_sd`` of the encoder; only fitted ones count. Default: all.
    importance : array of shape (N,), optional
        Factor > 0 of each image's weight in the fit, beside its number of trials. Default: 1.
    added : array of shape (N,), int, optional
        For a fit that goes on from an earlier one: 0 for the images of the last fit from scratch, else the number of
        the refit that an image was added for. The images of the highest number decide where that fit stops.
    """

    pixels: NDArray[np.uint8]
    values: ArrayLike
    image_index: ArrayLike
    site_ids: Sequence[str]
    unit: str
    field_of_view_deg: float
    background: int
    colour: str
    groups: Sequence[object] | None = None
    coordinates: ArrayLike | None = None
    averages: bool = False
    repeats: ArrayLike | None = None
    held_out: NDArray[np.bool_] | None = None
    natural: NDArray[np.bool_] | None = None
    importance: ArrayLike | None = None
    added: ArrayLike | None = None

    def trials(self) -> Trials:
        """The trials of `pixels`, checked.

        Raises
        ------
        ValueError
            If shapes do not fit, site ids repeat, or a response is infinite.
        """
        return read_trials(self.pixels, self.values, self.image_index, repeats=self.repeats, site_ids=self.site_ids)

    def photographs(self, *, join: bool) -> Photographs:
        """Which images are one photograph; natural images alone are compared. See `encoders.splits.photographs`."""
        among = None if self.natural is None else np.asarray(self.natural, bool)
        return photographs(self.pixels, self.groups, among=among, join=join)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        height, width, channels = self.pixels.shape[1:]
        return channels, height, width
