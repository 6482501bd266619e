"""What a permutation test with blocks can reach: number of assignments, smallest p, repeats needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

# --- label assignments ------------------------------------------------------------------------------------------------


def distinct_assignments(strata: Sequence[tuple[int, int]]) -> int:
    """Number of ways to relabel trials within blocks; `strata` gives (others, treated) per block."""
    return math.prod(math.comb(others + treated, treated) for others, treated in strata)


def smallest_p(strata: Sequence[tuple[int, int]], permutations: int) -> float:
    """Smallest p that `permutation_test` can return for these counts: 1/70 for 4 against 4 trials in one block."""
    distinct = distinct_assignments(strata)
    return 1 / distinct if distinct <= permutations else 1 / (1 + permutations)


def repeats_a_block(repeats: int, blocks: int) -> list[int]:
    """Presentations of one image in each block: `repeats` spread evenly, the remainder over the first blocks."""
    return [repeats // blocks + (block < repeats % blocks) for block in range(blocks)]


def half_counts(counts: Sequence[int], odd: int) -> tuple[list[int], list[int]]:
    """Trials of one image per block in either half.

    The odd trials of successive blocks go to half 0 (`odd` = 1) or 1, in turn.
    """
    halves: tuple[list[int], list[int]] = [], []
    for count in counts:
        first = (int(count) + odd) // 2
        odd ^= int(count) % 2
        halves[0].append(first)
        halves[1].append(int(count) - first)
    return halves


def reachable_p(repeats: int, blocks: int, *, equal: bool = False) -> float:
    """The smallest p that a test within blocks can always reach with `repeats` of every image, for any large effect.

    Half of a reference's trials pick it, the other half test it against all trials of the controller or, where counts
    must be `equal`, against as many. Chance decides which half an odd trial joins; the worse case counts.
    """
    counts = repeats_a_block(repeats, blocks)
    distinct = [
        distinct_assignments([(n, min(n, all_) if equal else all_) for n, all_ in zip(half, counts, strict=True)])
        for half in (half_counts(counts, odd)[1] for odd in (0, 1))
    ]
    return 1 / min(distinct)


def repeats_needed(alpha: float, blocks: int, *, equal: bool = False, limit: int = 512) -> int:
    """Fewest repeats of every image, at least one per block, with which p can always reach `alpha` (`reachable_p`)."""
    tried = range(max(2, blocks), limit)
    return next((n for n in tried if reachable_p(n, blocks, equal=equal) <= alpha), limit)
