"""One controller against its natural reference: scores, choice of the reference, test, gain, suppression."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .key import Key, KeyRow
from .permutation import (
    Ints,
    PermutationResult,
    Pool,
    Statistic,
    difference_interval,
    log_softmax_difference,
    mean_difference,
    permutation_test,
)
from .statistics import Bools, Floats, fieller_interval, welch_p
from .trial_table import TrialTable

NO_PERCENT = ("zscore", "beta", "dff")  # units without a meaningful zero


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
    """How one objective scores one site: trial values (T, D), which trials have them, the score of mean values, its test."""

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
        scaled = mean / setting.temperature
        return float(scaled[target] - np.logaddexp.reduce(scaled))

    statistic = partial(log_softmax_difference, target=target, temperature=setting.temperature)
    return Score(values, np.asarray(np.isfinite(values).all(1)), level, statistic, equal_counts=True)


SCORES: dict[str, Callable[[Setting, str], Score]] = {"stretch": stretch_score, "one_hot": one_hot_score}


def standardised(setting: Setting) -> Floats:
    """Trial responses of the frozen site set in natural SDs from the natural mean, shape (T, D)."""
    columns = [setting.table.site_ids.index(s) for s in setting.scale.site_ids]
    return (setting.table.values[:, columns] - setting.scale.mean) / setting.scale.sd


# --- the natural reference ---------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The image chosen on half 0 (tested on half 1), the candidates, where they come from, and the score over both directions."""

    image_id: str
    candidates: tuple[str, ...]
    kind: str
    both: float


def candidates_of(setting: Setting, row: KeyRow) -> tuple[tuple[str, ...], str]:
    """Candidate natural images of a controller's objective and site, sorted, and their kind."""
    references = setting.key.of_role("reference")
    if references:
        named = [r.image_id for r in references if (row.objective, row.target) in r.reference_for]
        return tuple(sorted(named)), "re-shown"
    return tuple(sorted(r.image_id for r in setting.key.of_role("natural"))), "split halves of the same recording"


def choose_reference(setting: Setting, score: Score, row: KeyRow, *, without: str = "") -> Reference:
    """Choose the best candidate on one half of its trials, to be measured on the other (both directions for the estimate).

    `without`: an image that is no candidate here, because it takes the controller's part.
    """
    listed, kind = candidates_of(setting, row)
    candidates = tuple(c for c in listed if c != without)
    table = setting.table
    halves = {c: [table.rows(c, score.usable, half) for half in (0, 1)] for c in candidates}
    ready = [c for c in candidates if len(halves[c][0]) >= 1 and len(halves[c][1]) >= 2]
    if not candidates:
        raise Exclusion("no natural reference image is listed for this site and objective")
    if not ready:
        raise Exclusion(f"too few usable trials of the {len(candidates)} natural reference images")
    levels = np.array([[score.of(rows) for rows in halves[c]] for c in ready])  # (candidates, halves)
    picks = levels.argmax(0)
    return Reference(ready[picks[0]], tuple(ready), kind, float((levels[picks[0], 1] + levels[picks[1], 0]) / 2))


def reference_shortfall(setting: Setting, score: Score, reference: Reference) -> float | None:
    """Expected loss of choosing on half the trials: best candidate minus expected choice, by simulation on shrunken means."""
    trials = [score.values[setting.table.rows(c, score.usable), 0] for c in reference.candidates]
    if min(len(x) for x in trials) < 4 or len(trials) < 3:
        return None
    means = np.array([x.mean() for x in trials])
    noise = np.array([x.var(ddof=1) / len(x) for x in trials])
    spread = float(means.var(ddof=1))
    shrunken = means.mean() + (means - means.mean()) * math.sqrt(
        max(0.0, 1 - noise.mean() / spread) if spread > 0 else 0
    )
    draws = np.random.default_rng(setting.seed).normal(size=(2000, len(means)))
    picked = (shrunken + draws * np.sqrt(2 * noise)).argmax(1)  # half the trials: twice the variance
    return max(0.0, float(shrunken.max() - shrunken[picked].mean()))


# --- comparisons -------------------------------------------------------------------------------------------------------


def comparison_pool(
    setting: Setting, score: Score, controller: Sequence[str], reference: Sequence[str], *, half: int | None
) -> Pool:
    """Trials of controller and reference, block by block, reference first.

    With `half` the reference is restricted to that half of its trials; the controller never is, its trials chose nothing. A score
    that needs equal counts takes as many of either as the scarcer has in a block, first in the random order of the trial table.
    """
    table = setting.table
    others = np.concatenate([table.rows(i, score.usable, half) for i in reference])
    treated = np.concatenate([table.rows(i, score.usable) for i in controller])
    rows, strata = [], []
    for block in range(table.n_blocks):
        sides = [side[table.blocks[side] == block] for side in (others, treated)]
        if score.equal_counts:
            sides = [side[: min(map(len, sides))] for side in sides]
        rows += sides
        strata.append((len(sides[0]), len(sides[1])))
    chosen = np.concatenate(rows)
    return Pool(chosen, score.values[chosen], tuple(strata), score.statistic)


def sides(pool: Pool) -> tuple[Ints, Ints]:
    """Rows of the treated and of the other trials of a pool."""
    treated = np.concatenate([np.repeat([False, True], counts) for counts in pool.strata])
    return pool.rows[treated], pool.rows[~treated]


def enough(pool: Pool) -> bool:
    """True where both sides have at least two trials."""
    return min(sum(o for o, _ in pool.strata), sum(t for _, t in pool.strata)) >= 2


def beats_each(setting: Setting, score: Score, image_id: str, candidates: Sequence[str]) -> dict[str, float]:
    """One p a candidate whose trials can reach the level: the controller against it, on all its trials."""
    pools = {c: comparison_pool(setting, score, [image_id], [c], half=None) for c in candidates}
    results = {c: setting.test(pool, secondary=True) for c, pool in pools.items() if enough(pool)}
    return {c: result.p for c, result in results.items() if result.smallest_p <= setting.alpha}


# --- gain --------------------------------------------------------------------------------------------------------------


def blank_trials(setting: Setting, site: str) -> Floats:
    """Responses of a site to blanks; without blank images, its pre-stimulus baseline; else empty."""
    table, column = setting.table, setting.table.column(site)
    rows = table.rows_of(sorted(r.image_id for r in setting.key.of_role("blank")), np.isfinite(column))
    if len(rows) or table.baseline is None:
        return column[rows]
    baseline = table.baseline[:, table.site_ids.index(site)]
    return baseline[np.isfinite(baseline)]


def stretch_gain(setting: Setting, pool: Pool, site: str, blank: Floats) -> dict[str, Any]:
    """Gain over the named reference image: a fraction of its evoked response, else the difference in natural SDs."""
    column = setting.table.column(site)
    treated, other = (column[rows] for rows in sides(pool))
    few = _few(pool)
    if setting.unit in NO_PERCENT:
        note = _joined(f"no percentage for unit {setting.unit}", few)
        return {**_difference_in_sd(setting, pool, site), "gain_note": note}
    if len(blank) < 2 or welch_p(other, blank) >= 0.05:
        why = "no blanks" if len(blank) < 2 else "blank not significantly below the reference"
        return {**_difference_in_sd(setting, pool, site), "gain_note": _joined(f"no percentage: {why}", few)}
    ratio = fieller_interval(treated, other, blank)
    note = _joined(few, "" if ratio.bounded else "interval unbounded")
    return {
        "gain": ratio.ratio - 1,
        "gain_low": ratio.low - 1,
        "gain_high": ratio.high - 1,
        "gain_unit": "fraction",
        "gain_note": note,
    }


def _difference_in_sd(setting: Setting, pool: Pool, site: str) -> dict[str, Any]:
    if site not in setting.scale.site_ids:
        return {"gain_unit": ""}
    sd = float(setting.scale.sd[setting.scale.site_ids.index(site)])
    low, high = difference_interval(pool.values, pool.strata)
    difference = float(np.subtract(*(setting.table.column(site)[rows].mean() for rows in sides(pool))))
    return {"gain": difference / sd, "gain_low": low / sd, "gain_high": high / sd, "gain_unit": "natural SD"}


def one_hot_gain(pool: Pool, difference: float) -> dict[str, Any]:
    """Difference of log S with its delta-method interval."""
    low, high = difference_interval(pool.values, pool.strata, statistic=pool.statistic)
    return {"gain": difference, "gain_low": low, "gain_high": high, "gain_unit": "log S", "gain_note": _few(pool)}


def _few(pool: Pool) -> str:
    """The note of a gain whose interval is not calibrated: fewer than ten trials on one side."""
    least = min(len(rows) for rows in sides(pool))
    return f"fewer than 10 repeats ({least})" if least < 10 else ""


def _joined(*notes: str) -> str:
    return ", ".join(filter(None, notes))


# --- suppression -------------------------------------------------------------------------------------------------------


def selectivity(setting: Setting, score: Score, site: str, treated: Ints) -> dict[str, Any]:
    """Margin over the strongest other site, and S without it, from mean standardised responses over `treated` rows."""
    target = setting.scale.site_ids.index(site)
    mean = score.values[treated].mean(0)
    others = np.delete(mean, target)
    kept = np.delete(np.sort(others), -1)
    without = np.append(kept, mean[target]) / setting.temperature
    return {
        "margin": float(mean[target] - others.max()),
        "score_without_worst": float(np.exp(without[-1] - np.logaddexp.reduce(without))),
    }


def suppression(setting: Setting, score: Score, site: str, image_id: str) -> dict[str, Any]:
    """Mean off-target activity below that of this round's random natural images: one-sided studentised permutation in block."""
    off = np.delete(score.values, setting.scale.site_ids.index(site), axis=1).mean(1, keepdims=True)
    key, table = setting.key, setting.table
    naturals = sorted(r.image_id for r in key.of_role("natural") if r.image_id in table.image_rows)
    blanks = table.rows_of(sorted(r.image_id for r in key.of_role("blank")), score.usable)
    mine = table.rows(image_id, score.usable)
    fields = {"off_target": float(off[mine].mean()), "off_target_blank": _mean(off[blanks])}
    lower = Score(-off, score.usable, lambda mean: float(mean[0]), mean_difference, equal_counts=False)
    if not naturals or not enough(pool := comparison_pool(setting, lower, [image_id], naturals, half=None)):
        return {**fields, "suppression": "not testable"}
    result = setting.test(pool)
    verdict = "suppression" if result.p <= setting.alpha else "no suppression"
    if result.smallest_p > setting.alpha:
        verdict = "not testable"
    natural = _mean(off[sides(pool)[1]])
    return {
        **fields,
        "off_target_natural": natural,
        "suppression": verdict,
        "suppression_t": result.t,
        "suppression_p": result.p,
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
