"""Early stopping: the left-out error of every strength and site, and what is kept of its best epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .descent import Descent, Run
from .training_data import TrainingData


@dataclass(frozen=True)
class Best:
    """The best epoch so far of every strength and site; all tensors are written in place.

    Attributes
    ----------
    error : Tensor of shape (S, U)
        Left-out error.
    epoch : Tensor of shape (S, U), int64
    left_out : Tensor of shape (S, N, U)
        Prediction of every image by the run without its fold, in the unit of that run.
    states : dict of Run to state dict
        Parameters of every run, each site's of its own best epoch.
    """

    error: Tensor
    epoch: Tensor
    left_out: Tensor
    states: dict[Run, dict[str, Tensor]]

    @classmethod
    def nothing(cls, descents: Sequence[Descent], n_strengths: int, data: TrainingData) -> Best:
        """Before the first check."""
        n, u = data.w.shape
        return cls(
            error=data.y.new_full((n_strengths, u), float("inf")),
            epoch=torch.zeros(n_strengths, u, dtype=torch.int64, device=data.y.device),
            left_out=data.y.new_zeros(n_strengths, n, u),
            states={run: copied(state) for descent in descents for run, state in descent.states().items()},
        )

    def keep(self, better: Tensor, predicted: Tensor, *, data: TrainingData, descents: Sequence[Descent]) -> None:
        """Keep predictions (S, F, N, U) and parameters of the strengths and sites that are `better` (S, U)."""
        for f, fold in enumerate(data.folds):
            self.left_out[:, fold] = torch.where(better[:, None], predicted[:, f, fold], self.left_out[:, fold])
        for descent in descents:
            for run, state in descent.states().items():
                sites = better[run.strength]
                if descent.readout.independent:
                    copy_sites(state, self.states[run], sites, shared=descent.readout.standardisation())
                elif bool(sites.all()):
                    self.states[run] = copied(state)


def predict_runs(descents: Sequence[Descent], maps: Sequence[Tensor], data: TrainingData) -> Tensor:
    """Predictions of all images by every run, (S, F, N, U)."""
    columns = torch.cat([descent.predict(maps) for descent in descents], dim=1)  # (N, S * F * U)
    return columns.view(len(data.w), -1, len(data.folds), data.n_sites).permute(1, 2, 0, 3)


def left_out_error(predicted: Tensor, data: TrainingData) -> Tensor:
    """Weighted squared error of the left-out images, summed over folds, (S, U), in the unit of `data.spread`."""
    error = data.y.new_zeros(len(predicted), data.n_sites)
    for f, fold in enumerate(data.folds):
        error += data.share[f] * (data.deciding[fold] * (predicted[:, f, fold] - data.y[f, fold]).square()).sum(1)
    return error


def over_sites(error: Tensor, *, data: TrainingData, independent: bool) -> Tensor:
    """Errors (S, U) by which strengths and epochs are compared: each site's own, if the sites are `independent`.

    Where they share parameters, each site gets the sum over sites, of errors over the site's variance: constant sites
    do not count, and no site counts more for its unit.
    """
    if independent:
        return error
    known = torch.isfinite(data.spread)
    shares = error[:, known] / data.spread[known] if bool(known.any()) else error
    return shares.sum(1)[:, None].expand(-1, data.n_sites)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with tensors of its own."""
    return {name: tensor.clone() for name, tensor in state.items()}


def copy_sites(
    source: Mapping[str, Tensor], target: Mapping[str, Tensor], sites: Tensor, *, shared: Mapping[str, Tensor]
) -> None:
    """Copy the parameters of the `sites` (U,), bool, from one state dict into another, all but those in `shared`."""
    for name, tensor in source.items():
        if name not in shared:
            target[name][sites] = tensor[sites]
