"""The units of responses, one row each: every other module asks this catalogue what a unit allows."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is known of a unit of responses.

    Attributes
    ----------
    sentence : str
        What a response is, for people.
    zero : bool
        0 means no response, so that gains and changes may be given in percent.
    negative : bool
        Responses may be below 0; False: what alignment brings below 0 is set to 0, since readouts refuse it.
    hints : tuple of str
        Other names under which files state the unit, in lower case.
    claim : str
        What ingest demands of every value of a file ("" = anything): then none may be negative.
    whole : bool
        Ingest demands whole numbers of single trials.
    """

    sentence: str
    zero: bool
    negative: bool
    hints: tuple[str, ...] = ()
    claim: str = ""
    whole: bool = False

    @property
    def lowest(self) -> float:
        """The floor of expected responses: 0, or minus infinity where the unit has negative values."""
        return -math.inf if self.negative else 0.0


UNITS: dict[str, Unit] = {
    "spikes": Unit(
        sentence="spikes in the response window",
        zero=True,
        negative=False,
        hints=("counts", "count", "spike"),
        claim="counts 0, 1, 2, ...",
        whole=True,
    ),
    "spikes/s": Unit(
        sentence="spikes per second",
        zero=True,
        negative=False,
        hints=(
            *(
                "hz",
                "sp/s",
                "rate",
                "1/s",
                "s-1",
                "s^-1",
                "spikes s-1",
                "spikes/sec",
                "spikes/second",
                "spk/s",
                "imp/s",
            ),
            *("spikes per second", "counts/s", "count/s", "counts s-1", "impulses/s"),
        ),
        claim="rates of 0 or more",
    ),
    "dff": Unit(sentence="change of fluorescence over its baseline", zero=False, negative=True, hints=("df/f", "dfof")),
    "deconvolved": Unit(sentence="activity deconvolved from fluorescence", zero=True, negative=False),
    "beta": Unit(sentence="weight of the image in a regression of the signal", zero=False, negative=True),
    "zscore": Unit(sentence="standard deviations from a mean", zero=False, negative=True, hints=("z", "z-score")),
    "au": Unit(sentence="arbitrary units, whose zero means nothing", zero=False, negative=True, hints=("a.u.",)),
}
"""Every unit that a responses file may state, by the name in its attribute ``units``."""


def unit_meant(name: str) -> str | None:
    """The unit that another name stands for, or that it nearly spells; None where no unit is near."""
    by_hint = {hint: unit for unit, row in UNITS.items() for hint in row.hints}
    near = difflib.get_close_matches(name.lower(), UNITS, n=1)
    return by_hint.get(name.lower()) or (near[0] if near else None)
