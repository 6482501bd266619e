"""A fast recipe of our own: few large steps."""

from __future__ import annotations

from collections.abc import Sequence

from synth.contract import check_shape
from synth.parameterisations import pixels
from synth.rules import Rule, normalise, sgd, spectral

from .parts import QuickRecipe


def quick(shape: Sequence[int], *, steps: int = 10, momentum: float = 0.5) -> QuickRecipe:
    """Few large steps, for results within seconds; give it ``start=`` the best measured photographs (docs/speed.md).

    The gradient is divided by f^1.5 and by its root mean square, so that every step has the same size whatever the
    encoder's units. A share `momentum` of each step is added to the next. No transform shifts the images. On the
    benchmark of time to quality the recipe needs 7 to 8 steps. More steps raise the score further, but images transfer
    to other encoders only with shifts (``transforms``).

    Parameters
    ----------
    shape : (C, H, W)
    steps : int
        The images are checked at the start and at the end.
    momentum : float
        Share of the last step that is added to the next, at least 0 and below 1.
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
