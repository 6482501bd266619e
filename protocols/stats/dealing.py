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
    """Values under b relabellings.

    Attributes
    ----------
    sums, squares : arrays of shape (S, b)
        Of the values in every slot, and of their squares.
    values, order : list of arrays of shape (size, b)
        By block: the values, places slot by slot, and which trial of the block each is.
    """

    sums: Floats
    squares: Floats
    values: list[Floats]
    order: list[Ints]


def deal(values: Floats, slots: Slots, part: tuple[int, int], *, permutations: int, seed: int) -> Dealt:
    """The relabellings ``part[0]`` to ``part[1]``, of `permutations`, of `values` (n,), which lie block by block."""
    start, stop = part
    sums, squares = np.zeros((2, len(slots[0]), stop - start))
    dealt, orders, first = list[Floats](), list[Ints](), 0
    for block, counts in enumerate(slots):
        size = sum(counts)
        order = random_order(size, block, permutations, seed=seed)[:, start:stop].astype(np.intp)
        here = values[first : first + size].take(order)
        square = here * here
        place = 0
        for slot, count in enumerate(counts):
            if count:
                sums[slot] += np.add.reduce(here[place : place + count], 0)
                squares[slot] += np.add.reduce(square[place : place + count], 0)
                place += count
        dealt.append(here)
        orders.append(order)
        first += size
    return Dealt(sums, squares, dealt, orders)


def shares_by_trial(dealt: Dealt, slots: Slots, weights: Floats, *, means: Floats, error: Floats) -> Floats:
    """``weights * (value - mean) / error`` of every trial, shape (n, b), 0 where the error is 0.

    `weights` and `means` (S, b) are by slot, `error` (b,).
    """
    total = sum(map(len, dealt.values))
    shares, columns, first = np.empty((total, len(error))), np.arange(len(error)), 0
    known = error > 0
    divisor = np.where(known, error, 1.0)
    for values, order, counts in zip(dealt.values, dealt.order, slots, strict=True):
        about, place = np.empty_like(values), 0
        for slot, count in enumerate(counts):
            if count:
                here = slice(place, place + count)
                np.subtract(values[here], means[slot], out=about[here])
                about[here] *= weights[slot]
                place += count
        about /= divisor
        if not known.all():
            about[:, ~known] = 0.0
        by_trial = shares[first : first + len(values)].reshape(-1)
        by_trial[(order * len(error) + columns).reshape(-1)] = about.reshape(-1)
        first += len(values)
    return shares
