"""What stands beside the tests within its share of a round: fewer presentations first, then fewer images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from protocols.project.objectives import OBJECTIVES

from .division import BESIDE, Share

LEAST = 4  # presentations of an image beside the tests, as long as there are images to leave out


NATURALS = 8
"""Random photographs that stay as long as they fit where an objective compares sites: its suppression is tested
against them.
"""


def tested_naturals(objectives: Iterable[str]) -> int:
    """`NATURALS` where one of `objectives` is tested against random photographs, else 0."""
    return NATURALS if any(OBJECTIVES[o].all_sites for o in objectives) else 0


def beside_share(wishes: Mapping[str, Share], room: int, *, steps_of: int, naturals: int = 0) -> dict[str, Share]:
    """The roles of `BESIDE` with what they wish for, or with what `room` presentations hold.

    All have at most the same number of presentations, the largest that fits, down to `LEAST`. Where that is not
    enough, all roles lose the same fraction of their images, but `naturals` random photographs stay (those that are
    asked for, if fewer) as long as they alone fit. Graded images are left out in whole steps of `steps_of`
    controllers.
    """
    asked = {name: wishes.get(name, Share(0, LEAST)) for name in BESIDE}
    largest = max(share.repeats for share in asked.values())
    for most in range(max(largest, LEAST), LEAST - 1, -1):
        fewer = {name: Share(s.images, min(s.repeats, most)) for name, s in asked.items()}
        if _sum(fewer) <= room:
            return fewer
    kept = _smaller(fewer, room)
    natural = fewer["natural"]
    if kept["natural"].images < (least := min(naturals, natural.images)):
        first = Share(min(least, max(room, 0) // natural.repeats), natural.repeats)
        kept = _smaller({**fewer, "natural": Share(0, natural.repeats)}, room - first.presentations)
        kept["natural"] = first
    graded = kept["graded"]
    return kept | {"graded": Share(graded.images - graded.images % max(1, steps_of), graded.repeats)}


def _smaller(shares: Mapping[str, Share], room: int) -> dict[str, Share]:
    """The same fraction of the images of every role, such that `room` presentations hold them."""
    needed = _sum(shares)
    part = min(1.0, max(room, 0) / needed) if needed else 0.0
    return {name: Share(math.floor(s.images * part), s.repeats) for name, s in shares.items()}


def _sum(shares: Mapping[str, Share]) -> int:
    return sum(share.presentations for share in shares.values())
