"""Sites read through the sites of earlier recordings, in closed form: the readout "population".

The networks of an earlier recording come with readouts of its sites. What these predict for an image, and the features
themselves, are two bands of one Bayesian linear regression (`population_prior.few_shot`): the prior of a new site is a
mixture of what recorded sites of the area compute, and of ridge regression. The marginal likelihood weighs the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from encoders.readouts import MeanReadout, PopulationReadout, Readout

from .member import MemberFit, Rows, SolverSettings
from .population_prior import few_shot
from .ridge import solve as solve_ridge


def solve(
    features: Mapping[str, Tensor], targets: Tensor, folds: Tensor, *, weights: Tensor | None, settings: SolverSettings
) -> MemberFit:
    """One member for each set of known readouts (`sets_of`), each with a linear part on all layers; see `Solver`.

    `features` are maps (N, C, h, w), as the known readouts read them, and "rows/LAYER" (N, P), the same layers pooled
    once to `settings.pool`, as the linear part reads them: maps that are pooled twice are other numbers than those
    that the encoder computes. Without known readouts (the validator, which takes no network of another recording) it
    is one ridge.
    """
    rows = {layer: features[f"rows/{layer}"] for layer in features if not layer.startswith("rows/")}
    if not settings.run.known:
        return solve_ridge(rows, targets, folds, weights=weights, settings=settings)
    data = Rows.of(rows)
    linear = torch.cat(data.rows, 1)
    members, left_out, shares = [], [], []
    for known in sets_of(settings.run.known):
        predicted = predictions(known, features)  # (N, K)
        mean = predicted.mean(0)
        scale = predicted.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        fit = few_shot((predicted - mean) / scale, linear, targets, folds=folds, weights=weights)
        own = data.readout(fit.features, fit.intercept, alpha=fit.alpha[1], pool=settings.pool, solver="population")
        alpha = fit.alpha[0]
        members.append(PopulationReadout(known, own, fit.population.T, mean=mean, scale=scale, alpha=alpha))
        left_out.append(fit.left_out)
        shares.append(fit.proportion)
    mean_left_out = torch.stack(left_out).mean(0)
    return MemberFit(
        readouts=tuple(members),
        left_out=mean_left_out,
        cv_r2=explained(mean_left_out, targets.double(), weights),
        strength=torch.stack(shares).mean(0),
        at_edge=torch.zeros(targets.shape[1], dtype=torch.bool),
    )


def sets_of(known: Sequence[Readout]) -> list[Readout]:
    """Known readouts of the same sites as members: set j takes the j-th readout of each group of layers, as their mean.

    An ensemble that has one readout per fold for each layer thus gives one set per fold.
    """
    groups: dict[tuple[str, ...], list[Readout]] = {}
    for readout in known:
        groups.setdefault(tuple(readout.layers), []).append(readout)
    least = min(len(group) for group in groups.values())
    return [MeanReadout([group[j] for group in groups.values()]) for j in range(least)]


@torch.no_grad()
def predictions(readout: Readout, features: Mapping[str, Tensor], *, batch_size: int = 64) -> Tensor:
    """Predictions (N, K) of a readout, float64, batch by batch."""
    starts = range(0, len(features[readout.layers[0]]), batch_size)
    batches = ({name: part[i : i + batch_size] for name, part in features.items()} for i in starts)
    return torch.cat([readout(batch) for batch in batches]).double()


def explained(predicted: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted share of the variance of targets (N, U) that predictions explain, (U,); NaN for a constant site."""
    known = torch.isfinite(targets)
    w = known * (torch.ones(len(targets)) if weights is None else weights).double()[:, None]
    y = torch.where(known, targets, 0.0)
    spread = (w * (y - (w * y).sum(0) / w.sum(0)).square()).sum(0)
    error = (w * (torch.where(known, predicted, 0.0) - y).square()).sum(0)
    return torch.where(spread > 0, 1 - error / spread, torch.nan)
