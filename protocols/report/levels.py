"""Photographs at graded levels on the page: which reached their level, and whether responses follow the levels."""

from __future__ import annotations

from protocols.stats.line import Line
from protocols.verdict.levels.shown import Levels, without_response

from .fit import number, percent
from .section import Section, Table
from .view import RoundView

TITLE = "Photographs at graded levels"
SENTENCE = (
    "Photographs of each site were changed until its predicted response was at a given level (feature accentuation). "
    "Reached: the prediction of the shown 8-bit image lies within {tolerance} of the span of the site's levels; the "
    "validator took no part in making the images. Slope and correlation: mean recorded responses on levels, with 95 % "
    "intervals that take the images of a site as independent, which images of one photograph are not. A slope of 1: "
    "responses rise as was asked for. Trial noise is not corrected for. Described, not tested; none of this counts in "
    "a verdict."
)
LEFT_OUT = (
    "{shown} of the {made} images that were made for the round were shown: there was no room for the other "
    "photographs, or project.toml no longer asked for them when the round was exported."
)
NOTE = "All sites: means over sites, with 95 % t intervals over sites; the correlation by Fisher z."


def levels_sections(view: RoundView) -> list[Section]:
    """One line per site, and one of all sites; what was made and not shown; nothing where nothing was made."""
    left_out, levels = _left_out(view), view.report.levels
    if levels is not None:
        return [_section(levels, left_out)]
    return [Section(title=TITLE, sentences=left_out)] if left_out else []


def _left_out(view: RoundView) -> list[str]:
    """A sentence where fewer such images were shown than the log says were made."""
    made = next((e.get("accentuated", 0) for e in reversed(view.events) if e.get("event") == "generate"), 0)
    shown = sum(bool(row.level) for row in view.key.rows)
    return [LEFT_OUT.format(shown=shown, made=made)] if shown < made else []


def _section(levels: Levels, left_out: list[str]) -> Section:
    header = ["site", "images", "reached", "reached,\nby the validator", "slope (95 %)", "correlation (95 %)"]
    lines = [
        [s.site, str(s.images), percent(s.reached), percent(s.validator_reached), *_cells(s.recorded)]
        for s in levels.sites
    ]
    shares = [percent(levels.reached), percent(levels.validator_reached)]
    pooled = ["all sites", str(levels.images), *shares, *_cells(levels.pooled)]
    table = Table(header=header, lines=lines, last=[pooled], numbers=[i > 0 for i in range(len(header))], note=NOTE)
    sentence = SENTENCE.format(tolerance=percent(levels.tolerance))
    told = [*left_out, *(f"{text}." for text in without_response(levels))]
    return Section(title=TITLE, sentences=[sentence, *told], tables=[table])


def _cells(line: Line) -> list[str]:
    return [
        _with_interval(line.slope, line.slope_low, line.slope_high),
        _with_interval(line.correlation, line.correlation_low, line.correlation_high),
    ]


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "-" if value is None else number(value) + ("" if low is None else f" ({number(low)} to {number(high)})")
