"""One permutation test of a controller against the best of several references, chosen within the test.

Each reference's trials are halved. The reference with the highest mean on one half is tested on its other half, in both
directions, and the controller is compared with the mean of the two tested halves. The trials are relabelled among all
slots (reference x half, and the controller) within block, and the choice is repeated in every relabelling: where
controller and references do not differ, p is exact whatever the choice does (Lehmann & Romano 2005, theorem 15.2.1).
Where references differ, the contrast is that to the mean of the picked ones, and the studentisation keeps the level
approximately (Janssen 1997; Chung & Romano 2013).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints

from .dealing import Dealt, Slots, deal, random_order, shares_by_trial
from .permutation import PermutationResult, centred, permutation_p, studentised, tied_p

CHUNK = 2048  # relabellings at a time


class ChoicePool(NamedTuple):
    """The trials of one comparison: `rows` (n,) of the trial table, their `values` (n,), and the `slots` they lie in.

    Trials lie block by block, within each block slot by slot.
    """

    rows: Ints
    values: Floats
    slots: Slots


class Chosen(NamedTuple):
    """The contrast under any number of relabellings (...): difference, standard error, and the slots that it tests.

    `tested` has shape (..., P): one slot per direction that can be chosen in, one or two.
    """

    difference: Floats
    error: Floats
    tested: Ints


def totals(slots: Slots) -> Ints:
    """Trials of every slot over all blocks, shape (S,)."""
    return np.asarray(np.sum(slots, axis=0, dtype=np.int64))


def directions(counts: Ints) -> list[tuple[int, Ints]]:
    """For every direction that exists: the half that chooses, and the references that it can choose.

    A reference needs one trial to be chosen and two to be tested; `counts` (S,) as `totals` gives them.
    """
    halves = counts[:-1].reshape(-1, 2)
    ready = [(half, np.flatnonzero((halves[:, half] >= 1) & (halves[:, 1 - half] >= 2))) for half in (0, 1)]
    return [(half, references) for half, references in ready if len(references)]


def chosen_contrast(sums: Floats, squares: Floats, counts: Ints) -> Chosen:
    """Controller less the mean of the tested halves, from `sums` and `squares` (..., S) of the trials of every slot.

    ``SE^2 = var_c / n_c + sum of var / n over the P tested halves / P^2``. Where references tie in the choice, the one
    that is higher on the tested half is taken, so that neither the names of the references nor rounding decides.
    """
    shape, flat = sums.shape[:-1], (-1, sums.shape[-1])
    found = contrast_by_slot(sums.reshape(flat).T, squares.reshape(flat).T, counts)
    tested = found.tested.T.reshape(*shape, -1)
    return Chosen(found.difference.reshape(shape), found.error.reshape(shape), tested)


def contrast_by_slot(sums: Floats, squares: Floats, counts: Ints) -> Chosen:
    """`chosen_contrast` with the slots along the first axis, (S, b), and so the tested ones, (P, b): faster."""
    trials = np.maximum(counts, 1)[:, None]
    means = sums / trials
    variance = (squares - sums * means) / np.maximum(counts - 1, 1)[:, None]
    noise = np.where(variance > 1e-12 * squares / trials, variance, 0.0) / trials
    slack = 1e-9 * float(np.sqrt(np.max(squares.sum(0) / counts.sum()))) if squares.size else 0.0
    tested = []
    for half, references in directions(counts):
        choosing, testing = means[2 * references + half], 2 * references + 1 - half
        tied = choosing >= choosing.max(0) - slack
        level = np.where(tied, means[testing], -np.inf)
        tied &= level >= level.max(0) - slack
        tested.append(testing[np.where(tied, noise[testing], -1.0).argmax(0)])
    slots = np.stack(tested)
    reference = np.take_along_axis(means, slots, 0).mean(0)
    square = np.take_along_axis(noise, slots, 0).sum(0) / len(tested) ** 2
    return Chosen(means[-1] - reference, np.sqrt(noise[-1] + square), slots)


# --- relabellings -----------------------------------------------------------------------------------------------------


def distinct_arrangements(slots: Slots) -> int:
    """Number of ways to deal the trials of every block to its slots."""
    return math.prod(math.factorial(sum(b)) // math.prod(math.factorial(n) for n in b) for b in slots)


def symmetries(slots: Slots) -> int:
    """Relabellings that never change the contrast: references renamed as wholes, halves swapped in all of them.

    Only those that the counts of every block allow; the names of references without trials do not count.
    """
    by_block = np.asarray(slots)[:, :-1].reshape(len(slots), -1, 2)
    by_block = by_block[:, by_block.sum((0, 2)) > 0]
    orders = itertools.permutations(range(by_block.shape[1]))
    return sum(
        bool((by_block[:, list(order)][:, :, :: 1 - 2 * swapped] == by_block).all())
        for order in orders
        for swapped in (0, 1)
    )


def smallest_choice_p(slots: Slots, permutations: int) -> float:
    """A bound below every p that `choice_test` can return for these counts.

    Where all are listed, each relabelling ties with its `symmetries`; trials that are only chosen with may tie too.
    """
    distinct = distinct_arrangements(slots)
    return symmetries(slots) / distinct if distinct <= permutations else 1 / (1 + permutations)


def _dealt(counts: Sequence[int], left: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every way to deal the trials `left` to slots of `counts`, slot by slot."""
    if len(counts) == 1:
        yield left
        return
    for taken in itertools.combinations(left, counts[0]):
        rest = tuple(i for i in left if i not in taken)
        for others in _dealt(counts[1:], rest):
            yield (*taken, *others)


@lru_cache(maxsize=8)
def listed_arrangements(slots: Slots) -> Ints:
    """Every distinct arrangement, shape (number, n): which trial lies at each place, places as in `ChoicePool`."""
    blocks, start = [], 0
    for counts in slots:
        size = sum(counts)
        blocks.append(start + np.array(list(_dealt(counts, tuple(range(size)))), dtype=np.int32).reshape(-1, size))
        start += size
    grid = np.indices([len(b) for b in blocks]).reshape(len(blocks), -1)
    return np.concatenate([block[index] for block, index in zip(blocks, grid, strict=True)], axis=1)


@lru_cache(maxsize=8)
def random_arrangements(slots: Slots, permutations: int, seed: int) -> Ints:
    """Random arrangements, shape (permutations, n).

    The random key of place i of block b depends on `seed`, b and i alone, as in `permutation.random_labels`: sites
    tested on the same trials are relabelled together.
    """
    sizes = [sum(counts) for counts in slots]
    kind, start, blocks = np.dtype(np.uint16 if sum(sizes) < 1 << 16 else np.int32), 0, []
    for block, size in enumerate(sizes):
        blocks.append(random_order(size, block, permutations, seed=seed).T + kind.type(start))
        start += size
    return np.concatenate(blocks, axis=1).astype(kind)


class Arranged(NamedTuple):
    """Values under a chunk of relabellings, in slot-major order.

    `values`, `trials` (b, n): the values and which trials they are; `sums`, `squares` (b, S); `slot` (n,).
    """

    values: Floats
    trials: Ints
    sums: Floats
    squares: Floats
    slot: Ints


def arranged(values: Floats, slots: Slots, arrangements: Ints) -> Arranged:
    """The `values` (n,) dealt by `arrangements` (b, n), with their sums per slot."""
    counts = totals(slots)
    slot = np.concatenate([np.repeat(np.arange(len(counts)), block) for block in slots])
    order = np.argsort(slot, kind="stable")
    trials = arrangements[:, order]
    dealt = values[trials]
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[filled])[:-1]])
    sums, squares = np.zeros((2, len(trials), len(counts)))
    sums[:, filled] = np.add.reduceat(dealt, starts, axis=1)
    squares[:, filled] = np.add.reduceat(dealt**2, starts, axis=1)
    return Arranged(values=dealt, trials=trials, sums=sums, squares=squares, slot=slot[order])


def observed_arrangement(slots: Slots) -> Ints:
    """The arrangement as recorded, shape (1, n)."""
    return np.arange(totals(slots).sum(), dtype=np.int32)[None]


def choice_influence(dealt: Arranged, chosen: Chosen, counts: Ints) -> Floats:
    """Every trial's share of the studentised contrast, shape (b, n); the squares of a row sum to 1.

    Trials that only choose have no share: to first order the contrast does not depend on them.
    """
    places = _slot_weights(counts, chosen.tested.T).T
    about = dealt.values - (dealt.sums / np.maximum(counts, 1))[:, dealt.slot]
    error = chosen.error[:, None]
    shares = np.divide(places[:, dealt.slot] * about, error, out=np.zeros_like(about), where=error > 0)
    by_trial = np.empty_like(shares)
    np.put_along_axis(by_trial, dealt.trials, shares, 1)
    return by_trial


def _slot_weights(counts: Ints, tested: Ints) -> Floats:
    """Weight of a trial of every slot (S, b) in the studentised contrast of the `tested` slots (P, b)."""
    one = 1 / np.sqrt(np.maximum(counts * (counts - 1.0), 1))
    places = np.zeros((len(counts), tested.shape[1]))
    np.put_along_axis(places, tested, -one[tested] / len(tested), 0)
    places[-1] = one[-1]
    return places


def dealt_influence(dealt: Dealt, slots: Slots, chosen: Chosen) -> Floats:
    """`choice_influence` of trials that were dealt by `dealing.deal`, shape (n, b), by the contrast by slot."""
    counts = totals(slots)
    places = _slot_weights(counts, chosen.tested)
    means = dealt.sums / np.maximum(counts, 1)[:, None]
    return shares_by_trial(dealt, slots, places, means=means, error=chosen.error)


# --- the test ---------------------------------------------------------------------------------------------------------


def choice_test(values: Floats, slots: Slots, *, permutations: int = 9999, seed: int = 0) -> PermutationResult:
    """One-sided test that the controller is above the references that halves of their trials choose.

    Parameters
    ----------
    values : array of shape (n,)
        Trials block by block, within each block slot by slot.
    slots : tuple of tuple of int
        Counts per block (`Slots`). Two trials of the controller are needed, and a reference with one trial in one half
        and two in the other.
    permutations, seed : int
        Random relabellings and their seed; where there are no more distinct ones all are listed and p is exact, else
        it is that of Phipson & Smyth (2010).
    """
    counts = totals(slots)
    if counts[-1] < 2 or not directions(counts):
        raise ValueError(f"slots {slots}; expected two trials of the controller and a reference that can be tested")
    about = centred(values)
    scale = float(np.abs(about).max())
    exact = distinct_arrangements(slots) <= permutations

    def contrast(arrangements: Ints) -> Chosen:
        dealt = arranged(about, slots, arrangements)
        return chosen_contrast(dealt.sums, dealt.squares, counts)

    def t_of(chosen: Chosen) -> Floats:
        return studentised(chosen.difference, chosen.error, scale)

    observed = contrast(observed_arrangement(slots))
    t = float(t_of(observed)[0])
    if exact:
        listed = listed_arrangements(slots)
        parts = [t_of(contrast(listed[i : i + CHUNK])) for i in range(0, len(listed), CHUNK)]
    else:
        ends = [(i, min(i + CHUNK, permutations)) for i in range(0, permutations, CHUNK)]
        dealt = (deal(about, slots, part, permutations=permutations, seed=seed) for part in ends)
        parts = [t_of(contrast_by_slot(d.sums, d.squares, counts)) for d in dealt]
    permuted = np.concatenate(parts)
    return PermutationResult(
        difference=float(observed.difference[0]),
        t=t,
        p=permutation_p(t, permuted, exact=exact),
        smallest_p=smallest_choice_p(slots, permutations),
        exact=exact,
        tied_p=tied_p(t, permuted, exact=exact),
    )


def slots_tested(values: Floats, slots: Slots) -> tuple[int, ...]:
    """The slots that are tested as recorded: one per direction, of the half that did not choose."""
    dealt = arranged(centred(values), slots, observed_arrangement(slots))
    return tuple(int(s) for s in chosen_contrast(dealt.sums, dealt.squares, totals(slots)).tested[0])
