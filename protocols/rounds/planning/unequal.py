"""Unequal presentations: more for the pairs at which they find more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Floats, Ints

from .found import Pairs, expected_found
from .reach import Judging, fewest

FINE = 64  # levels that are a block apart
STEP = 0.03  # of the level, between later ones: their curves are nearly straight


@dataclass(frozen=True, kw_only=True)
class Unequal:
    """Presentations (P,) of every controller, as many of each of its references, and the expected number found."""

    counts: Ints
    gained: float

    def references(self, images: Ints) -> dict[int, int]:
        """Presentations of every photograph of `images` (P, K): the largest need of its pairs."""
        return needs(self.counts, images)


def needs(counts: Ints, images: Ints) -> dict[int, int]:
    """Presentations of every photograph of `images` (P, K), shown as often as the largest of its pairs' `counts`
    (P,).
    """
    shown: dict[int, int] = {}
    for count, row in zip(counts.tolist(), images.tolist(), strict=True):
        for image in row:
            shown[image] = max(shown.get(image, 0), count)
    return shown


def unequal_counts(pairs: Pairs, count: int, left: int, *, blocks: int, test: Judging) -> Unequal | None:
    """Divide `left` presentations among the pairs, in whole blocks, by the steepest rise of what is expected to be
    found.

    Each pair starts with the fewest presentations that can reach alpha. The curve of a pair rises slowly first; so
    steps are taken along its upper concave hull (marginal analysis: Fox 1966). None where not even the start fits.
    """
    size, images = len(pairs.names), pairs.images[:, :count]
    least = fewest(count, test, blocks=blocks)
    levels = _levels(least, max(least, 6 * left // max(1, size)), blocks)
    curves = np.stack([_at(pairs, count, int(n), blocks=blocks, test=test) for n in levels], axis=1)  # (P, L)
    place = np.zeros(size, dtype=np.int64)
    if _cost(levels[place], images) > left:
        return None
    open_ = np.ones(size, dtype=np.bool_)
    while open_.any():
        slopes, targets = _steepest(curves, levels, place)
        pair = int(np.where(open_, slopes, -np.inf).argmax())
        if slopes[pair] <= 0:
            break
        moved = place.copy()
        moved[pair] = targets[pair]
        while moved[pair] > place[pair] and _cost(levels[moved], images) > left:
            moved[pair] -= 1
        open_[pair] = moved[pair] == targets[pair]
        place = moved
    return Unequal(counts=levels[place], gained=float(curves[np.arange(size), place].sum()))


def _levels(least: int, most: int, blocks: int) -> Ints:
    """Numbers of presentations from `least` to `most` in whole blocks: all up to `FINE` of them, then `STEP` apart."""
    steps, last = np.arange(FINE), max(0, (most - least) // blocks)
    later = np.round(FINE * (1 + STEP) ** np.arange(max(0, math.ceil(math.log(max(last, 1) / FINE, 1 + STEP)) + 1)))
    places = np.unique(np.concatenate([steps, later.astype(np.int64)]))
    return np.asarray(least + blocks * places[places <= last])


def _at(pairs: Pairs, count: int, n: int, *, blocks: int, test: Judging) -> Floats:
    shown = np.full(len(pairs.names), n)
    return expected_found(pairs, count, shown, test=test, blocks=blocks)


def _cost(counts: Ints, images: Ints) -> int:
    return int(counts.sum()) + sum(needs(counts, images).values())


def _steepest(curves: Floats, levels: Ints, place: Ints) -> tuple[Floats, Ints]:
    """The steepest slope from each pair's place on its curve to any later level, and that level, both (P,)."""
    slopes, targets = np.full(len(curves), -np.inf), place.copy()
    for pair, at in enumerate(place.tolist()):
        if at + 1 < len(levels):
            rises = (curves[pair, at + 1 :] - curves[pair, at]) / (levels[at + 1 :] - levels[at])
            targets[pair] = at + 1 + int(rises.argmax())
            slopes[pair] = float(rises.max())
    return slopes, targets
