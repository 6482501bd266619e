"""Our own recipe for when seconds count: few large steps."""

from __future__ import annotations

from collections.abc import Sequence

from synth.contract import check_shape
from synth.parameterisations import pixels
from synth.rules import Rule, normalise, sgd, spectral

from .parts import QuickRecipe


def quick(shape: Sequence[int], *, steps: int = 10, momentum: float = 0.5) -> QuickRecipe:
    """Few large steps for when seconds count; give it ``start=`` the best measured photographs (docs/speed.md).

    The gradient is divided by f^1.5 and by its root mean square, so that every step is of one size whatever the encoder's units; momentum
    carries it along; nothing is shifted. On the benchmark of time to quality it needs 7 to 8 steps. With more of them it climbs on, but
    shifts (``transforms``) are what makes images transfer.

    Parameters
    ----------
    shape : (C, H, W)
    steps : int
        Checked at the start and at the end alone.
    momentum : float
        Share of the last step that is made again.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum {momentum}; expected at least 0 and below 1")
    return {
        "parameterisation": pixels(check_shape(shape)),
        "rule": Rule(sgd(momentum=momentum), precondition=(spectral(1.5), normalise()), name="quick"),
        "learning_rate": 0.1 * (1 - momentum),
        "transforms": (),
        "steps": steps,
        "check_every": steps,
    }
