"""When a round is looked at before its end, and by which rule; fixed at export, in the manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arrays import Ints

if TYPE_CHECKING:  # it loads scipy
    from protocols.stats.stages import Spending

SHARES = {0: (), 1: (1 / 2,), 2: (1 / 2, 3 / 4)}
"""Number of looks to the share of the blocks that each waits for."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The interim looks of one round.

    Attributes
    ----------
    after : tuple of int
        How many blocks each look waits for; also the first block (from 0) that it may re-allocate.
    blocks : int
        Blocks of the round.
    alpha : float
        One-sided level of a verdict.
    spending : "obrien_fleming" or "pocock"
        How alpha is spent over the looks.
    futility : float
        A pair whose conditional power is below this is given up.
    """

    after: tuple[int, ...]
    blocks: int
    alpha: float = 0.01
    spending: Spending = "obrien_fleming"
    futility: float = 0.05

    def __post_init__(self) -> None:
        ends = [0, *self.after, self.blocks]
        if not self.after or not all(a < b for a, b in pairwise(ends)):
            raise ValueError(f"looks after {self.after} of {self.blocks} blocks; expected a rise from 1 to below all")

    @property
    def shares(self) -> tuple[float, ...]:
        """Planned share of the blocks at every look and at the end, (looks + 1,)."""
        return tuple(n / self.blocks for n in (*self.after, self.blocks))

    def stage_of(self, block: Ints) -> Ints:
        """Stage (0, 1, ...) of trials by their blocks, (T,)."""
        return np.searchsorted(np.array(self.after), block, side="right").astype(np.int64)


def look_blocks(looks: int, after: tuple[int, ...], blocks: int) -> tuple[int, ...]:
    """How many blocks each of `looks` looks waits for: `after` where given, else half, or half and three quarters."""
    return after or tuple(max(1, math.floor(share * blocks)) for share in SHARES[looks])


def looks_of(manifest: Mapping[str, Any]) -> Looks | None:
    """The looks that the manifest of a round plans; None where it plans none, or shows no controller."""
    settings = (manifest.get("config") or {}).get("evaluation") or {}
    number, blocks = int(settings.get("looks", 0)), int((manifest.get("design") or {}).get("blocks", 1))
    if not number or blocks < 2 or not (manifest.get("counts") or {}).get("controller"):
        return None
    after = look_blocks(number, tuple(int(n) for n in settings.get("look_after", ())), blocks)
    return Looks(
        after=after,
        blocks=blocks,
        alpha=float(settings["alpha"]),
        spending=settings["spending"],
        futility=float(settings["futility"]),
    )
