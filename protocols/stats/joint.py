"""One test of "no site is controlled" over the comparisons of many sites, whose trials may be shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from protocols.arrays import Floats

from .choice import (
    ChoicePool,
    arranged,
    choice_influence,
    chosen_contrast,
    contrast_by_slot,
    dealt_influence,
    observed_arrangement,
    totals,
)
from .dealing import deal
from .permutation import (
    Pool,
    centred,
    influence,
    labels_between,
    mean_difference,
    observed_labels,
    permutation_p,
    standard_error,
    studentised,
)

CELLS = 8_000_000  # trials times relabellings at a time: 64 MB
Relabelled = tuple[Floats, Floats]  # t (b,), and the share of each trial in it (n, b)


Parts = Sequence[tuple[int, int]]
Statistic = Callable[[Parts], list[Floats]]
Run = Callable[[Statistic, Parts], list[Floats]]
"""Does the work on all parts, here or in shares elsewhere, and returns one array per part, in their order."""


def joint_permutation_p(
    pools: Sequence[Pool | ChoicePool], *, permutations: int = 9999, seed: int = 0, run: Run | None = None
) -> float:
    """One p for "no site is controlled": mean studentised T over sites, trials relabelled jointly within block.

    The mean T is itself studentised by the trial-level variance of the sum, in which a trial that serves several sites
    counts as one: sites that share a reference image or noise are not taken for independent. Where references are
    chosen, the choice is repeated in every relabelling.

    `run` may share the relabellings out among processes: each is what its number and the seed make it.
    """
    trials = len(np.unique(np.concatenate([p.rows for p in pools])))
    chunk = max(256, CELLS // trials)
    parts = [(i, min(i + chunk, permutations)) for i in range(0, permutations, chunk)]
    work: Statistic = partial(statistics, pools, permutations=permutations, seed=seed)
    observed = float(work([(-1, 0)])[0][0])
    permuted = work(parts) if run is None else run(work, parts)
    return permutation_p(observed, np.concatenate(permuted), exact=False)


def statistics(pools: Sequence[Pool | ChoicePool], parts: Parts, *, permutations: int, seed: int) -> list[Floats]:
    """The studentised mean T of the relabellings ``start`` to ``stop`` of each of `parts`, an array of shape
    (stop - start,) per part; (-1, 0): as recorded.
    """
    columns, places = np.unique(np.concatenate([p.rows for p in pools]), return_inverse=True)
    where = np.split(places, np.cumsum([len(p.rows) for p in pools])[:-1])
    found = []
    for start, stop in parts:
        size = stop - start
        total, shares = np.zeros(size), np.zeros((len(columns), size))
        for pool, place in zip(pools, where, strict=True):
            t, of_trials = _relabelled(pool, start, stop, permutations=permutations, seed=seed)
            total += np.clip(t, -1e3, 1e3)
            shares[place] += of_trials
        found.append(np.asarray(total / np.sqrt(np.maximum((shares**2).sum(0), 1e-12))))
    return found


def _relabelled(pool: Pool | ChoicePool, start: int, stop: int, *, permutations: int, seed: int) -> Relabelled:
    """The relabellings `start` to `stop` of one comparison; -1: as recorded."""
    about = centred(pool.values)
    scale = float(np.abs(about).max())
    if isinstance(pool, ChoicePool):
        counts = totals(pool.slots)
        if start < 0:
            found = arranged(about, pool.slots, observed_arrangement(pool.slots))
            chosen = chosen_contrast(found.sums, found.squares, counts)
            return studentised(chosen.difference, chosen.error, scale), choice_influence(found, chosen, counts).T
        dealt = deal(about, pool.slots, (start, stop), permutations=permutations, seed=seed)
        chosen = contrast_by_slot(dealt.sums, dealt.squares, counts)
        return studentised(chosen.difference, chosen.error, scale), dealt_influence(dealt, pool.slots, chosen)
    labels = observed_labels(pool.strata)
    if start >= 0:
        labels = labels_between(pool.strata, permutations, seed, part=(start, stop))
    error = standard_error(labels, about)
    return studentised(mean_difference(labels, about), error, scale), influence(labels, about, error).T
