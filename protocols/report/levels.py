"""Photographs at graded levels on the page: which reached their level, and whether responses follow the levels."""

from __future__ import annotations

from protocols.verdict.levels.line import Line
from protocols.verdict.levels.shown import Levels

from .fit import number, percent
from .section import Section, Table
from .view import RoundView

SENTENCE = (
    "Photographs of each site were changed until its predicted response was at a given level (feature accentuation). "
    "Reached: the prediction of the shown 8-bit image lies within {tolerance} of the span of the site's levels; the "
    "validator took no part in making the images. Slope and correlation: mean recorded responses on levels, with 95 % "
    "intervals that take the images of a site as independent, which images of one photograph are not. A slope of 1: "
    "responses rise as was asked for. Trial noise is not corrected for. Described, not tested; none of this counts in "
    "a verdict."
)
NOTE = "All sites: means over sites, with 95 % t intervals over sites; the correlation by Fisher z."


def levels_sections(view: RoundView) -> list[Section]:
    """One line per site, and one of all sites; nothing where no such image was shown."""
    return [] if view.report.levels is None else [_section(view.report.levels)]


def _section(levels: Levels) -> Section:
    header = ["site", "images", "reached", "reached,\nby the validator", "slope (95 %)", "correlation (95 %)"]
    lines = [
        [s.site, str(s.images), percent(s.reached), percent(s.validator_reached), *_cells(s.recorded)]
        for s in levels.sites
    ]
    shares = [percent(levels.reached), percent(levels.validator_reached)]
    lines.append(["all sites", str(levels.images), *shares, *_cells(levels.pooled)])
    table = Table(header=header, lines=lines, numbers=[i > 0 for i in range(len(header))], note=NOTE)
    sentence = SENTENCE.format(tolerance=percent(levels.tolerance))
    return Section(title="Photographs at graded levels", sentences=[sentence], tables=[table])


def _cells(line: Line) -> list[str]:
    return [
        _with_interval(line.slope, line.slope_low, line.slope_high),
        _with_interval(line.correlation, line.correlation_low, line.correlation_high),
    ]


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "-" if value is None else number(value) + ("" if low is None else f" ({number(low)} to {number(high)})")
