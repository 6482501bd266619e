"""How a site is scored in a round, and what all tests of an evaluation share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.project.key import Key
from protocols.recordings.trial_table import TrialTable
from protocols.stats.permutation import (
    PermutationResult,
    Pool,
    Statistic,
    log_share,
    log_softmax_difference,
    mean_difference,
    permutation_test,
)


class Exclusion(Exception):
    """Why a controller cannot be evaluated; becomes the row's reason."""


@dataclass(frozen=True)
class NaturalScale:
    """The sites of the softmax with the natural mean and SD that standardise them, each of shape (D,)."""

    site_ids: tuple[str, ...]
    mean: Floats
    sd: Floats


@dataclass(frozen=True)
class Setting:
    """All that the tests of one evaluation share."""

    table: TrialTable
    key: Key
    scale: NaturalScale
    unit: str
    alpha: float
    permutations: int
    seed: int
    temperature: float
    excluded: Mapping[str, str] = field(default_factory=dict)

    def test(self, pool: Pool, *, secondary: bool = False) -> PermutationResult:
        """The test on `pool`; a secondary one stops at 20 / alpha permutations."""
        enough = max(999, math.ceil(20 / self.alpha)) if secondary else self.permutations
        permutations = min(self.permutations, enough)
        return permutation_test(
            pool.values, pool.strata, statistic=pool.statistic, permutations=permutations, seed=self.seed
        )


@dataclass(frozen=True)
class Score:
    """How one objective scores one site.

    Attributes
    ----------
    values : array of shape (T, D)
        What is averaged over trials.
    usable : bool array of shape (T,)
        Trials that have all of them.
    level : callable
        Score of mean values (D,).
    statistic : callable
        Of the test.
    equal_counts : bool
        The test compares as many trials of either image.
    """

    values: Floats
    usable: Bools
    level: Callable[[Floats], float]
    statistic: Statistic
    equal_counts: bool

    def of(self, rows: Ints) -> float:
        """Score of the mean over `rows`."""
        return self.level(self.values[rows].mean(0)) if len(rows) else math.nan


def stretch_score(setting: Setting, site: str) -> Score:
    """The mean response of the site."""
    values = setting.table.column(site)[:, None]
    return Score(
        values, np.asarray(np.isfinite(values[:, 0])), lambda mean: float(mean[0]), mean_difference, equal_counts=False
    )


def one_hot_score(setting: Setting, site: str) -> Score:
    """Log softmax, at the site, of the mean standardised responses of the frozen site set."""
    scale = setting.scale
    if site not in scale.site_ids:
        raise Exclusion("the site is not in the standardised site set")
    if len(scale.site_ids) < 2:
        raise Exclusion("one_hot needs at least two recorded sites with natural statistics")
    values, target = standardised(setting), scale.site_ids.index(site)

    def level(mean: Floats) -> float:
        return float(log_share(mean / setting.temperature, target))

    statistic = partial(log_softmax_difference, target=target, temperature=setting.temperature)
    return Score(values, np.asarray(np.isfinite(values).all(1)), level, statistic, equal_counts=True)


def standardised(setting: Setting) -> Floats:
    """Trial responses of the frozen site set in natural SDs from the natural mean, shape (T, D)."""
    columns = [setting.table.site_ids.index(s) for s in setting.scale.site_ids]
    return (setting.table.values[:, columns] - setting.scale.mean) / setting.scale.sd
