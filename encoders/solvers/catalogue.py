"""All readouts that can be fitted, by name, and their solvers.

To add a closed form, write its `solve` and add one row to `CLOSED_FORM`. A readout trained by gradient descent needs no
row here: one row in `encoders.readouts.catalogue.CLASSES` adds it.
"""

from __future__ import annotations

from encoders.readouts import CLASSES, GradientReadout

from . import banded, gradient, pls, population, ridge
from .member import Solver

CLOSED_FORM: dict[str, Solver] = {
    "ridge": ridge.solve,
    "banded_ridge": banded.solve,
    "pls": pls.solve,
    "population": population.solve,
}

NEEDS_EARLIER = ("population",)
"""Readouts that are built on the readouts of an earlier recording."""

READ_MAPS = ("population",)
"""Closed forms that read maps, not rows: they hold readouts that were trained on maps."""

TRAINED: dict[str, type[GradientReadout]] = {
    kind: readout for kind, readout in CLASSES.items() if issubclass(readout, GradientReadout)
}

SOLVERS: dict[str, Solver] = CLOSED_FORM | {kind: gradient.solver(readout) for kind, readout in TRAINED.items()}

JOIN_LAYERS = ("banded_ridge", "population", *(kind for kind, readout in TRAINED.items() if readout.joins_layers))
"""Readouts that weigh layers against each other, so that one member reads all layers."""
