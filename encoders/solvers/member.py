"""The contract of all solvers: features and responses in, the fitted members of an ensemble out.

    solve(features, targets, folds, weights=..., settings=...) -> MemberFit

A solver is a function of this signature. `catalogue.SOLVERS` names them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from encoders.contract import Progress
from encoders.readouts import GradientReadout, LinearReadout, Readout

Loss = Literal["gaussian", "poisson", "frobenius"]


@dataclass(frozen=True)
class MemberFit:
    """The members that one group of layers gives.

    Attributes
    ----------
    readouts : tuple of Readout
        One, or one per fold.
    left_out : Tensor of shape (N, U)
        Prediction of every fitted image without its fold; NaN where the site was not recorded.
    cv_r2 : Tensor of shape (U,)
        Variance explained in left-out folds at the chosen strength; NaN for a constant site.
    strength : Tensor of shape (U,)
        What the left-out folds chose: the penalty of a ridge, the smallest penalty of a banded ridge, the number of
        components of PLS, the factor of a trained readout's penalty.
    at_edge : Tensor of shape (U,), bool
        The strength is the smallest or largest of several.
    families : tuple of MemberFit
        Of several families of readouts, the fit of each; strength and edge are then those of the first.
    """

    readouts: tuple[Readout, ...]
    left_out: Tensor
    cv_r2: Tensor
    strength: Tensor
    at_edge: Tensor
    families: tuple[MemberFit, ...] = ()


@dataclass(frozen=True)
class Warm:
    """Start of a warm fit.

    Attributes
    ----------
    members : sequence of F GradientReadout
        Members of an earlier fit, one per fold.
    deciding : bool Tensor of shape (N,)
        Images whose left-out error chooses the epoch.
    """

    members: Sequence[GradientReadout]
    deciding: Tensor


@dataclass(frozen=True)
class FitRun:
    """What changes from one fit of the same readout to the next.

    Attributes
    ----------
    seed : int
    warm : Warm, optional
        Continue from these members; trained readouts only.
    site_ids : tuple of U str, optional
        By which the first weights of a trained readout are drawn; None: by position.
    device : device
        Where a trained readout is fitted; closed forms run on the CPU.
    progress : callable (label, done, total), optional
    known : tuple of Readout
        Readouts of the sites of an earlier recording on the same network; the solver "population" alone reads them.
    """

    seed: int = 0
    warm: Warm | None = None
    site_ids: tuple[str, ...] | None = None
    device: torch.device | str = "cpu"
    progress: Progress | None = None
    known: tuple[Readout, ...] = ()


@dataclass(frozen=True)
class SolverSettings:
    """Settings of a solver; each solver reads those that it knows.

    Attributes
    ----------
    pool : int
        Feature maps are average-pooled to at most ``pool x pool``.
    options : dict
        Keyword arguments of the readout's class; trained readouts only.
    loss, strengths, epochs
        See `encoders.train`; trained readouts only.
    run : FitRun
    """

    pool: int
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: Loss = "gaussian"
    strengths: tuple[float, ...] = (1.0,)
    epochs: int | None = None
    run: FitRun = FitRun()


class Solver(Protocol):
    """Fit the members that read the layers of `features` together.

    Parameters
    ----------
    features : dict of layer to Tensor of shape (N, P) (closed forms) or (N, C, h, w) (trained readouts)
        Of the fitted images, as `extract_features` pools them; "population" reads maps and, as "rows/LAYER", rows.
    targets : Tensor of shape (N, U)
        Mean responses, NaN = not recorded.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one.
    weights : Tensor of shape (N,) or None
        Weight of every image; only ratios matter.
    settings : SolverSettings
    """

    def __call__(
        self,
        features: Mapping[str, Tensor],
        targets: Tensor,
        folds: Tensor,
        /,
        *,
        weights: Tensor | None,
        settings: SolverSettings,
    ) -> MemberFit:
        """The fitted members, and what left-out folds say of them."""
        ...


@dataclass(frozen=True)
class Rows:
    """Standardised features of several layers, as a closed form reads them.

    Attributes
    ----------
    layers : tuple of L str
    rows : tuple of L Tensors of shape (N, P_l), float64
        Features less their mean, over the scale of their layer.
    means : tuple of L Tensors of shape (P_l,)
    scales : tuple of L Tensors of shape ()
    """

    layers: tuple[str, ...]
    rows: tuple[Tensor, ...]
    means: tuple[Tensor, ...]
    scales: tuple[Tensor, ...]

    @classmethod
    def of(cls, features: Mapping[str, Tensor]) -> Rows:
        """The features of every layer, standardised."""
        rows, means, scales = zip(*(standardise(layer, part) for layer, part in features.items()), strict=True)
        return cls(layers=tuple(features), rows=rows, means=means, scales=scales)

    def readout(self, coef: Tensor, intercept: Tensor, *, alpha: Tensor, pool: int, solver: str) -> LinearReadout:
        """The readout with the coefficients (P, U) of all layers side by side."""
        return LinearReadout(
            self.layers,
            coef.T,
            intercept,
            mean=torch.cat(self.means),
            scale=torch.stack(self.scales),
            alpha=alpha,
            pool=pool,
            sizes=[len(mean) for mean in self.means],
            solver=solver,
        )


def standardise(layer: str, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, P) less their mean (P,), over one scale (), the RMS of what is left; and that mean and scale."""
    x = features.flatten(1).double()
    mean = x.mean(0)
    scale = (x - mean).square().mean().sqrt()
    if not float(scale) > 0:
        raise ValueError(f"layer {layer!r} gives the same features to all images; name another layer")
    return (x - mean) / scale, mean, scale
