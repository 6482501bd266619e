"""The loop of a tuning: Adam on network and readouts, a one-cycle learning rate; the best epoch is kept.

One recording or several: of several, each has readouts of its own, and the network is theirs together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
class TuningSchedule:
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
    adversarial_step : float
        Size, in levels of 255, of the step that moves the first half of every batch up the gradient of its own loss
        before the network sees it; 0 = none.
    decay : float
        Penalty on the distance of the network's parameters from those it began with; 0 = none.
    averaged : int
        The last so many passes leave the mean of their parameters; 0 or 1 = those of the pass alone.
    """

    epochs: int = 8
    keep: int | None = None
    learning_rate: float = 1e-3
    readout_learning_rate: float = 2e-5
    batch_size: int = 32
    jitter_px: float = 1.0
    seed: int = 0
    adversarial_step: float = 0.0
    decay: float = 0.0
    averaged: int = 0

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


def descend(
    tuned: Sequence[Tunable], data: Sequence[TuningData], schedule: TuningSchedule, *, progress: Progress | None
) -> Descent:
    """Tune by Adam, and leave in `tuned` the tensors of the epoch that is kept.

    Each recording has one entry in `tuned`, all with one network, and one in `data`. Batches hold images of one
    recording; those of several follow each other in random order. Kept is the epoch with the smallest error on the
    stopping images (mean over recordings), or the one that `schedule.keep` names if the error on a sample of the fitted
    images fell; 0 = the tensors as they were.
    """
    epochs, keep = schedule.epochs, schedule.keep
    optimiser = torch.optim.Adam(_groups(tuned, schedule))
    generator = torch.Generator().manual_seed(schedule.seed)
    start = tuned[0].anchor() if schedule.decay else []
    before = _judged(tuned, data)
    losses, errors = [], [before] if keep is None else []
    kept, best, step = _state(tuned), 0, 0
    average = Average(epochs - max(schedule.averaged, 1))
    for epoch in range(1, (keep or epochs) + 1):
        batches = _batches(data, schedule, generator)
        total = 0.0
        for place, rows in batches:
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * one_cycle(step / (epochs * len(batches)))
            loss = _loss(tuned[place], data[place], rows, schedule=schedule, generator=generator)
            optimiser.zero_grad(set_to_none=True)
            (loss + schedule.decay / 2 * tuned[0].distance(start) if start else loss).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total, step = total + float(loss.detach()) * len(rows), step + 1
        losses.append(total / sum(len(rows) for _, rows in batches))
        own = _state(tuned)
        candidate = average.add(own, epoch)
        _restore(tuned, candidate)
        if keep is None:
            errors.append(_judged(tuned, data))
        given = epoch == keep and _judged(tuned, data) < before  # an error of NaN is never smaller
        if given or (errors and errors[-1] < errors[best]):
            kept, best = candidate, epoch
        _restore(tuned, own)
        if progress is not None:
            progress("fine-tuning", epoch, keep or epochs)
    _restore(tuned, kept)
    return Descent(losses=losses, errors=errors, epoch=best)


class Average:
    """Running mean of the tensors after each pass from the first one after `start` (Izmailov et al. 2018, SWA)."""

    def __init__(self, start: int) -> None:
        self.start, self.count, self.mean = start, 0, list[Tensor]()

    def add(self, state: list[Tensor], epoch: int) -> list[Tensor]:
        """The mean with the tensors of `epoch`; these alone up to the first pass that is averaged."""
        if epoch <= self.start:
            return state
        self.count += 1
        if self.count == 1:
            self.mean = [tensor.clone() for tensor in state]
        else:
            self.mean = [mean + (new - mean) / self.count for mean, new in zip(self.mean, state, strict=True)]
        return [tensor.clone() for tensor in self.mean]


def _groups(tuned: Sequence[Tunable], schedule: TuningSchedule) -> list[dict[str, Any]]:
    """Parameter groups: the network once, the readouts of all recordings."""
    first = tuned[0].groups(schedule.rates)
    others = [group for one in tuned[1:] for group in one.groups(schedule.rates, network=False)]
    return first + others


def _batches(
    data: Sequence[TuningData], schedule: TuningSchedule, generator: torch.Generator
) -> list[tuple[int, Tensor]]:
    """The batches of one epoch, (place of the recording, positions of the images), in the order they are taken."""
    batches: list[tuple[int, Tensor]] = []
    for place, one in enumerate(data):
        order = one.fitted[torch.randperm(len(one.fitted), generator=generator)]
        batches += [(place, rows) for rows in order.tensor_split(math.ceil(len(order) / schedule.batch_size))]
    if len(data) == 1:
        return batches
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def _loss(
    tuned: Tunable, data: TuningData, rows: Tensor, *, schedule: TuningSchedule, generator: torch.Generator
) -> Tensor:
    """Mean squared error of one batch, in variances of each site; images shifted, and half of them attacked."""
    images = shifted(data.batch(rows), schedule.jitter_px, generator)  # (B, C, H, W)
    if schedule.adversarial_step:
        half = len(rows) // 2 or len(rows)
        attacked = attack(tuned, data, images[:half], rows=rows[:half], step=schedule.adversarial_step / 255)
        images = torch.cat([attacked, images[half:]])
    return data.error(tuned.predict(images), rows).mean()


def attack(tuned: Tunable, data: TuningData, images: Tensor, *, rows: Tensor, step: float) -> Tensor:
    """Images moved by `step` (of the range 0 to 1) per pixel, along the sign of the gradient of their own loss.

    The fast gradient sign method (Goodfellow, Shlens & Szegedy 2015, section 4). `images` (B, C, H, W) are those at
    positions `rows` (B,) of `data`; the result stays in [0, 1].
    """
    free = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(data.error(tuned.predict(free), rows).mean(), free)
    return (images + step * gradient.sign()).clamp(0, 1).detach()


def _judged(tuned: Sequence[Tunable], data: Sequence[TuningData]) -> float:
    """Error on the judged images, mean over recordings."""
    return math.fsum(part.judged_error(one) for one, part in zip(tuned, data, strict=True)) / len(data)


def _state(tuned: Sequence[Tunable]) -> list[Tensor]:
    """Copies of all tuned tensors, those of the shared network once."""
    return [tensor for place, one in enumerate(tuned) for tensor in one.state(network=place == 0)]


def _restore(tuned: Sequence[Tunable], state: list[Tensor]) -> None:
    """Write back the tensors that `_state` returned."""
    left = iter(state)
    for place, one in enumerate(tuned):
        one.restore(left, network=place == 0)


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
