"""The loop of a tuning: Adam on network and readouts, a one-cycle learning rate; the best epoch is kept."""

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

SAMPLE = 100  # fitted images that the report looks at where there are no stopping images
RISE, FIRST = 0.2, 1 / 25  # of the learning rate: share of the steps in which it rises, and where it starts


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast network and readouts are tuned; the fields are those of `fine_tune`.

    Attributes
    ----------
    epochs : int
        Passes over the fitted images.
    keep : int or None
        The epoch to keep, chosen by an earlier tuning; None: the stopping images choose.
    learning_rate, readout_learning_rate : float
        Highest learning rates, of the network and of the readouts.
    batch_size : int
        Images per step.
    jitter_px : float
        Largest random shift of an image, in pixels.
    seed : int
        Of the order of the images and of the shifts.
    """

    epochs: int
    keep: int | None
    learning_rate: float
    readout_learning_rate: float
    batch_size: int
    jitter_px: float
    seed: int

    @property
    def rates(self) -> tuple[float, float]:
        """Highest learning rates of network and readouts."""
        return self.learning_rate, self.readout_learning_rate


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How a tuning went.

    Attributes
    ----------
    losses : list of E floats
        Mean loss of each epoch.
    errors : list of E + 1 floats
        Error on the stopping images before the first epoch and after each; empty where the epoch to keep is given.
    epoch : int
        The epoch that is kept; 0 = none was better.
    """

    losses: list[float]
    errors: list[float]
    epoch: int


@dataclass(frozen=True)
class TuningData:
    """Images and responses of a tuning.

    Attributes
    ----------
    pixels : array of shape (N, H, W, C), uint8
    y : Tensor of shape (N, U)
        Mean responses, 0 for NaN.
    w : Tensor of shape (N, U)
        Weights, 0 where there is no response; over the images of a side a column sums to their number.
    sd : Tensor of shape (U,)
        SD of the responses to the fitted images.
    fitted : Tensor of int
        Positions of the images to tune on.
    judged : Tensor of int
        Positions of the stopping images, or, where there are none, of a sample of the fitted ones.
    device : device
    """

    pixels: NDArray[np.uint8]
    y: Tensor
    w: Tensor
    sd: Tensor
    fitted: Tensor
    judged: Tensor
    device: torch.device | str

    @classmethod
    def read(
        cls,
        pixels: NDArray[np.uint8],
        targets: ArrayLike,
        fitted: NDArray[np.bool_],
        *,
        stopping: NDArray[np.bool_],
        weights: ArrayLike | None,
        device: torch.device | str,
    ) -> TuningData:
        """The data from the arguments of `fine_tune`, checked."""
        y = torch.as_tensor(np.asarray(targets, np.float64))
        known = torch.isfinite(y)
        given = np.ones(len(pixels)) if weights is None else np.asarray(weights, np.float64)
        if given.shape != (len(pixels),) or not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError(f"weights of shape {given.shape}; expected ({len(pixels)},), one number >= 0 per image")
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
                f"site {int((sd > 0).logical_not().nonzero()[0])}: no variance over the fitted images. Likely cause: "
                "not recorded with them, or a constant response. Fix: tune an encoder of the other sites, or name more "
                "fitted images"
            )
        first, second = (torch.from_numpy(np.flatnonzero(side)) for side in (fitted, stopping))
        if not len(second):
            second = first[:: math.ceil(len(first) / SAMPLE)]
        y, w, sd = (tensor.float().to(device) for tensor in (y, w, sd))
        return cls(pixels=pixels, y=y, w=w, sd=sd, fitted=first, judged=second, device=device)

    def batch(self, rows: Tensor) -> Tensor:
        """The images at positions `rows`, (B, C, H, W) in [0, 1]."""
        return to_images(self.pixels[rows.numpy()], self.device)

    def error(self, predicted: Tensor, rows: Tensor) -> Tensor:
        """Weighted squared error of predictions (..., B, U), in variances of each site, (..., B, U)."""
        of = rows.to(self.y.device)
        return self.w[of] * ((predicted - self.y[of]) / self.sd).square()

    @torch.no_grad()
    def predict(self, tuned: Tunable, batch_size: int = 64) -> Tensor:
        """Predictions of each member for the judged images, (M, S, U)."""
        parts = torch.split(self.judged, batch_size)
        return torch.cat([tuned.predict(self.batch(rows)) for rows in parts], 1)

    def judged_error(self, tuned: Tunable) -> float:
        """Error of the mean over members on the judged images, mean over the sites recorded with them."""
        error = self.error(self.predict(tuned).mean(0), self.judged)
        return float(error[:, self.w[self.judged.to(self.w.device)].sum(0) > 0].mean())


def descend(tuned: Tunable, data: TuningData, schedule: Schedule, *, progress: Progress | None) -> Descent:
    """Tune by Adam, and leave in `tuned` the tensors of the epoch that is kept.

    Kept is the epoch with the smallest error on the stopping images, or the one that `schedule.keep` names if the error
    on a sample of the fitted images fell; 0 = the tensors as they were.
    """
    epochs, keep = schedule.epochs, schedule.keep
    optimiser = torch.optim.Adam(tuned.groups(schedule.rates))
    generator = torch.Generator().manual_seed(schedule.seed)
    steps = math.ceil(len(data.fitted) / schedule.batch_size)
    before = data.judged_error(tuned)
    losses, errors = [], [before] if keep is None else []
    kept, best, step = tuned.state(), 0, 0
    for epoch in range(1, (keep or epochs) + 1):
        order = data.fitted[torch.randperm(len(data.fitted), generator=generator)]
        total = 0.0
        for rows in order.tensor_split(steps):
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * one_cycle(step / (epochs * steps))
            images = shifted(data.batch(rows), schedule.jitter_px, generator)  # (B, C, H, W)
            loss = data.error(tuned.predict(images), rows).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total, step = total + float(loss.detach()) * len(rows), step + 1
        losses.append(total / len(order))
        if keep is None:
            errors.append(data.judged_error(tuned))
        given = epoch == keep and data.judged_error(tuned) < before  # an error of NaN is never smaller
        if given or (errors and errors[-1] < errors[best]):
            kept, best = tuned.state(), epoch
        if progress is not None:
            progress("fine-tuning", epoch, keep or epochs)
    tuned.restore(kept)
    return Descent(losses=losses, errors=errors, epoch=best)


def one_cycle(progress: float) -> float:
    """Factor of the learning rate at a share of all steps: 1/25 to 1, then to 0 (Smith & Topin 2018, with cosines)."""
    if progress < RISE:
        return FIRST + (1 - FIRST) * (1 - math.cos(math.pi * progress / RISE)) / 2
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


def shifted(images: Tensor, jitter_px: float, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each moved by up to `jitter_px` pixels along each axis (bilinear, mirrored at the edges)."""
    if not jitter_px:
        return images
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    sides = torch.tensor([images.shape[3], images.shape[2]])
    theta[:, :, 2] = (2 * torch.rand(len(images), 2, generator=generator) - 1) * jitter_px * 2 / sides
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
