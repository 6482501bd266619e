"""What stands beside the tests within its share of a round: fewer presentations first, then fewer images."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .division import BESIDE, Share

LEAST = 4  # presentations of an image beside the tests, as long as there are images to leave out


def beside_share(wishes: Mapping[str, Share], room: int, *, steps_of: int) -> dict[str, Share]:
    """The roles of `BESIDE` with what they wish for, or with what `room` presentations hold.

    All have at most the same number of presentations, the largest that fits, down to `LEAST`. Where that is not
    enough, all roles lose the same fraction of their images. Graded images are left out in whole steps of `steps_of`
    controllers.
    """
    asked = {name: wishes.get(name, Share(0, LEAST)) for name in BESIDE}
    largest = max(share.repeats for share in asked.values())
    for most in range(max(largest, LEAST), LEAST - 1, -1):
        fewer = {name: Share(s.images, min(s.repeats, most)) for name, s in asked.items()}
        if _sum(fewer) <= room:
            return fewer
    needed = _sum(fewer)
    part = room / needed if needed else 0.0
    kept = {name: Share(math.floor(s.images * part), s.repeats) for name, s in fewer.items()}
    graded = kept["graded"]
    return kept | {"graded": Share(graded.images - graded.images % max(1, steps_of), graded.repeats)}


def _sum(shares: Mapping[str, Share]) -> int:
    return sum(share.presentations for share in shares.values())
