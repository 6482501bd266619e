"""What is expected of a site before the day: its responses to natural images and to a controller, and the trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from protocols.arrays import Floats
from protocols.project.objectives import OBJECTIVES
from protocols.stats.selectivity import selectivity_weights


@dataclass(frozen=True)
class Trials:
    """How often every image is shown and how the round is tested.

    `repeats` are presentations of the controller, `reference_repeats` of each reference (None: as many). `lost` is the
    share of presentations without a usable trial.
    """

    repeats: int = 24
    blocks: int = 4
    alpha: float = 0.01
    permutations: int = 9999
    lost: float = 0.0
    reference_repeats: int | None = None

    def __post_init__(self) -> None:
        if (
            not 1 <= self.blocks <= min(self.repeats, self.of_reference)
            or not 0 < self.alpha < 1
            or not 0 <= self.lost < 1
        ):
            raise ValueError(f"{self}; expected 1 <= blocks <= repeats, 0 < alpha < 1, 0 <= lost < 1")

    @property
    def of_reference(self) -> int:
        """Presentations of each reference."""
        return self.repeats if self.reference_repeats is None else self.reference_repeats


@dataclass(frozen=True)
class ExpectedSite:
    """What is expected of a site: the responses to its re-shown natural images and the noise of single trials.

    Parameters
    ----------
    references : array of shape (K,) or (K, D)
        Expected responses to the K re-shown images, of the site itself or of the D sites of the softmax (column
        `target` is the site).
    target : int
    blank : float
        Expected response of the site to the blank; gains are fractions of the evoked response.
    fano : float or array of shape (D,)
        Variance of single trials over their mean. Above 1 trials are negative-binomial, else normal.
    variance : float or array of shape (D,), optional
        Variance of single trials that does not grow with the mean (units without a zero); stands instead of `fano`.
    lowest : float, optional
        The lowest expected response that the unit allows; default: 0 with `fano`, none with `variance`.
    shared_gain : float
        SD of the log gain that all sites share from trial to trial, where `fano` leaves it out.
    natural_mean, natural_sd : float or array of shape (D,)
        Natural statistics of the D sites; with `variance`, gains are in natural SDs.
    temperature : float
        Of the one_hot softmax.
    weights : array of shape (D,), optional
        Of the other sites in the contrast that one_hot tests; default: from the expected means of references and
        controller, as an evaluation takes them from the sealed predictions.
    """

    references: ArrayLike
    target: int = 0
    blank: float = 0.0
    fano: ArrayLike = 1.0
    variance: ArrayLike | None = None
    shared_gain: float = 0.0
    natural_mean: ArrayLike = 0.0
    natural_sd: ArrayLike = 1.0
    temperature: float = 1.0
    weights: ArrayLike | None = None
    lowest: float | None = None

    @property
    def floor(self) -> float:
        """The lowest expected response."""
        return (0.0 if self.variance is None else -np.inf) if self.lowest is None else self.lowest

    @property
    def means(self) -> Floats:
        """Expected responses to the references, shape (K, D)."""
        means = np.asarray(self.references, dtype=float)
        return means if means.ndim == 2 else means[:, None]

    def scores(self, means: Floats, objective: str) -> Floats:
        """Score at the target of mean responses (..., D), shape (...)."""
        scale = (np.asarray(self.natural_mean), np.asarray(self.natural_sd))
        return OBJECTIVES[objective].site_scores(means, *scale, temperature=self.temperature)[..., self.target]

    def tested(self, values: Floats, weights: Floats) -> Floats:
        """The contrast of the target and the other sites in natural SDs of responses (..., D), shape (...)."""
        z = (values - np.asarray(self.natural_mean)) / np.asarray(self.natural_sd)
        return np.asarray(z[..., self.target] - z @ weights)

    def contrast_weights(self, images: Floats) -> Floats:
        """The weights (D,) of the contrast where `images` (N, D) are the expected responses."""
        if self.weights is not None:
            return np.asarray(self.weights, dtype=float)
        z = (images - np.asarray(self.natural_mean)) / np.asarray(self.natural_sd)
        return selectivity_weights(z, self.target, temperature=self.temperature)

    def only(self) -> ExpectedSite:
        """The site alone, without the others of the softmax."""
        if self.means.shape[1] == 1:
            return self
        k, width = self.target, self.means.shape[1]
        fields = ("fano", "natural_mean", "natural_sd", *(("variance",) if self.variance is not None else ()))
        alone = {name: float(np.broadcast_to(getattr(self, name), width)[k]) for name in fields}
        return replace(self, references=self.means[:, k], target=0, weights=None, **alone)

    def controller(self, gain: float, objective: str) -> Floats:
        """Expected responses (D,) to a controller: the best reference's, the site's own raised by `gain`.

        Where the objective drives a site low, it is lowered by `gain` natural SDs, to the floor of the unit at most.
        """
        level = self.scores(self.means, objective)
        raised: Floats = self.means[int(level.argmax())].copy()
        if OBJECTIVES[objective].below:
            lower = raised[self.target] - gain * float(np.broadcast_to(self.natural_sd, raised.shape)[self.target])
            raised[self.target] = max(lower, self.floor)
        elif self.variance is None:
            raised[self.target] += gain * (raised[self.target] - self.blank)
        else:
            raised[self.target] += gain * float(np.broadcast_to(self.natural_sd, raised.shape)[self.target])
        return raised
