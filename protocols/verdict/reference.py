"""The natural reference of a controller: which images stand for it, which is chosen, on which trials it is tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.key import KeyRow
from protocols.recordings.trial_table import HALVES
from protocols.stats.choice import ChoicePool, slots_tested, totals
from protocols.stats.permutation import Pool

from .scores import Exclusion, Score, Setting

TOO_FEW = "too few usable trials of the controller or its reference in the same blocks"

# --- the natural reference --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A controller's trials beside those of its natural references.

    Attributes
    ----------
    picked : tuple of str
        The image that is tested, per direction; one where a single image is shown, which nothing chooses.
    parts : tuple of int arrays
        Rows of the trial table that are tested, per direction: a single image whole, else the half that did not choose.
    treated : int array of shape (n,)
        Rows of the controller, all of them.
    candidates : tuple of str
        The images that could be picked.
    kind : str
    pool : Pool or ChoicePool
        The trials of the test.
    """

    picked: tuple[str, ...]
    parts: tuple[Ints, ...]
    treated: Ints
    candidates: tuple[str, ...]
    kind: str
    pool: Pool | ChoicePool

    @property
    def image_id(self) -> str:
        """The image that is picked on half 0 (of a single direction: in that one)."""
        return self.picked[0]

    @property
    def other_image(self) -> str:
        """The image that is picked in the other direction, "" where it is the same."""
        return next((image for image in self.picked if image != self.image_id), "")

    @property
    def trials(self) -> int:
        """Trials of the reference that are tested."""
        return sum(map(len, self.parts))

    def mean(self, values: Floats) -> Floats:
        """Mean over the directions of the mean of `values` (T, ...) over the tested rows, shape (...)."""
        return np.asarray(np.mean([values[rows].mean(0) for rows in self.parts], axis=0))

    def level(self, score: Score) -> float:
        """Score of the picked image on its tested trials; of two images the mean of their scores."""
        pairs = list(zip(self.picked, self.parts, strict=True))
        images = [[rows for i, rows in pairs if i == image] for image in dict.fromkeys(self.picked)]
        means = [np.mean([score.values[rows].mean(0) for rows in parts], axis=0) for parts in images]
        return float(np.mean([score.level(mean) for mean in means]))


def candidates_of(setting: Setting, row: KeyRow) -> tuple[tuple[str, ...], str]:
    """Candidate natural images of a controller's objective and site, sorted, and their kind."""
    if setting.key.of_role("reference"):
        named = [r.image_id for r in setting.key.references_for(row.objective, row.target)]
        return tuple(sorted(named)), "re-shown"
    return tuple(sorted(r.image_id for r in setting.key.of_role("natural"))), "split halves of the same recording"


def match_references(
    setting: Setting, score: Score, row: KeyRow, *, image_id: str = "", without: str = ""
) -> Reference:
    """Put the trials of a controller beside those of the natural references of its site.

    A single reference is taken whole. Of several, each direction picks the best on one half of the trials and tests it
    on the other (`protocols.stats.choice`).

    Parameters
    ----------
    setting, score, row
    image_id : str
        An image that takes the controller's part; "": the controller of `row`.
    without : str
        An image that is no candidate here.

    Raises
    ------
    Exclusion
        Where no reference is listed, or the trials are too few.
    """
    listed, kind = candidates_of(setting, row)
    candidates = [c for c in listed if c != without]
    if not candidates:
        raise Exclusion("no natural reference image is listed for this site and objective")
    image_id, table = image_id or row.image_id, setting.table
    counts = np.array([[len(table.rows(c, score.usable, half)) for half in HALVES] for c in candidates])
    ready = [c for c, n in zip(candidates, counts, strict=True) if n.min() >= 1 and n.max() >= 2]
    if len(ready) < 2:
        most = int(counts.sum(1).argmax())
        if not ready and counts[most].sum() < 2:
            raise Exclusion(f"too few usable trials of the {len(candidates)} natural reference images")
        return _whole(setting, score, image_id, reference=ready[0] if ready else candidates[most], kind=kind)
    chosen = choice_pool(setting, score, image_id, references=ready)
    if totals(chosen.slots)[-1] < 2:
        raise Exclusion(TOO_FEW)
    tested = slots_tested(chosen.values, chosen.slots)
    slot = np.concatenate([np.repeat(np.arange(len(b)), b) for b in chosen.slots])
    return Reference(
        picked=tuple(ready[s // 2] for s in tested),
        parts=tuple(chosen.rows[slot == s] for s in tested),
        treated=chosen.rows[slot == len(chosen.slots[0]) - 1],
        candidates=tuple(ready),
        kind=kind,
        pool=chosen,
    )


def _whole(setting: Setting, score: Score, image_id: str, *, reference: str, kind: str) -> Reference:
    """A single reference: all its trials are tested."""
    pool = comparison_pool(setting, score, [image_id], reference=[reference])
    if not enough(pool):
        raise Exclusion(TOO_FEW)
    treated, other = sides(pool)
    return Reference(
        picked=(reference,), parts=(other,), treated=treated, candidates=(reference,), kind=kind, pool=pool
    )


def reference_shortfall(setting: Setting, score: Score, reference: Reference) -> float | None:
    """Expected true difference between the best of the shown references and those that halves of the trials pick.

    By simulation with shrunken means (James & Stein 1961, variance of the means less that of their noise), in the unit
    of what is tested: 0 for a single reference, None below two references with four trials each.
    """
    if len(reference.candidates) == 1:
        return 0.0
    trials = [score.tested[setting.table.rows(c, score.usable)] for c in reference.candidates]
    if min(len(x) for x in trials) < 4:
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


def comparison_pool(setting: Setting, score: Score, controller: Sequence[str], *, reference: Sequence[str]) -> Pool:
    """All trials of controller and reference, block by block, reference first."""
    table = setting.table
    others = np.concatenate([table.rows(i, score.usable) for i in reference])
    treated = np.concatenate([table.rows(i, score.usable) for i in controller])
    rows, strata = [], []
    for block in range(table.n_blocks):
        here = [side[table.blocks[side] == block] for side in (others, treated)]
        rows += here
        strata.append((len(here[0]), len(here[1])))
    chosen = np.concatenate(rows)
    return Pool(chosen, score.tested[chosen], tuple(strata))


def choice_pool(setting: Setting, score: Score, image_id: str, *, references: Sequence[str]) -> ChoicePool:
    """All trials of a controller and several references, block by block, each reference by halves, controller last."""
    table = setting.table
    groups = [table.rows(i, score.usable, half) for i in references for half in HALVES]
    groups.append(table.rows(image_id, score.usable))
    rows, slots = [], []
    for block in range(table.n_blocks):
        here = [group[table.blocks[group] == block] for group in groups]
        rows += here
        slots.append(tuple(map(len, here)))
    chosen = np.concatenate(rows)
    return ChoicePool(chosen, score.tested[chosen], tuple(slots))


def sides(pool: Pool) -> tuple[Ints, Ints]:
    """Rows of the treated and of the other trials of a pool."""
    treated = np.concatenate([np.repeat([False, True], counts) for counts in pool.strata])
    return pool.rows[treated], pool.rows[~treated]


def enough(pool: Pool) -> bool:
    """True where both sides have at least two trials."""
    return min(sum(o for o, _ in pool.strata), sum(t for _, t in pool.strata)) >= 2


def beats_each(setting: Setting, score: Score, image_id: str, *, candidates: Sequence[str]) -> dict[str, float]:
    """One p per candidate whose trials can reach alpha: the controller against it, on all its trials."""
    pools = {c: comparison_pool(setting, score, [image_id], reference=[c]) for c in candidates}
    results = {c: setting.test(pool, secondary=True) for c, pool in pools.items() if enough(pool)}
    return {c: result.p for c, result in results.items() if result.smallest_p <= setting.alpha}
