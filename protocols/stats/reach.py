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
    if any(min(pair) >= permutations.bit_length() for pair in strata):  # there are 2 to this power at least
        return 1 / (1 + permutations)
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


def reachable_p(repeats: int, blocks: int, *, reference_repeats: int | None = None) -> float:
    """The smallest p that a test within blocks can always reach, for any large effect.

    All trials of the controller are relabelled with all trials of one reference; with several references there are
    more assignments.

    Parameters
    ----------
    repeats, blocks : int
        Presentations of the controller, spread evenly over the blocks.
    reference_repeats : int, optional
        Presentations of the reference; default: as the controller.
    """
    mine = repeats_a_block(repeats, blocks)
    other = repeats_a_block(repeats if reference_repeats is None else reference_repeats, blocks)
    return 1 / distinct_assignments(list(zip(other, mine, strict=True)))


def repeats_needed(alpha: float, blocks: int, *, limit: int = 512) -> int:
    """Fewest repeats of every image, at least one per block, with which p can always reach `alpha` (`reachable_p`)."""
    tried = range(max(2, blocks), limit)
    return next((n for n in tried if reachable_p(n, blocks) <= alpha), limit)
