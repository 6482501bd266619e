"""The division of a stated number of presentations that is expected to find most true controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.errors import DataError

from .beside import beside_share, tested_naturals
from .division import Division, Share, orderly
from .found import Pairs, expected_found
from .reach import Judging, fewest, surely
from .unequal import unequal_counts

CLEARLY = 1.05  # an unequal split is taken where it finds this many times what an equal one does


@dataclass(frozen=True, kw_only=True)
class RoundBudget:
    """What there is to divide: presentations with the blanks, the largest share of what is beside, blocks, blanks."""

    total: int
    beside: float
    blocks: int
    blanks: int
    references: int


@dataclass(frozen=True, kw_only=True)
class Allocated:
    """A division and the probabilities (P,) that it finds each true control."""

    division: Division
    found: Floats


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Presentations (P,) of every controller, and of each of its `count` references."""

    count: int
    shown: Ints


def allocate(pairs: Pairs, wishes: Mapping[str, Share], budget: RoundBudget, *, test: Judging) -> Allocated:
    """Divide `budget` among controllers, references and what is wished for beside them.

    First what is beside gets what it asks for, up to its share. The rest is divided evenly among all controllers and
    references, of which each pair has as few as find most, 1 to ``budget.references``. A controller and its references
    are shown equally often, so that nobody can tell them apart by counting: that costs less than 4 % of the variance
    of a difference, since the best ratio is the root of that of their numbers. Numbers that differ between pairs are
    taken only where they find clearly more.

    Raises
    ------
    DataError
        C19: too few presentations for the images, or for any test to reach alpha.
    """
    beside = _beside(pairs, wishes, budget)
    left = budget.total - budget.blanks - sum(s.presentations for s in beside.values())
    best, most = None, -1.0
    for counts in _equal(pairs, left, budget, test=test):
        number = float(expected_found(pairs, counts.count, counts.shown, test=test, blocks=budget.blocks).sum())
        if number > most + 1e-9:
            best, most = counts, number
    if best is None:
        raise _too_few(pairs, budget, test, left=left)
    best = _unequal(pairs, best, left, budget=budget, test=test, most=most) or best
    images = {name: pairs.images[i, : best.count].tolist() for i, name in enumerate(pairs.names)}
    division = Division(
        controller=dict(zip(pairs.names, best.shown.tolist(), strict=True)),
        reference=dict(zip(pairs.names, best.shown.tolist(), strict=True)),
        references=images,
        beside={n: Share(s.images, min(s.repeats, int(best.shown.min()))) for n, s in beside.items()},
        blocks=budget.blocks,
        blanks=budget.blanks,
    )
    found = expected_found(pairs, best.count, best.shown, test=test, blocks=budget.blocks)
    return Allocated(division=division, found=found)


def _beside(pairs: Pairs, wishes: Mapping[str, Share], budget: RoundBudget) -> dict[str, Share]:
    """What stands beside the tests of `pairs` in its share of the budget."""
    objectives = {objective for objective, _ in pairs.names}
    most = math.floor(budget.total * budget.beside)
    return beside_share(wishes, most, steps_of=len(pairs.names), naturals=tested_naturals(objectives))


def _equal(pairs: Pairs, left: int, budget: RoundBudget, *, test: Judging) -> Iterator[_Counts]:
    """For every number of references: as many presentations of each controller and each reference as `left` holds."""
    size, ones = len(pairs.names), np.ones(len(pairs.names), dtype=np.int64)
    for count in range(1, min(budget.references, pairs.images.shape[1]) + 1):
        different = len(np.unique(pairs.images[:, :count]))
        shown = max(left, 0) // (size + different)
        if not shown or not orderly([shown] * (size + different), budget.blocks, budget.blanks):
            continue
        if surely(shown, count, blocks=budget.blocks, test=test):
            yield _Counts(count=count, shown=shown * ones)


def _unequal(
    pairs: Pairs, equal: _Counts, left: int, *, budget: RoundBudget, test: Judging, most: float
) -> _Counts | None:
    """Numbers that differ between pairs, where they find clearly more than `most`."""
    if len(pairs.names) < 2:
        return None
    found = unequal_counts(pairs, equal.count, left, blocks=budget.blocks, test=test)
    if found is None or found.gained < CLEARLY * most:
        return None
    shown = [*found.counts.tolist(), *found.references(pairs.images[:, : equal.count]).values()]
    if not orderly(shown, budget.blocks, budget.blanks):
        return None
    return _Counts(count=equal.count, shown=found.counts)


def _too_few(pairs: Pairs, budget: RoundBudget, test: Judging, *, left: int) -> DataError:
    """C19, with the number that would be enough."""
    size, different = len(pairs.names), len(np.unique(pairs.images[:, 0]))
    needed = fewest(1, test, blocks=budget.blocks)
    while needed * (size + different) < budget.blanks and size + different > 1:  # blanks stand between images
        needed += budget.blocks
    enough = math.ceil((needed * (size + different) + budget.blanks) / (1 - budget.beside)) + 1
    return DataError(
        "project.toml [protocol]",
        found=(
            f"{budget.total} presentations, of which {max(left, 0)} are left for {size} controllers and their "
            f"{different} references after {budget.blanks} blanks and what stands beside them"
        ),
        expected=(
            f"at least {needed} presentations of each controller and reference, with which a test can reach alpha = "
            f"{test.alpha:g} in {budget.blocks} blocks"
        ),
        cause="presentations or minutes are too few for so many targets and objectives",
        fix=(
            f"set presentations to {enough} or more, lower beside, or control fewer sites or objectives ([synthesis] "
            "targets, objectives)"
        ),
        code="C19",
    )


def costs(
    pairs: Pairs, wishes: Mapping[str, Share], budget: RoundBudget, *, test: Judging, roles: Sequence[str]
) -> dict[str, Floats]:
    """Probabilities (P,) to find each true control without one role of what stands beside, for each of `roles`."""
    without: dict[str, Floats] = {}
    for role in roles:
        rest = {name: share for name, share in wishes.items() if name != role}
        kept = _beside(pairs, wishes, budget)
        taken = sum(s.presentations for name, s in kept.items() if name in rest)
        exact = RoundBudget(
            total=budget.total - taken,
            beside=0.0,
            blocks=budget.blocks,
            blanks=budget.blanks,
            references=budget.references,
        )
        without[role] = allocate(pairs, {}, exact, test=test).found
    return without
