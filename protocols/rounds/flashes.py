"""Flashes in an ordered sequence of frames: the general flash and the red flash of WCAG 2.x, success criterion 2.3.1.

A transition is the change between adjacent peaks and valleys of a place's luminance over time; a flash is two opposing
transitions (W3C, Web Content Accessibility Guidelines 2.2, "general flash and red flash thresholds"). Here the places
are cells of about 0.1 degrees, over which light is averaged: flicker of finer balanced patterns is exempt there. A
transition of the field is a moment at which cells of more than the allowed solid angle within any 10 x 10 degrees make
a transition, up or down; two of them are counted as one flash, whether or not the same cells made both, and half a
flash counts: both readings are the stricter ones.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats32
from protocols.progress import counted

CELL_DEG = 0.1
MAX_CELLS = 128
FIELD_DEG = 10.0
WINDOW_MS = 1000.0
TOLERANCE = 1e-6
SR_PER_DEG2 = (math.pi / 180) ** 2


def cell_px(height: int, width: int, px_per_deg: float) -> int:
    """Side of a cell in pixels: 0.1 degrees, more where a side would have over 128 cells."""
    return max(1, math.floor(CELL_DEG * px_per_deg), -(-max(height, width) // MAX_CELLS))


def cells(values: NDArray[np.float64], side: int) -> Floats32:
    """Means over cells of `side` x `side` pixels: (..., H, W) -> (..., ceil(H / side), ceil(W / side)); the last ones
    may be narrower.
    """
    height, width = values.shape[-2:]
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=-2), columns, axis=-1)
    sizes = np.diff([*rows, height])[:, None] * np.diff([*columns, width])[None, :]
    means: Floats32 = (sums / sizes).astype(np.float32)
    return means


class Transitions:
    """Transitions of every cell, one state of the screen after the other.

    Parameters
    ----------
    value : array (h, w)
        What the screen shows before the sequence.
    flag : array (h, w), bool
        Whether that state makes a transition to or from it count.
    change : float
        Smallest change between a peak and a valley that counts.
    """

    def __init__(self, value: Floats32, flag: Bools, change: float) -> None:
        self.change = change
        self.rising = self.falling = np.zeros(
            value.shape, dtype=np.bool_
        )  # the last transition; neither before the first
        self.low = self.high = value
        self.low_flag = self.high_flag = flag

    def step(self, value: Floats32, flag: Bools) -> Bools:
        """Where a transition is completed by the change to this state, (h, w)."""
        up = value - self.low >= self.change
        up &= ~self.rising
        up &= flag | self.low_flag
        down = self.high - value >= self.change
        down &= ~self.falling
        down &= flag | self.high_flag
        moved = up | down
        self.rising = up | (self.rising & ~down)
        self.falling = down | (self.falling & ~up)
        lower, higher = value < self.low, value > self.high
        lower |= moved
        higher |= moved
        self.low_flag = np.where(lower, flag, self.low_flag)
        self.high_flag = np.where(higher, flag, self.high_flag)
        self.low = np.where(lower, value, self.low)
        self.high = np.where(higher, value, self.high)
        return moved


def largest_area(places: Bools, cell_deg: float) -> float:
    """Largest solid angle [sr] of the marked cells in any field of 10 x 10 degrees (small-angle approximation)."""
    total = int(np.count_nonzero(places))
    side = max(1, math.ceil(FIELD_DEG / cell_deg - TOLERANCE))
    if total and (side < places.shape[0] or side < places.shape[1]):
        sums = np.pad(np.cumsum(np.cumsum(places, axis=0, dtype=np.int32), axis=1), ((1, 0), (1, 0)))
        rows, columns = min(side, places.shape[0]), min(side, places.shape[1])
        inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
        total = int(inside.max())
    return float(total * cell_deg**2 * SR_PER_DEG2)


@dataclass(frozen=True)
class FlashCount:
    """The worst second of a sequence and all trials that lie in seconds above the limit.

    Parameters
    ----------
    worst : float
        Largest number of flashes in any one second (two transitions of the field are one flash).
    worst_area_sr : float
        Largest solid angle that made a transition at one moment, in any 10-degree field.
    worst_trials : tuple of int
        Positions of the trials in the worst second.
    trials : tuple of int
        Positions of all trials in seconds above the limit.
    """

    worst: float
    worst_area_sr: float
    worst_trials: tuple[int, ...]
    trials: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FlashLimit:
    """What counts as a flash, and how many are allowed.

    Attributes
    ----------
    change : float
        Smallest change between a peak and a valley that counts, in the unit of the compared values.
    area_sr : float
        Solid angle [sr] that must be exceeded at one moment.
    per_second : float
        Flashes per second that are allowed.
    """

    change: float
    area_sr: float
    per_second: float


def count_flashes(
    values: Floats32,
    flags: Bools,
    background: tuple[Floats32, Bools],
    *,
    order: Sequence[int],
    durations_ms: tuple[float, float],
    limit: FlashLimit,
    cell_deg: float,
) -> FlashCount:
    """Flashes of a sequence: background, image ``order[0]``, background, image ``order[1]``, ...

    Parameters
    ----------
    values, flags : arrays (S, h, w)
        What is compared (luminance, redness), and which states make a transition count, in cells.
    background : (value, flag), each (h, w)
    order : sequence of T positions in `values`
    durations_ms : (float, float)
        Of an image, and of the background after it.
    limit : FlashLimit
    cell_deg : float
        Side of a cell in degrees.
    """
    on_ms, off_ms = durations_ms
    transitions = Transitions(*background, limit.change)
    recent: deque[tuple[float, int]] = deque()
    worst, worst_area, worst_trials = 0.0, 0.0, (0, 0)
    over: set[int] = set()
    for trial, image in enumerate(counted(order, "flashes")):
        for after_ms, value, flag in ((0.0, values[image], flags[image]), (on_ms, *background)):
            if after_ms and not off_ms:
                continue
            now = trial * (on_ms + off_ms) + after_ms
            moved = transitions.step(value, flag)
            area = largest_area(moved, cell_deg)
            worst_area = max(worst_area, area)
            if area <= limit.area_sr:
                continue
            recent.append((now, trial))
            while recent[0][0] <= now - WINDOW_MS + TOLERANCE:
                recent.popleft()
            flashes = len(recent) / 2
            if flashes > worst:
                worst, worst_trials = flashes, (recent[0][1], trial)
            if flashes > limit.per_second:
                over.update(range(recent[0][1], trial + 1))
    return FlashCount(worst, worst_area, tuple(range(worst_trials[0], worst_trials[1] + 1)), tuple(sorted(over)))
