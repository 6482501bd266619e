"""The trial table: what was recorded, trial by trial, joined on the image that was SHOWN."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats, Ints, row_blocks
from protocols.stats.trials import sums_per_image

from .units import UNITS

COLUMNS = ("block", "rep", "onset_s", "valid", "prev_image_ids", "averaged_over", "row")
"""What `Responses` holds of each trial, beside values, image and baseline."""


@dataclass(frozen=True)
class Responses:
    """Recorded responses (schema ``responses/1``).

    Parameters
    ----------
    values : array of shape (T, U), float64
        One row per trial, one column per site, in `unit`; NaN = missing.
    image_ids : array of shape (T,), str
        The image shown in each trial.
    site_ids : tuple of U str
    unit : str
        One of `UNITS`.
    window_ms : (t0, t1) relative to image onset, or None (only for beta).
    block, rep : arrays of shape (T,), int, or None
        Block of the trial list, and which presentation of this image over the whole round (0-based); -1 = unknown.
    onset_s : array of shape (T,) or None
    valid : array of shape (T,), bool, or None
        False = shown but not to be used (fixation break, dropped frame).
    prev_image_ids : array of shape (T,), str, or None
    baseline : array of shape (U,) or (T, U), or None
    averaged_over : array of shape (T,), int, or None
        Set where each row is an average over that many repeats (no single trials at hand): marked in every report.
    row : array of shape (T,), int, or None
        Which row of a file each trial is, where somebody follows it; never written.
    source_site_ids : tuple of U str
        The ids as the file had them.
    attributes : dict
        Remaining attributes of the file (session_id, subject, round, manifest_sha256, writer ...); ``notes``: what the
        reader decided, one sentence each; ``source_image_ids``: the name that the file had, by image id, where it had
        another one.
    """

    values: Floats
    image_ids: NDArray[np.str_]
    site_ids: tuple[str, ...]
    unit: str
    window_ms: tuple[float, float] | None = None
    block: Ints | None = None
    rep: Ints | None = None
    onset_s: Floats | None = None
    valid: NDArray[np.bool_] | None = None
    prev_image_ids: NDArray[np.str_] | None = None
    baseline: Floats | None = None
    averaged_over: Ints | None = None
    row: Ints | None = None
    source_site_ids: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        trials, sites = self.values.shape
        if len(self.image_ids) != trials or len(self.site_ids) != sites:
            raise ValueError(
                f"responses of shape {self.values.shape} with {len(self.image_ids)} image ids and "
                f"{len(self.site_ids)} site ids; expected (trials, sites) to match both"
            )
        if len(set(self.site_ids)) != sites:
            raise ValueError("site ids are not unique")
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r}; expected one of {', '.join(UNITS)}")
        for name in COLUMNS:
            column = getattr(self, name)
            if column is not None and len(column) != trials:
                raise ValueError(f"{name} has {len(column)} entries for {trials} trials")
        if not self.source_site_ids:
            object.__setattr__(self, "source_site_ids", self.site_ids)

    def select(self, rows: NDArray[np.bool_] | Ints) -> Responses:
        """The trials `rows` (mask or indices), all columns cut alike."""
        cut: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[rows] for name in COLUMNS
        }
        baseline = self.baseline
        if baseline is not None and baseline.ndim == 2:
            baseline = baseline[rows]
        return replace(self, values=self.values[rows], image_ids=self.image_ids[rows], baseline=baseline, **cut)

    def sites(self, site_ids: tuple[str, ...]) -> Responses:
        """The columns `site_ids`, in that order."""
        columns = [self.site_ids.index(s) for s in site_ids]
        baseline = None if self.baseline is None else self.baseline[..., columns]
        return replace(
            self,
            values=self.values[:, columns],
            site_ids=tuple(site_ids),
            source_site_ids=tuple(self.source_site_ids[c] for c in columns),
            baseline=baseline,
        )

    @property
    def averaged(self) -> bool:
        """Whether any row is an average over several trials."""
        return self.averaged_over is not None and bool((np.asarray(self.averaged_over) > 1).any())

    def usable(self) -> Responses:
        """Trials that are valid and have at least one finite value."""
        keep = np.ones(len(self.values), dtype=np.bool_) if self.valid is None else np.array(self.valid, dtype=np.bool_)
        for rows in row_blocks(*self.values.shape):
            keep[rows] &= np.isfinite(self.values[rows]).any(axis=1)
        return self if keep.all() else self.select(keep)

    def index(self, image_ids: list[str]) -> Ints:
        """Position of every trial's image in `image_ids`, -1 where it is not listed; shape (T,)."""
        position = {image: i for i, image in enumerate(image_ids)}
        return np.array([position.get(str(i), -1) for i in self.image_ids], dtype=np.int64)

    def mean(self, image_ids: list[str]) -> Floats:
        """Mean response to each image, shape (len(image_ids), U); NaN where nothing was recorded.

        Missing trials are left out; averages are weighted by their repeats.
        """
        sums, counts = self._sums(image_ids)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def repeats(self, image_ids: list[str]) -> Ints:
        """Finite trials behind `mean`, shape (len(image_ids), U)."""
        return self._sums(image_ids)[1].astype(np.int64)

    def _sums(self, image_ids: list[str]) -> tuple[Floats, Floats]:
        usable = self.usable()
        weights = None if usable.averaged_over is None else usable.averaged_over.astype(float)
        return sums_per_image(usable.values, usable.index(image_ids), len(image_ids), weights=weights)
