"""How a site is scored in a round, and what all tests of an evaluation share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.project.key import Key, KeyRow
from protocols.recordings.trial_table import TrialTable
from protocols.stats.choice import ChoicePool, choice_test
from protocols.stats.permutation import PermutationResult, Pool, permutation_test
from protocols.stats.selectivity import log_share, selectivity_weights


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

    def test(self, pool: Pool | ChoicePool, *, secondary: bool = False) -> PermutationResult:
        """The test on `pool`; a secondary one stops at 20 / alpha permutations."""
        enough = max(999, math.ceil(20 / self.alpha)) if secondary else self.permutations
        permutations = min(self.permutations, enough)
        if isinstance(pool, ChoicePool):
            return choice_test(pool.values, pool.slots, permutations=permutations, seed=self.seed)
        return permutation_test(pool.values, pool.strata, permutations=permutations, seed=self.seed)

    @cached_property
    def standardised(self) -> Floats:
        """Trial responses of the frozen site set in natural SDs from the natural mean, shape (T, D)."""
        columns = [self.table.site_ids.index(s) for s in self.scale.site_ids]
        found = (self.table.values[:, columns] - self.scale.mean) / self.scale.sd
        found.flags.writeable = False
        return found

    @cached_property
    def complete(self) -> Bools:
        """Trials with a response of every site of the frozen set, shape (T,)."""
        return np.asarray(np.isfinite(self.standardised).all(1))

    @cached_property
    def photographs(self) -> Photographs:
        """The natural and reference images of the round with what was predicted of them."""
        return Photographs.of(self.key, self.table)


@dataclass(frozen=True)
class Photographs:
    """The natural and reference images of a round, sorted by id.

    Attributes
    ----------
    image_ids : tuple of N str
    trial_image : int array of shape (T,)
        Which of them each trial of the table showed; N: none.
    site_ids : tuple of U str
        Those of the table.
    predicted, validator_predicted : arrays of shape (N, U)
        NaN where a prediction is missing.
    """

    image_ids: tuple[str, ...]
    trial_image: Ints
    site_ids: tuple[str, ...]
    predicted: Floats
    validator_predicted: Floats

    @classmethod
    def of(cls, key: Key, table: TrialTable) -> Photographs:
        """Those of `key`."""
        rows = {r.image_id: r for role in ("natural", "reference") for r in key.of_role(role)}
        names = sorted(rows)
        code = np.full(len(table.values), len(names), dtype=np.int64)
        for i, name in enumerate(names):
            code[table.rows(name)] = i
        shape = (len(names), len(table.site_ids))
        tables = [
            np.array([[d.get(s, math.nan) for s in table.site_ids] for d in predictions]).reshape(shape)
            for predictions in (
                [rows[name].predicted for name in names],
                [rows[name].validator_predicted for name in names],
            )
        ]
        return cls(tuple(names), code, table.site_ids, *tables)

    def shown(self, usable: Bools) -> Bools:
        """Which of them have a trial that is `usable` (T,), shape (N,)."""
        return np.bincount(self.trial_image[usable], minlength=len(self.image_ids) + 1)[:-1] > 0


@dataclass(frozen=True)
class Score:
    """How one objective scores one site.

    Attributes
    ----------
    values : array of shape (T, D)
        What is averaged over trials.
    usable : bool array of shape (T,)
        Trials that have all of them.
    levels : callable
        Scores of mean values (..., D), as they are shown, shape (...).
    tested : array of shape (T,)
        What the test compares: the response itself, or the selectivity contrast (natural SDs).
    weights : array of shape (D,), optional
        Of the sites that the contrast takes off the target.
    note : str
        What a reader must know of the contrast.
    """

    values: Floats
    usable: Bools
    levels: Callable[[Floats], Floats]
    tested: Floats
    weights: Floats | None = None
    note: str = ""

    def level(self, mean: Floats) -> float:
        """Score of mean values (D,), as it is shown."""
        return float(self.levels(mean))

    def of(self, rows: Ints) -> float:
        """Score of the mean over `rows`."""
        return self.level(self.values[rows].mean(0)) if len(rows) else math.nan


def stretch_score(setting: Setting, site: str, row: KeyRow | None = None) -> Score:
    """The mean response of the site; `row` does not matter."""
    column = setting.table.column(site)
    return Score(column[:, None], np.asarray(np.isfinite(column)), lambda mean: mean[..., 0], column)


def suppress_score(setting: Setting, site: str, row: KeyRow | None = None) -> Score:
    """The mean response of the site with its sign turned: lower responses score higher; `row` does not matter."""
    column = setting.table.column(site)
    return Score(column[:, None], np.asarray(np.isfinite(column)), lambda mean: -mean[..., 0], -column)


def one_hot_score(setting: Setting, site: str, row: KeyRow | None = None) -> Score:
    """Log softmax, at the site, of the mean standardised responses; tested is a linear contrast of the sites.

    The contrast's weights come from the sealed predictions of `row`, a controller, and of the references of its site;
    without them the other sites weigh the same.
    """
    scale = setting.scale
    if site not in scale.site_ids:
        raise Exclusion("the site is not in the standardised site set")
    if len(scale.site_ids) < 2:
        raise Exclusion("one_hot needs at least two recorded sites with natural statistics")
    values, target = setting.standardised, scale.site_ids.index(site)

    def levels(mean: Floats) -> Floats:
        return log_share(mean / setting.temperature, target)

    predicted = _sealed_predictions(setting, row)
    weights = selectivity_weights(predicted, target, temperature=setting.temperature)
    known = len(predicted) > 0 and bool(np.isfinite(predicted).all())
    return Score(
        values,
        setting.complete,
        levels,
        values[:, target] - values @ weights,
        weights=weights,
        note="" if known else "other sites weigh the same: predictions are missing in the key",
    )


def _sealed_predictions(setting: Setting, row: KeyRow | None) -> Floats:
    """Predicted responses to a controller and its references in natural SDs, shape (N, D); NaN where one is missing."""
    images: list[KeyRow] = []
    if row is not None:
        named = setting.key.references_for(row.objective, row.target)
        images = [row, *sorted(named, key=lambda r: r.image_id)]
    sites = setting.scale.site_ids
    predicted = np.array([[r.predicted.get(s, math.nan) for s in sites] for r in images])
    return (predicted.reshape(len(images), len(sites)) - setting.scale.mean) / setting.scale.sd
