"""Photographs at graded levels, as recorded: did predictions reach the levels, and do responses follow them?

Nothing here is tested, and nothing counts in a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.project.key import Key, KeyRow
from protocols.recordings.trial_table import TrialTable
from protocols.stats.line import Line, line_of, pooled

TOLERANCE = 0.05
"""Share of the span of a site's levels within which a prediction has reached its level."""


@dataclass(frozen=True)
class SiteLevels:
    """One site's photographs at graded levels.

    Attributes
    ----------
    site : str
    images : int
        That were shown.
    reached, validator_reached : float
        Share of them whose prediction, after 8 bits, lies within `TOLERANCE` of the levels' span of the level; None: no
        predictions.
    recorded : Line
        Mean responses on levels, over the images with a response.
    """

    site: str
    images: int
    reached: float | None
    validator_reached: float | None
    recorded: Line


@dataclass(frozen=True)
class Levels:
    """All sites' photographs at graded levels.

    Attributes
    ----------
    tolerance : float
    images : int
    reached, validator_reached : float
        Shares over all images.
    sites : tuple of SiteLevels
    pooled : Line
        Mean over sites of slopes and of correlations (Fisher z), with 95 % t intervals over sites.
    """

    tolerance: float
    images: int
    reached: float | None
    validator_reached: float | None
    sites: tuple[SiteLevels, ...]
    pooled: Line

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Levels:
        """From `dataclasses.asdict`, as JSON holds it."""
        sites = tuple(SiteLevels(**{**site, "recorded": Line(**site["recorded"])}) for site in known["sites"])
        return cls(**{**known, "sites": sites, "pooled": Line(**known["pooled"])})


def level_lines(levels: Levels | None) -> list[str]:
    """For people: synthesis success, and slope and correlation over sites."""
    if levels is None:
        return []
    shares = [f"{100 * share:.0f} %" for share in (levels.reached, levels.validator_reached) if share is not None]
    lines = [
        f"Photographs at graded levels: {levels.images} images of {len(levels.sites)} sites (described, not tested)",
        f"  predictions that reached their level: {', by the validator '.join(shares) or 'not known'}",
    ]
    lines += [f"  {sentence}" for sentence in without_response(levels)]
    line = levels.pooled
    if line.slope is None or line.correlation is None:
        return [*lines, "  responses: none, or they do not vary"]
    slope, r = f"slope {line.slope:.2f}", f"correlation {line.correlation:.2f}"
    if line.slope_low is not None and line.correlation_low is not None:
        slope += f" [{line.slope_low:.2f}, {line.slope_high:.2f}]"
        r += f" [{line.correlation_low:.2f}, {line.correlation_high:.2f}]"
    return [*lines, f"  responses on levels, mean over {line.images} sites: {slope}, {r}"]


def without_response(levels: Levels) -> list[str]:
    """A sentence where images were recorded without a single response."""
    lost = levels.images - sum(site.recorded.images for site in levels.sites)
    return [f"{lost} of {levels.images} images have no response"] if lost else []


def levels_of(key: Key, table: TrialTable, excluded: Sequence[str] = ()) -> Levels | None:
    """What the images with a level say, of all sites but those `excluded`; None where none was shown."""
    own: dict[str, list[KeyRow]] = {}
    for row in key.rows:
        if row.target in row.level and row.target not in excluded:
            own.setdefault(row.target, []).append(row)
    if not own:
        return None
    hits: dict[str, list[bool]] = {"predicted": [], "validator_predicted": []}
    sites = []
    for site in sorted(own):
        reached = {name: _reached(own[site], site, name) for name in hits}
        for name, found in reached.items():
            hits[name] += found
        sites.append(
            SiteLevels(
                site=site,
                images=len(own[site]),
                reached=_share(reached["predicted"]),
                validator_reached=_share(reached["validator_predicted"]),
                recorded=_recorded(own[site], site, table),
            )
        )
    return Levels(
        tolerance=TOLERANCE,
        images=sum(site.images for site in sites),
        reached=_share(hits["predicted"]),
        validator_reached=_share(hits["validator_predicted"]),
        sites=tuple(sites),
        pooled=pooled([site.recorded for site in sites]),
    )


def _reached(rows: Sequence[KeyRow], site: str, kind: str) -> list[bool]:
    """Of every image with a prediction, whether that is within the tolerance of the level."""
    levels = [row.level[site] for row in rows]
    near = TOLERANCE * (max(levels) - min(levels))
    answers = [(getattr(row, kind).get(site, math.nan), row.level[site]) for row in rows]
    return [abs(answer - wanted) <= near for answer, wanted in answers if math.isfinite(answer)]


def _share(hits: Sequence[bool]) -> float | None:
    return float(np.mean(hits)) if hits else None


def _recorded(rows: Sequence[KeyRow], site: str, table: TrialTable) -> Line:
    """The line of mean responses on levels over the images of a site that were recorded."""
    if site not in table.site_ids:
        return Line(0)
    column = table.column(site)
    trials = [table.rows(row.image_id, np.isfinite(column)) for row in rows]
    pairs = [(row.level[site], float(column[t].mean())) for row, t in zip(rows, trials, strict=True) if len(t)]
    return line_of(*np.array(pairs).T) if pairs else Line(0)
