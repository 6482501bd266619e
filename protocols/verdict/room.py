"""How low a site was driven: gain of a suppress controller, room below its reference, and the blank beside it.

A unit that cannot be negative has a floor: no controller can take more than the reference evokes. What stands here says
how much that is, and what a controller that silences the site would have given with these trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.key import KeyRow
from protocols.recordings.units import UNITS
from protocols.stats.choice import ChoicePool
from protocols.stats.intervals import contrast_interval
from protocols.stats.permutation import PermutationResult, Pool

from .gain import contrast_parts, few_repeats
from .reference import Reference, comparison_pool, enough, sides
from .scores import Score, Setting


def suppress_gain(setting: Setting, score: Score, reference: Reference, *, site: str) -> dict[str, Any]:
    """How far below the picked reference, in natural SDs: a percentage of a response near zero would mean nothing.

    `room` and `silent_p` are told where the unit cannot be negative.
    """
    fields: dict[str, Any] = {"gain_unit": "", "gain_note": few_repeats(reference)}
    if site in setting.scale.site_ids:
        sd = float(setting.scale.sd[setting.scale.site_ids.index(site)])
        parts = contrast_parts(score.tested, reference)
        low, high = contrast_interval(parts)
        difference = sum(weight * float(x.mean()) for weight, x in parts)
        fields |= {"gain": difference / sd, "gain_low": low / sd, "gain_high": high / sd, "gain_unit": "natural SD"}
    if not UNITS[setting.unit].negative:
        silence = setting.table.silence(site)
        silent = setting.test(silenced(reference.pool, -silence), secondary=True)
        fields |= {"room": float(reference.mean(setting.table.column(site) - silence)), "silent_p": silent.p}
    return fields


def silenced(pool: Pool | ChoicePool, silence: Floats) -> Pool | ChoicePool:
    """The trials of a test, the controller's with the values `silence` (T,): those of a site that fell silent."""
    if isinstance(pool, ChoicePool):
        mine = np.concatenate([np.repeat(np.arange(len(b)) == len(b) - 1, b) for b in pool.slots])
    else:
        mine = np.concatenate([np.repeat([False, True], counts) for counts in pool.strata])
    return pool._replace(values=np.where(mine, silence[pool.rows], pool.values))


def below_blank(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """Is the response below that to the blank? Difference, its interval and the same one-sided test.

    Nothing where no blank was shown often enough; no p where these trials could not have reached the level.
    """
    blanks = sorted(r.image_id for r in setting.key.of_role("blank") if r.image_id in setting.table.image_rows)
    if not blanks or not enough(pool := comparison_pool(setting, score, [row.image_id], reference=blanks)):
        return {}
    treated, other = (score.tested[rows] for rows in sides(pool))
    low, high = contrast_interval([(1.0, treated), (-1.0, other)])
    result = setting.test(pool, secondary=True)
    fields = {"blank_difference": float(treated.mean() - other.mean()), "blank_low": low, "blank_high": high}
    return fields if result.smallest_p > setting.alpha else {**fields, "blank_p": result.p}


@dataclass(frozen=True)
class Room:
    """Why a verdict of "no control" cannot be expected to be another one; both texts are "" where it can.

    Attributes
    ----------
    untestable : str
        No labelling of the recorded trials has a p that reaches the level.
    little : str
        Silence would not have reached it.
    """

    untestable: str = ""
    little: str = ""


def room_of(setting: Setting, result: PermutationResult, fields: dict[str, Any]) -> Room:
    """What the floor of the unit leaves of a test, from the fields of its row."""
    room, silent_p = fields.get("room"), fields.get("silent_p")
    if room is None or silent_p is None:
        return Room()
    told = f"no room below the reference: it evokes {room:.3g} {setting.unit}"
    if result.tied_p > setting.alpha:
        return Room(untestable=f"{told}, and p could not fall below {result.tied_p:.3g} with so few")
    if silent_p > setting.alpha:
        return Room(little=f"{told}, and silence would have had p {silent_p:.3g}")
    return Room()
