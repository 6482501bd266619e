"""Whether the test of a pair can reach alpha with the presentations that are planned and those that are lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from protocols.arrays import Floats, Ints
from protocols.stats.reach import half_counts, repeats_a_block, smallest_p

DRAWS = 400  # recordings in which presentations are lost
SURE = 0.9  # of them, in which a test that is planned for reaches alpha


@dataclass(frozen=True)
class Judging:
    """How the round is tested: level, random permutations, and the share of presentations without a usable trial."""

    alpha: float
    permutations: int
    lost: float = 0.0


@lru_cache(maxsize=8192)
def least_p(controller: int, reference: int, count: int, *, blocks: int, permutations: int, lost: float = 0.0) -> float:
    """The smallest p that the test of a pair can reach with so many presentations spread evenly over the blocks.

    With one reference all its trials are relabelled with the controller's; with more, those of the half that tests
    count, the smaller one. Where a share of the presentations is `lost`, the p that `SURE` of the recordings reach.
    """
    treated, others = repeats_a_block(controller, blocks), repeats_a_block(reference, blocks)
    if lost:
        smallest = _with_losses(treated, others, count, permutations=permutations, lost=lost)
        return float(np.quantile(smallest, SURE, method="higher"))
    if count > 1:
        others = min((half_counts(others, odd)[half] for odd in (0, 1) for half in (0, 1)), key=sum)
    return smallest_p(list(zip(others, treated, strict=True)), permutations)


@lru_cache(maxsize=8192)
def reached(shown: int, count: int, *, blocks: int, test: Judging) -> float:
    """Probability that enough of `shown` presentations of a controller and of each of `count` references are usable
    for p to reach alpha; 0 or 1 where none is lost.
    """
    if not test.lost:
        return float(least_p(shown, shown, count, blocks=blocks, permutations=test.permutations) <= test.alpha)
    each = repeats_a_block(shown, blocks)
    smallest = _with_losses(each, each, count, permutations=test.permutations, lost=test.lost)
    return float((smallest <= test.alpha).mean())


def fewest(count: int, test: Judging, *, blocks: int, limit: int = 4096) -> int:
    """The fewest presentations of controller and of each reference, in whole blocks, with which p reaches alpha."""
    tried = (n for n in range(blocks, limit, blocks) if n > 1)
    return next((n for n in tried if surely(n, count, blocks=blocks, test=test)), limit)


def surely(shown: int, count: int, *, blocks: int, test: Judging) -> bool:
    """Whether p reaches alpha with so many presentations of controller and each reference, in `SURE` of the
    recordings.
    """
    smallest = least_p(shown, shown, count, blocks=blocks, permutations=test.permutations, lost=test.lost)
    return smallest <= test.alpha


def _with_losses(treated: list[int], others: list[int], count: int, *, permutations: int, lost: float) -> Floats:
    """The smallest p in `DRAWS` recordings in which every presentation is lost with the same probability."""
    generator = np.random.default_rng(17)
    mine = generator.binomial(treated, 1 - lost, size=(DRAWS, len(treated)))
    other = generator.binomial(others, 1 - lost, size=(DRAWS, len(others)))
    if count > 1:
        other = _smaller_half(other)
    ways = (gammaln(mine + other + 1) - gammaln(mine + 1) - gammaln(other + 1)).sum(1)
    listed = ways <= math.log(permutations) + 1e-9
    p = np.where(listed, np.exp(-np.minimum(ways, 700.0)), 1 / (1 + permutations))
    return np.asarray(p * (1 - 1e-9))  # logarithms round


def _smaller_half(counts: Ints) -> Ints:
    """The half with fewer trials of every row of `counts` (D, B), as `half_counts` divides them."""
    before = np.cumsum(counts, axis=1) - counts
    halves = []
    for odd in (0, 1):
        first = (counts + (odd + before) % 2) // 2
        halves += [first, counts - first]
    together = np.stack(halves)  # (4, D, B)
    return np.asarray(together[together.sum(-1).argmin(0), np.arange(len(counts))])
