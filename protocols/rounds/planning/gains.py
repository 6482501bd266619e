"""The gain that is expected of a controller: a default, what earlier rounds measured, and which pairs are predicted to
have more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from protocols.arrays import Floats
from protocols.project.folder import Round
from protocols.project.key import KeyRow, read_key

from .division import Pair

FRACTION = {"stretch": (0.3, 0.25), "one_hot": (0.6, 1.0), "suppress": (0.3, 0.35)}
SDS = {"stretch": (1.0, 0.8), "one_hot": (0.6, 1.0), "suppress": (0.3, 0.35)}
"""Mean and SD over sites of the gain of a controller over the best natural image before anything was measured: of the
evoked response (stretch, units that count from zero), else in natural SDs. Models of V4 sites in round one gave 18 of
20 stretch controllers above the best natural image with a median of +32 %, and 13 of 20 one_hot controllers above it.
Of 16 suppress controllers 14 were below the least activating natural image, on average by 0.33 natural SDs (SD 0.35).
"""
WORTH = 8  # earlier pairs that weigh as much as the default
SPREAD = (0.4, 2.5)  # least and largest predicted gain of a pair, relative to the median pair


def earlier_controllers(rounds: Sequence[Round], before: int) -> Iterator[KeyRow]:
    """The confirmatory controllers of the ingested rounds 1 to `before` - 1."""
    for round_ in rounds:
        if 0 < round_.number < before and round_.ingested:
            yield from (row for row in read_key(round_.key_path).of_role("controller") if row.confirmatory)


def expected_gains(
    names: Sequence[Pair],
    *,
    measured: Mapping[str, Sequence[float]],
    predicted: Mapping[Pair, float],
    counted: bool,
) -> dict[Pair, tuple[float, float]]:
    """Mean and SD of the gain of every pair's controller.

    Parameters
    ----------
    names : sequence of (objective, site)
    measured : dict of objective to list of float
        Gains of earlier rounds' controllers; they outweigh the default as they become more than `WORTH`.
    predicted : dict of (objective, site) to float
        Predicted gains; only their ratio to the median of the objective counts, since predictions of optimised images
        are too high. One that is not finite (a reference at or below the blank) counts as not given.
    counted : bool
        Whether gains of stretch are fractions of the evoked response.
    """
    gains = {}
    for objective in dict.fromkeys(o for o, _ in names):
        mean, sd = _level(
            (FRACTION if counted else SDS)[objective], np.asarray(measured.get(objective, ()), dtype=float)
        )
        known = {n: predicted[n] for n in names if n[0] == objective and math.isfinite(predicted.get(n, math.nan))}
        middle = float(np.median(list(known.values()))) if known else 0.0
        for name in (n for n in names if n[0] == objective):
            relative = known[name] / middle if name in known and middle > 0 else 1.0
            gains[name] = (mean * float(np.clip(relative, *SPREAD)), sd)
    return gains


def _level(default: tuple[float, float], measured: Floats) -> tuple[float, float]:
    """Mean and SD of the default and of the finite measured gains, the default counting as `WORTH` of them."""
    known = measured[np.isfinite(measured)]
    mean = (WORTH * default[0] + known.sum()) / (WORTH + len(known))
    squares = WORTH * (default[1] ** 2 + (default[0] - mean) ** 2) + ((known - mean) ** 2).sum()
    return float(mean), float(np.sqrt(squares / (WORTH + len(known))))
