"""Responses, weights and folds of a readout that is trained by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingData:
    """Responses of a fit.

    Attributes
    ----------
    y : Tensor of shape (N, U)
        Targets, 0 where not recorded.
    w : Tensor of shape (N, U)
        Weights, 0 where not recorded.
    deciding : Tensor of shape (N, U)
        The weights of the images that choose strength and epoch, 0 for the others.
    folds : list of F bool Tensors of shape (N,)
        The images of every fold.
    """

    y: Tensor
    w: Tensor
    deciding: Tensor
    folds: list[Tensor]

    @property
    def n_sites(self) -> int:
        """U."""
        return self.y.shape[1]

    @classmethod
    def of(
        cls,
        targets: Tensor,
        folds: Tensor,
        weights: Tensor | None,
        *,
        deciding: Tensor | None,
        loss: str,
        device: torch.device | str,
    ) -> TrainingData:
        """Checked responses on `device`."""
        y = targets.float().to(device)
        recorded = torch.isfinite(y)
        _check(y, recorded, folds, loss=loss)
        of_image = torch.ones(len(y)) if weights is None else weights.float()
        w = torch.where(recorded, of_image.to(device)[:, None], 0.0)
        decides = w if deciding is None else torch.where(deciding.bool().to(device)[:, None], w, 0.0)
        masks = [(folds == k).to(device) for k in torch.unique(folds).tolist()]
        return cls(y=torch.where(recorded, y, 0.0), w=w, deciding=decides, folds=masks)


def _check(y: Tensor, recorded: Tensor, folds: Tensor, *, loss: str) -> None:
    if y.ndim != 2 or tuple(folds.shape) != (len(y),) or len(torch.unique(folds)) < 2:
        raise ValueError(
            f"targets {tuple(y.shape)}, folds {tuple(folds.shape)}; expected (N, U), (N,) with two folds or more"
        )
    if loss not in ("gaussian", "poisson", "frobenius"):
        raise ValueError(f"loss {loss!r}; expected gaussian, poisson or frobenius")
    if loss == "poisson" and bool((y[recorded] < 0).any()):
        raise ValueError(
            "loss 'poisson' with negative responses; expected raw counts or rates >= 0. Likely cause: z-scored or "
            "baseline-corrected responses. Fix: use the loss 'gaussian'"
        )
    if bool((recorded.sum(0) < 2).any()):
        raise ValueError("a site has fewer than two recorded images; leave it out")
