"""What the counts and means in a response window hand on, and what a baseline does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats
from protocols.recordings.units import UNITS


@dataclass(frozen=True)
class Windowed:
    """Responses in the window, as `ImportedTable` takes them.

    Parameters
    ----------
    values : array of shape (T, U)
        Whole numbers stay whole (int64) where no presentation is missing; else float64 with NaN.
    unit : str
        One of `protocols.recordings.units.UNITS`.
    baseline : array of shape (T, U), optional
        In `unit`; for spikes, the count that the rate in the baseline gives in a window of the same length.
    notes : tuple of str
        What was decided, one sentence each.
    """

    values: NDArray[Any]
    unit: str
    baseline: Floats | None = None
    notes: tuple[str, ...] = ()


def with_baseline(
    values: NDArray[Any], baseline: Floats, unit: str, *, subtract: bool, seconds: float, notes: list[str]
) -> Windowed:
    """The responses with their baseline beside them, or less their baseline where `subtract` says so.

    A count less a baseline may be below 0, which no count is: it becomes a difference of rates (divided by `seconds`,
    the length of the response window) in the unit "au". Units that allow numbers below 0 stay what they are.
    """
    if not subtract:
        return Windowed(values, unit, baseline, tuple(notes))
    difference = values.astype(np.float64) - baseline
    if UNITS[unit].negative:
        notes.append(f"the baseline of each presentation was subtracted; the unit stays {unit}")
        return Windowed(difference, unit, None, tuple(notes))
    if unit == "spikes":
        notes.append(
            "the baseline of each presentation was subtracted: responses are differences of rates in spikes/s, "
            "unit au, since they may be below 0"
        )
        return Windowed(difference / seconds, "au", None, tuple(notes))
    notes.append(f"the baseline of each presentation was subtracted: differences of {unit} may be below 0, unit au")
    return Windowed(difference, "au", None, tuple(notes))


def with_missing(values: NDArray[Any], missing: Bools) -> NDArray[Any]:
    """The values, (T, U), with NaN where `missing`; unchanged, in their type, where nothing is missing."""
    return np.where(missing, np.nan, values.astype(np.float64)) if missing.any() else values
