"""Responses, weights and folds of a readout that is trained by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .smoother import ROUNDING

CONSTANT = 1e-9  # in scales of all images: what varies by less is constant


@dataclass(frozen=True)
class TrainingData:
    """Responses of a fit.

    The fits see no unit: each run standardises the responses by its own images, in float64. So scores do not depend on
    the unit, and no run knows of the responses to its left-out fold.

    Attributes
    ----------
    y : Tensor of shape (F, N, U)
        For the run without each fold, (target - centre) / scale; 0 where not recorded.
    w : Tensor of shape (N, U)
        Weights, 0 where not recorded.
    deciding : Tensor of shape (N, U)
        The weights of the images that choose strength and epoch, 0 for the others.
    folds : list of F bool Tensors of shape (N,)
        The images of every fold.
    centre, scale : float64 Tensors of shape (F, U), on the CPU
        Mean and SD of the responses to the images of the run; for rates (an output that is never negative), 0 and their
        mean.
    share : Tensor of shape (F, U)
        Square of each run's scale over that of all images.
    spread : Tensor of shape (U,)
        Weighted sum of squares of the deciding images about their mean, in squares of the scale of all images; NaN for
        a constant site, and for one of which no image decides.
    """

    y: Tensor
    w: Tensor
    deciding: Tensor
    folds: list[Tensor]
    centre: Tensor
    scale: Tensor
    share: Tensor
    spread: Tensor

    @property
    def n_sites(self) -> int:
        """U."""
        return self.w.shape[1]

    @classmethod
    def of(
        cls,
        targets: Tensor,
        folds: Tensor,
        weights: Tensor | None,
        *,
        deciding: Tensor | None,
        loss: str,
        output: str,
        device: torch.device | str,
    ) -> TrainingData:
        """Checked responses on `device`, for a readout with the output `output`."""
        raw = targets.double().cpu()
        recorded = torch.isfinite(raw)
        _check(raw, recorded, folds, loss=loss, output=output)
        raw = torch.where(recorded, raw, 0.0)
        of_image = torch.ones(len(raw), dtype=torch.float64) if weights is None else weights.double().cpu()
        w = torch.where(recorded, of_image[:, None], 0.0)
        masks = [folds.cpu() == k for k in torch.unique(folds).tolist()]
        units = [_unit(raw, torch.where(fold[:, None], 0.0, w), output=output) for fold in masks]
        centre, scale = (torch.stack(part) for part in zip(*units, strict=True))
        whole_centre, whole = _unit(raw, w, output=output)
        y = torch.where(recorded, (raw - centre[:, None]) / scale[:, None], 0.0)
        decides = w if deciding is None else torch.where(deciding.bool().cpu()[:, None], w, 0.0)
        return cls(
            y=y.float().to(device),
            w=w.float().to(device),
            deciding=decides.float().to(device),
            folds=[fold.to(device) for fold in masks],
            centre=centre,
            scale=scale,
            share=(scale / whole).square().float().to(device),
            spread=_spread((raw - whole_centre) / whole, decides).float().to(device),
        )

    def in_unit(self, y: Tensor, fold: int) -> Tensor:
        """Values (..., U) of the run without `fold`, in the unit of the responses, float64 on the CPU."""
        return self.centre[fold] + self.scale[fold] * y.double().cpu()


def _unit(raw: Tensor, w: Tensor, *, output: str) -> tuple[Tensor, Tensor]:
    """Centre and scale (U,) of responses (N, U) with weights (N, U); the scale of a constant site is its size."""
    total = w.sum(0).clamp_min(torch.finfo(w.dtype).tiny)
    mean = (w * raw).sum(0) / total
    apart, seen = torch.where(w > 0, raw - mean, 0.0), torch.where(w > 0, raw.abs(), 0.0)
    sd = ((w * apart.square()).sum(0) / total).sqrt()
    size = seen.amax(0)
    constant = apart.abs().amax(0) <= ROUNDING * size
    size = torch.where(size > 0, size, 1.0)
    if output == "identity":
        return mean, torch.where(constant, size, sd)
    return torch.zeros_like(mean), torch.where(mean > ROUNDING * size, mean, size)


def _spread(y: Tensor, decides: Tensor) -> Tensor:
    """Sum of squares (U,) of `y` (N, U) about its mean, both weighted by `decides`; NaN where there is none."""
    total = decides.sum(0)
    mean = (decides * y).sum(0) / torch.where(total > 0, total, 1.0)
    apart = torch.where(decides > 0, y - mean, 0.0)
    alive = (total > 0) & (apart.abs().amax(0) > CONSTANT)
    return torch.where(alive, (decides * apart.square()).sum(0), torch.nan)


def _check(y: Tensor, recorded: Tensor, folds: Tensor, *, loss: str, output: str) -> None:
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
    if loss == "poisson" and output == "identity":
        raise ValueError("loss 'poisson' with output 'identity', which may be negative; use output softplus or elu1")
    if output != "identity" and bool((y[recorded] < 0).any()):
        raise ValueError(
            f"output {output!r}, which is never negative, for negative responses. Likely cause: z-scored or "
            "baseline-corrected responses. Fix: use the output 'identity', or give counts or rates"
        )
