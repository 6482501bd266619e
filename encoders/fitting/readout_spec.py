"""Which readout is fitted, and how: the names of all readouts and `ReadoutSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.readouts import DEFAULT_POOL, KINDS, MAP_POOL, GradientReadout
from encoders.solvers.gradient import Loss

CLOSED_FORM = ("ridge", "banded_ridge", "pls")
TRAINED = tuple(kind for kind, readout in KINDS.items() if issubclass(readout, GradientReadout))
READOUTS = (*CLOSED_FORM, *TRAINED)
TOGETHER = ("topographic", "banded_ridge")  # readouts that weigh layers against each other: all layers in one member


@dataclass(frozen=True)
class ReadoutSpec:
    """How responses are read from features.

    Parameters
    ----------
    kind : str
        One of `READOUTS`.
    options : dict
        Keyword arguments of the readout's class, for those that are trained.
    loss : "gaussian", "poisson" or "frobenius"
        Of those that are trained; see `encoders.train`.
    strengths : tuple of floats
        Factors of the penalty among which left-out folds choose, for those that are trained.
    epochs : int, optional
        Default: the readout's own.
    pool : int, optional
        Feature maps are average-pooled to at most ``pool x pool``. Default: 7 for closed forms, 14 for the trained ones.
    """

    kind: str = "factorised"
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: Loss = "gaussian"
    strengths: tuple[float, ...] = (1.0,)
    epochs: int | None = None
    pool: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in READOUTS:
            raise ValueError(f"readout {self.kind!r}; expected one of {', '.join(READOUTS)}")
        if self.kind in CLOSED_FORM and (self.options or self.loss != "gaussian"):
            raise ValueError(
                f"readout {self.kind!r} is solved in closed form: it takes no options and the loss 'gaussian' only"
            )

    def at(self, coordinates: NDArray[np.float64] | None) -> ReadoutSpec:
        """The same with the sites' coordinates (U, d), for the readout that reads them.

        Raises
        ------
        ValueError
            If it needs them and there are none, or not for every site.
        """
        if self.kind != "topographic" or "coordinates" in self.options:
            return self
        if coordinates is None or not np.isfinite(coordinates).all():
            raise ValueError(
                "readout 'topographic' needs the place of every site; found none, or not of all. Likely cause: no site/x_um and site/y_um "
                "in the responses file. Fix: write them, or use another readout"
            )
        return replace(self, options={**self.options, "coordinates": np.asarray(coordinates).tolist()})

    @property
    def trained(self) -> bool:
        """Fitted by gradient descent, hence once a fold and on maps."""
        return self.kind in TRAINED

    @property
    def pooled_to(self) -> int:
        """The `pool` in force."""
        return self.pool or (MAP_POOL if self.trained else DEFAULT_POOL)

    def groups(self, layers: Sequence[str]) -> list[tuple[str, ...]]:
        """Layers that are read together, one member (or one a fold) a group; "a+b" names two layers of one group."""
        named = [tuple(entry.split("+")) for entry in layers]
        return [tuple(layer for group in named for layer in group)] if self.kind in TOGETHER else named
