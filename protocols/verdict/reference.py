"""The natural reference of a controller: which image is chosen, on which trials it is tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from protocols.arrays import Ints
from protocols.project.key import KeyRow
from protocols.stats.permutation import (
    Pool,
)

from .scores import Exclusion, Score, Setting

# --- the natural reference --------------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """The image chosen on half 0 (tested on half 1), the candidates, their kind, and the score over both directions."""

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
    """Choose the best candidate on one half of its trials, to be measured on the other.

    The estimate takes both directions. `without`: an image that is no candidate here, because it takes the controller's
    part.
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
    """Expected loss of choosing on half the trials: best candidate less expected choice, by simulation."""
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


# --- comparisons ------------------------------------------------------------------------------------------------------


def comparison_pool(
    setting: Setting, score: Score, controller: Sequence[str], *, reference: Sequence[str], half: int | None
) -> Pool:
    """Trials of controller and reference, block by block, reference first.

    With `half` the reference is restricted to that half of its trials; the controller never is, its trials chose
    nothing. A score that needs equal counts takes as many of either as the scarcer has in a block, first in the random
    order of the trial table.
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


def beats_each(setting: Setting, score: Score, image_id: str, *, candidates: Sequence[str]) -> dict[str, float]:
    """One p per candidate whose trials can reach alpha: the controller against it, on all its trials."""
    pools = {c: comparison_pool(setting, score, [image_id], reference=[c], half=None) for c in candidates}
    results = {c: setting.test(pool, secondary=True) for c, pool in pools.items() if enough(pool)}
    return {c: result.p for c, result in results.items() if result.smallest_p <= setting.alpha}
