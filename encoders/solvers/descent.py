"""Adam on one readout, whose columns are the sites of one run or of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from encoders.readouts import GradientReadout

from .member import Loss


class Run(NamedTuple):
    """One fit of all sites: at strength number `strength`, without fold number `fold`."""

    strength: int
    fold: int


class Descent:
    """One readout while it is fitted to N images; it holds the sites of `runs`, run after run.

    Parameters
    ----------
    readout : GradientReadout
        Of R * U columns.
    runs : sequence of R Run
        Several only where the sites of the readout are independent.
    y, w : Tensors of shape (N, R * U)
        Targets in units of their site (`TrainingData`), and their weights: 0 for images that the column must not see.
    loss : "gaussian", "poisson" or "frobenius"
    calibrate : bool
        Set the mean and SD of the responses in the readout.
    """

    def __init__(
        self,
        readout: GradientReadout,
        runs: Sequence[Run],
        y: Tensor,
        *,
        w: Tensor,
        loss: Loss,
        calibrate: bool = True,
    ) -> None:
        self.readout, self.runs, self.y, self.loss = readout, tuple(runs), y, loss
        total = w.sum(0).clamp_min(1e-12)
        self.w = w * (len(w) / total)  # the weights of every column sum to N
        mean = (w * y).sum(0) / total
        variance = (w * (y - mean).square()).sum(0) / total
        if calibrate:
            readout.calibrate_responses(mean, variance.sqrt().clamp_min(1e-6))
        self.sd = variance.sqrt().clamp_min(1e-6)
        self.dispersion = (variance / mean.abs().clamp_min(1e-6)).clamp_min(1e-6)
        self.optimiser = torch.optim.Adam(readout.parameters(), lr=1e-3)

    def epoch(self, maps: Sequence[Tensor], order: Tensor, *, rate: float, batch_size: int) -> None:
        """One epoch over `maps`, one per layer, whose images come in the order `order` (N,)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        y, w = self.y[order], self.w[order]
        for i in range(0, len(order), batch_size):
            rows = slice(i, i + batch_size)
            predicted = self.readout.finish(self.readout.respond([part[rows] for part in maps]))
            error = w[rows] * self.error(predicted, y[rows])
            each = error.sum(0).clamp_min(1e-12).sqrt() if self.loss == "frobenius" else error.mean(0)
            self.optimiser.zero_grad(set_to_none=True)
            (each.sum() + self.readout.penalty()).backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def error(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Error of every image and column, in units of the column's variance, so that one penalty serves every loss."""
        if self.loss == "poisson":  # near y it is a constant plus (predicted - y)^2 / y
            return 2 * (predicted - y * (predicted + 1e-8).log()) / self.dispersion
        return ((predicted - y) / self.sd).square()

    @torch.no_grad()
    def predict(self, maps: Sequence[Tensor], batch_size: int = 256) -> Tensor:
        """Predictions of all images, (N, R * U), without random draws: the readout's positions are at their mean."""
        readout, generator = self.readout, self.readout.generator
        readout.generator = None
        parts = [
            readout.finish(readout.respond([part[i : i + batch_size] for part in maps]))
            for i in range(0, len(maps[0]), batch_size)
        ]
        readout.generator = generator
        return torch.cat(parts)

    def states(self) -> dict[Run, dict[str, Tensor]]:
        """State dict of a readout of U sites for every run; the tensors change as the fit goes on."""
        if not self.readout.independent:
            return {self.runs[0]: self.readout.state_dict()}
        u = self.readout.n_sites // len(self.runs)
        return {run: self.readout.site_state(slice(i * u, (i + 1) * u)) for i, run in enumerate(self.runs)}
