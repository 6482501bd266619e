"""Which readout is fitted and with which settings: `READOUTS`, `ReadoutSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.backbones.features import Reduction
from encoders.readouts import DEFAULT_POOL, MAP_POOL
from encoders.solvers.catalogue import CLOSED_FORM as CLOSED_FORM
from encoders.solvers.catalogue import JOIN_LAYERS, NEEDS_EARLIER, READ_MAPS, SOLVERS, TRAINED
from encoders.solvers.member import Loss

READOUTS = tuple(SOLVERS)


@dataclass(frozen=True)
class ReadoutSpec:
    """How responses are read from features.

    Parameters
    ----------
    kind : str
        One of `READOUTS`, or several families joined by "+", such as "ridge+factorised": their mean, all weighing
        alike. `options`, `loss`, `strengths` and `epochs` are those of the trained ones among them.
    options : dict
        Keyword arguments of the readout's class; trained readouts only.
    loss : "gaussian", "poisson" or "frobenius"
        See `encoders.train`; trained readouts only.
    strengths : tuple of floats
        Factors of the penalty from which left-out folds choose; trained readouts only.
    epochs : int, optional
        Default: the readout's own.
    pool : int, optional
        Feature maps are average-pooled to at most ``pool x pool``. Default: 7 for closed forms, 14 for the trained
        ones.
    """

    kind: str = "factorised"
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: Loss = "gaussian"
    strengths: tuple[float, ...] = (1.0,)
    epochs: int | None = None
    pool: int | None = None

    def __post_init__(self) -> None:
        kinds, whole = self.kind.split("+"), [kind for kind in JOIN_LAYERS if kind not in NEEDS_EARLIER]
        if unknown := [kind for kind in kinds if kind not in READOUTS]:
            raise ValueError(
                f"readout {unknown[0]!r}; expected one of {', '.join(READOUTS)}"
                + (", or several of them joined by '+', such as 'ridge+factorised'" if len(kinds) > 1 else "")
            )
        if len(kinds) > 1 and (alone := [kind for kind in kinds if kind in NEEDS_EARLIER]):
            raise ValueError(
                f"readout {self.kind!r}; expected {alone[0]!r} alone: it weighs its sites and the features by itself"
            )
        if len(set(kinds)) < len(kinds) or len({kind in JOIN_LAYERS for kind in kinds}) > 1:
            raise ValueError(
                f"readout {self.kind!r}; expected different families, all with members of their own for each layer, or "
                f"all that read the layers together ({', '.join(whole)}): else the families would weigh unequally"
            )
        if not self.trained and (self.options or self.loss != "gaussian"):
            raise ValueError(
                f"readout {self.kind!r} is solved in closed form: it takes no options and the loss 'gaussian' only"
            )

    def at(self, coordinates: NDArray[np.float64] | None) -> ReadoutSpec:
        """The spec with the sites' coordinates (U, d), where it reads them.

        Raises
        ------
        ValueError
            If it needs coordinates and there are none, or not for every site.
        """
        if "topographic" not in self.kind.split("+") or "coordinates" in self.options:
            return self
        if coordinates is None or not np.isfinite(coordinates).all():
            raise ValueError(
                "readout 'topographic' needs the place of every site; found none, or not of all. Likely cause: no "
                "site/x_um and site/y_um in the responses file. Fix: write them, or use another readout"
            )
        return replace(self, options={**self.options, "coordinates": np.asarray(coordinates).tolist()})

    @property
    def families(self) -> tuple[ReadoutSpec, ...]:
        """Every family as a spec of its own; of one family, the spec itself."""
        kinds = self.kind.split("+")
        if len(kinds) == 1:
            return (self,)
        own = {kind: replace(self, kind=kind) for kind in kinds if kind in TRAINED}
        return tuple(own.get(kind) or ReadoutSpec(kind, pool=self.pool) for kind in kinds)

    @property
    def trained(self) -> bool:
        """Whether it, or a family of it, is fitted by gradient descent: on maps, once per fold."""
        return any(kind in TRAINED for kind in self.kind.split("+"))

    @property
    def solved(self) -> bool:
        """Whether it, or a family of it, is solved in closed form: on rows, or, beside trained ones, on pooled maps."""
        return any(kind in CLOSED_FORM for kind in self.kind.split("+"))

    @property
    def pooled_to(self) -> int:
        """`pool`, or its default."""
        return self.pool or (MAP_POOL if self.reads_maps else DEFAULT_POOL)

    @property
    def rows_pooled_to(self) -> int:
        """`pool`, or its default for rows: of closed forms, also beside maps."""
        return self.pool or DEFAULT_POOL

    @property
    def reads_maps(self) -> bool:
        """Whether it is fitted to maps (N, C, h, w), not to rows."""
        return any(kind in TRAINED or kind in READ_MAPS for kind in self.kind.split("+"))

    @property
    def reduction(self) -> Reduction:
        """What it reads of the features of a layer: maps, or rows, or both."""
        rows = self.rows_pooled_to if self.reads_maps and self.solved else None
        return Reduction(self.pooled_to, maps=self.reads_maps, rows=rows)

    def groups(self, layers: Sequence[str]) -> list[tuple[str, ...]]:
        """Groups of layers that are read together, one member (or one per fold) each; "a+b" names two layers of one
        group.
        """
        named = [tuple(entry.split("+")) for entry in layers]
        return [tuple(layer for group in named for layer in group)] if self.kind.split("+")[0] in JOIN_LAYERS else named
