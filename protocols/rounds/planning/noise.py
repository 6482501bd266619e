"""Trial noise and blank of the sites, as all recorded trials show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.key import Key
from protocols.recordings.dataset import Dataset
from protocols.recordings.units import UNITS
from protocols.stats.trials import trial_variance


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Trial noise and blank of the U sites, as all recorded trials show them.

    Attributes
    ----------
    fano : array of shape (U,), or None
        Variance of a trial over its mean, in units that count from zero.
    variance : array of shape (U,)
        Pooled variance of a trial about its image's mean; where no image has two trials, the natural variance.
    blank : array of shape (U,)
        Mean response to the blank; 0 where none was shown.
    lowest : float
        The lowest expected response that the unit allows (`protocols.recordings.units.Unit.lowest`).
    known : bool
        False where only averages were recorded: the variance is the natural one then.
    """

    fano: Floats | None
    variance: Floats
    blank: Floats
    lowest: float
    known: bool

    def of_trials(self) -> dict[str, Any]:
        """The arguments of `ExpectedSite`."""
        known = {"variance": self.variance} if self.fano is None else {"fano": self.fano}
        return {**known, "lowest": self.lowest}


def trial_noise(data: Dataset, sites: Key) -> tuple[Noise, list[str]]:
    """`Noise` of the sites of `sites`, and notes on what is missing."""
    columns = [data.site_ids.index(s) for s in sites.site_ids]
    natural_sd, unit = sites.natural_statistics()[1], UNITS[data.unit]
    if data.averaged_over is not None:
        note = "the baseline holds averages: without single trials their variance, hence power, is unknown"
        silent = np.zeros(len(columns))
        return Noise(fano=None, variance=natural_sd**2, blank=silent, lowest=unit.lowest, known=False), [note]
    shown = data.image_index < data.natural
    values, index = data.values[shown][:, columns], data.image_index[shown]
    variance, level = (np.nan_to_num(v) for v in trial_variance(values, index))
    blanks, notes = values[index < 0], list[str]()
    with np.errstate(invalid="ignore"):
        blank = np.nan_to_num(np.nanmean(blanks, axis=0)) if len(blanks) else np.zeros(len(columns))
    counted = unit.zero and bool((level > 0).all())
    if unit.zero and not counted:
        notes.append("a site's mean response is not above 0: gains are in natural SDs, not fractions")
    if counted and not len(blanks):
        notes.append("no blanks in the baseline: gains are fractions of the whole response")
    fano = variance / np.where(level > 0, level, 1.0) if counted else None
    variance = np.where(variance > 0, variance, natural_sd**2)
    return Noise(fano=fano, variance=variance, blank=blank, lowest=unit.lowest, known=True), notes
