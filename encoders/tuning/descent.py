"""The loop of a tuning: Adam on network and readouts, a one-cycle learning rate, the best pass kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.backbones.features import to_images
from encoders.contract import Progress

from .tunable import Tunable

SAMPLE = 100  # fitted images that the report looks at where no image decides when to stop
RISE, FIRST = 0.2, 1 / 25  # of the learning rate: share of the steps in which it rises, and where it starts


@dataclass(frozen=True)
class TuningData:
    """Images, responses (N, U) with 0 for NaN, and weights (N, U) whose columns sum to the number of images of a side."""

    images: NDArray[np.uint8]
    y: Tensor
    w: Tensor
    sd: Tensor  # (U,), of the fitted images
    fitted: Tensor  # numbers of the images
    judged: Tensor  # the stopping images, or where there are none some of the fitted ones
    device: torch.device | str

    @classmethod
    def read(
        cls,
        images: NDArray[np.uint8],
        targets: ArrayLike,
        fitted: NDArray[np.bool_],
        *,
        stopping: NDArray[np.bool_],
        weights: ArrayLike | None,
        device: torch.device | str,
    ) -> TuningData:
        """The same, checked, from what `fine_tune` is given."""
        y = torch.as_tensor(np.asarray(targets, np.float64))
        known = torch.isfinite(y)
        given = np.ones(len(images)) if weights is None else np.asarray(weights, np.float64)
        if given.shape != (len(images),) or not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError(f"weights of shape {given.shape}; expected ({len(images)},), one number >= 0 an image")
        w = torch.from_numpy(given)[:, None] * known
        for rows in (torch.from_numpy(fitted), torch.from_numpy(stopping)):
            total = w[rows].sum(0)
            w[rows] *= torch.where(total > 0, rows.sum() / total.clamp_min(1e-300), 0.0)
        y = torch.where(known, y, 0.0)
        n = int(fitted.sum())
        mean = (w[fitted] * y[fitted]).sum(0) / n
        sd = ((w[fitted] * (y[fitted] - mean).square()).sum(0) / n).sqrt()
        if not bool((sd > 0).all()):
            raise ValueError(
                f"site {int((sd > 0).logical_not().nonzero()[0])}: no variance over the fitted images. Likely cause: not recorded with "
                "them, or a constant response. Fix: tune an encoder of the other sites, or name more fitted images"
            )
        first, second = (torch.from_numpy(np.flatnonzero(side)) for side in (fitted, stopping))
        if not len(second):
            second = first[:: math.ceil(len(first) / SAMPLE)]
        y, w, sd = (tensor.float().to(device) for tensor in (y, w, sd))
        return cls(images=images, y=y, w=w, sd=sd, fitted=first, judged=second, device=device)

    def batch(self, rows: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1]."""
        return to_images(self.images[rows.numpy()], self.device)

    def error(self, predicted: Tensor, rows: Tensor) -> Tensor:
        """Weighted squared error over the site's variance, (..., B, U), of predictions (..., B, U)."""
        of = rows.to(self.y.device)
        return self.w[of] * ((predicted - self.y[of]) / self.sd).square()

    @torch.no_grad()
    def predict(self, tuned: Tunable, batch_size: int = 64) -> Tensor:
        """Predictions of every member for the judged images, (M, S, U)."""
        parts = torch.split(self.judged, batch_size)
        return torch.cat([tuned.predict(self.batch(rows)) for rows in parts], 1)

    def judged_error(self, tuned: Tunable) -> float:
        """Error of the mean over members on the judged images, mean over the sites recorded with them."""
        error = self.error(self.predict(tuned).mean(0), self.judged)
        return float(error[:, self.w[self.judged.to(self.w.device)].sum(0) > 0].mean())


def descend(
    tuned: Tunable,
    data: TuningData,
    epochs: int,
    *,
    keep: int | None,
    rates: tuple[float, float],
    batch_size: int,
    jitter_px: float,
    seed: int,
    progress: Progress | None,
) -> tuple[list[float], list[float], int]:
    """Losses, stopping errors (none where the pass to keep is given) and the pass kept, whose tensors `tuned` then holds."""
    optimiser = torch.optim.Adam(tuned.groups(rates))
    generator = torch.Generator().manual_seed(seed)
    steps = math.ceil(len(data.fitted) / batch_size)
    before = data.judged_error(tuned)
    losses, errors = [], [before] if keep is None else []
    kept, best, step = tuned.state(), 0, 0
    for epoch in range(1, (keep or epochs) + 1):
        order = data.fitted[torch.randperm(len(data.fitted), generator=generator)]
        total = 0.0
        for rows in order.tensor_split(steps):
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * one_cycle(step / (epochs * steps))
            loss = data.error(tuned.predict(shifted(data.batch(rows), jitter_px, generator)), rows).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total, step = total + float(loss.detach()) * len(rows), step + 1
        losses.append(total / len(order))
        if keep is None:
            errors.append(data.judged_error(tuned))
        if (epoch == keep and data.judged_error(tuned) < before) or (
            errors and errors[-1] < errors[best]
        ):  # never where it is NaN
            kept, best = tuned.state(), epoch
        if progress is not None:
            progress("fine-tuning", epoch, keep or epochs)
    tuned.restore(kept)
    return losses, errors, best


def one_cycle(progress: float) -> float:
    """Factor of the learning rate at this share of all steps: from 1/25 to 1, then to 0 (Smith & Topin 2018, with cosines)."""
    if progress < RISE:
        return FIRST + (1 - FIRST) * (1 - math.cos(math.pi * progress / RISE)) / 2
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


def shifted(images: Tensor, jitter_px: float, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each moved by up to `jitter_px` pixels along either axis (bilinear, mirrored at the edges)."""
    if not jitter_px:
        return images
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    sides = torch.tensor([images.shape[3], images.shape[2]])
    theta[:, :, 2] = (2 * torch.rand(len(images), 2, generator=generator) - 1) * jitter_px * 2 / sides
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
