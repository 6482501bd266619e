"""Trials dealt at random to the slots of a comparison, relabelling by relabelling, a block of trials at a time.

Arrays have the trials along their first axis and the relabellings along the second, so that every step runs over
contiguous memory. Any part of the relabellings can be dealt alone: what a relabelling is depends on the seed, its
number and the block, never on who asks for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints

Slots = tuple[tuple[int, ...], ...]
"""Trials per block of reference 0 half 0, reference 0 half 1, reference 1 half 0, ..., of the controller."""


@lru_cache(maxsize=128)
def random_order(size: int, block: int, permutations: int, *, seed: int) -> Ints:
    """Which trial of block `block` lies at each of its `size` places, shape (size, permutations).

    The random key of place i depends on `seed`, `block` and i alone, as in `permutation.random_labels`: sites tested on
    the same trials are relabelled together.
    """
    order = np.random.default_rng([seed, block]).random((size, permutations)).argsort(0)
    order = order.astype(np.uint16 if size < 1 << 16 else np.int32)
    order.flags.writeable = False
    return order


class Dealt(NamedTuple):
    """Values under b relabellings, slot by slot.

    Attributes
    ----------
    sums, squares : arrays of shape (S, b)
        Of the values in every slot, and of their squares.
    values, trials : arrays of shape (n, b)
        The values slot by slot, within a slot block by block, and which trials they are.
    """

    sums: Floats
    squares: Floats
    values: Floats
    trials: Ints


def deal(values: Floats, slots: Slots, part: tuple[int, int], *, permutations: int, seed: int) -> Dealt:
    """The relabellings ``part[0]`` to ``part[1]``, of `permutations`, of `values` (n,), which lie block by block.

    Sums are made in the order of `numpy.add.reduceat`, so that they have the bits of `choice.arranged`: between
    references that tie in everything the last bit of a sum decides.
    """
    start, stop = part
    counts = np.asarray(slots)
    ends = np.cumsum(counts.sum(0))
    place = ends - counts.sum(0)  # of the next trial of each slot
    dealt, trials = np.empty((2, int(ends[-1]), stop - start)), np.empty((int(ends[-1]), stop - start), dtype=np.intp)
    first = 0
    for block, of_block in enumerate(slots):
        order = random_order(sum(of_block), block, permutations, seed=seed)[:, start:stop]
        row = 0
        for slot, count in enumerate(of_block):
            trials[place[slot] : place[slot] + count] = order[row : row + count]
            trials[place[slot] : place[slot] + count] += first
            place[slot] += count
            row += count
        first += sum(of_block)
    np.take(values, trials, out=dealt[0], mode="clip")
    np.multiply(dealt[0], dealt[0], out=dealt[1])
    sums = np.zeros((2, len(ends), stop - start))
    for slot, (end, count) in enumerate(zip(ends, counts.sum(0), strict=True)):
        if count:
            for kind in (0, 1):
                sums[kind, slot] = _as_reduceat(dealt[kind, end - count : end])
    return Dealt(sums[0], sums[1], dealt[0], trials)


def _as_reduceat(rows: Floats) -> Floats:
    """Sum over the first axis with the roundings of `numpy.add.reduceat`: the first row plus the sum of the others."""
    return np.asarray(rows[0] + _pairwise(rows[1:]) if len(rows) > 1 else rows[0])


def _pairwise(rows: Floats) -> Floats:
    """Sum over the first axis with the roundings of numpy's sum of a contiguous row: eight partial sums up to 128."""
    count = len(rows)
    if count < 8:
        few = rows[0].copy()
        for row in rows[1:]:
            few += row
        return np.asarray(few)
    if count > 128:
        half = count // 2 - (count // 2) % 8
        return np.asarray(_pairwise(rows[:half]) + _pairwise(rows[half:]))
    parts, whole = rows[:8].copy(), count - count % 8
    for i in range(8, whole, 8):
        parts += rows[i : i + 8]
    total = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]))
    for row in rows[whole:]:
        total += row
    return np.asarray(total)


def shares_by_trial(dealt: Dealt, slots: Slots, weights: Floats, *, means: Floats, error: Floats) -> Floats:
    """``weights * (value - mean) / error`` of every trial, shape (n, b), 0 where the error is 0.

    `weights` and `means` (S, b) are by slot, `error` (b,).
    """
    about, known, place = np.empty_like(dealt.values), error > 0, 0
    for slot, count in enumerate(np.sum(slots, axis=0)):
        here = slice(place, place + count)
        np.subtract(dealt.values[here], means[slot], out=about[here])
        about[here] *= weights[slot]
        place += count
    about /= np.where(known, error, 1.0)
    if not known.all():
        about[:, ~known] = 0.0
    shares = np.empty_like(about)
    places = dealt.trials * len(error)
    places += np.arange(len(error))
    shares.reshape(-1)[places.reshape(-1)] = about.reshape(-1)
    return shares
