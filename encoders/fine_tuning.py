"""Tune a fitted encoder's late layers, or all of them, on the recording: images held apart, or an earlier tuning, decide when to stop.

The network (or networks, each with the members that read it), its batch-norm statistics apart, and all members' readouts descend one squared error together (the trunk "tuned end to
end" of Cadena et al. 2019 and of Cowley et al. 2023), for a few passes from the fitted readouts, with a small learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.readouts import DEFAULT_POOL

from .encoder import Encoder, EncoderInfo, Ensemble
from .features import Progress, Reduction, extract_features, to_images
from .forgetting import FeatureChange, LayerMap, feature_change, layer_map
from .split import MINIMUM_FITTED_IMAGES, MINIMUM_HELD_OUT, group_names
from .tunable import Tunable, free_parameters
from .uncertainty import with_familiar

SAMPLE = 100  # fitted images that the report looks at where no image decides when to stop
RISE, FIRST = 0.2, 1 / 25  # of the learning rate: share of the steps in which it rises, and where it starts
SAME_IMAGE = 1e-3  # distance of summaries, in SDs, below which an image is one that the encoder was fitted to


@dataclass(frozen=True)
class TuningReport:
    """What a tuning did.

    Attributes
    ----------
    modules : tuple of str
        Modules whose parameters were tuned.
    n_parameters : int
        Of the network, without the readouts'.
    losses : tuple of E floats
        Mean loss of each pass over the fitted images, in variances of a site.
    stopping_errors : tuple of E + 1 floats
        Squared error of the mean over members on the stopping images, in variances of a site, before the first pass and after each. Empty without
        stopping images; `forgetting`, `before` and `after` are then of some of the fitted ones.
    epoch : int
        The pass that was kept; 0 = nothing improved, and the encoder is the one that was given.
    stopping_seen : int
        Stopping images among those that the encoder had been fitted to: they flatter the encoder as given (epoch 0).
    forgetting : dict of layer to FeatureChange
        Of the encoder returned against the one given, on the stopping images. Zero for epoch 0.
    before, after : LayerMap
    """

    modules: tuple[str, ...]
    n_parameters: int
    losses: tuple[float, ...]
    stopping_errors: tuple[float, ...]
    epoch: int
    stopping_seen: int
    forgetting: dict[str, FeatureChange]
    before: LayerMap
    after: LayerMap

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, NaN as None."""
        record = asdict(self)
        for name in ("before", "after"):
            explained = record[name]["explained"]
            record[name]["explained"] = [[float(v) if math.isfinite(v) else None for v in row] for row in explained]
        return record


@dataclass(frozen=True)
class FineTuned:
    """The tuned encoder and the report on it."""

    encoder: Encoder | Ensemble
    report: TuningReport


def fine_tune(
    encoder: Encoder | Ensemble,
    images: NDArray[np.uint8],
    targets: ArrayLike,
    *,
    fitted: NDArray[np.bool_],
    stopping: NDArray[np.bool_],
    groups: Sequence[object] | None = None,
    layers: Sequence[str] | Literal["late", "all"] = "all",
    epochs: int = 8,
    keep: int | None = None,
    learning_rate: float = 1e-3,
    readout_learning_rate: float = 2e-5,
    batch_size: int = 32,
    jitter_px: float = 1.0,
    weights: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> FineTuned:
    """Tune the network and the readouts of an encoder together, by Adam, and keep the best pass.

    The loss is the squared error over the site's variance, mean over members, sites and images. The learning rate rises and falls
    once (Smith & Topin 2018). The encoder given, and its network, stay as they are.

    Parameters
    ----------
    encoder : Encoder or Ensemble
        Best one that was fitted without the stopping images: see `TuningReport.stopping_seen`.
    images : array of shape (N, H, W, C), uint8
    targets : array of shape (N, U)
        Mean responses in the encoder's unit and order of sites; NaN = not recorded.
    fitted, stopping : arrays of shape (N,), bool
        Images to tune on, and images that choose the pass to keep. Never give held-out images as either.
    groups : sequence of N, optional
        Images of one group, and pixel-identical images, must lie on one side: fitted, stopping or neither.
    layers : sequence of str, "late" or "all"
        Modules of the network to tune, of several networks as "NETWORK/MODULE". "all": all up to the last layer read, which helped on recorded V4 sites; "late": from the stage
        on that holds that layer, which hardly did (docs/fine_tuning.md).
    epochs : int
        Passes over the fitted images.
    keep : int, optional
        The pass to keep, as an earlier tuning of as many passes chose it: the tuning ends there, and `stopping` holds no image. Where the
        error on a sample of the fitted images did not fall (it diverged), nothing is kept.
    learning_rate, readout_learning_rate : float
        Highest, of the network and of the readouts; 0 = these stay as they are.
    batch_size : int
    jitter_px : float
        Every image is shifted at random by up to so many pixels, each time that it is shown.
    weights : array of shape (N,), optional
        Such as numbers of repeats; only ratios matter.
    seed : int
    progress : callable (label, done, total), optional
    device : device
        Where to tune; the tuned encoder stays there.

    Returns
    -------
    FineTuned
        With the pass kept: its ``info.settings["fine_tuning"]`` tells how it was tuned. Intervals and scores are those of the encoder
        given, from before the tuning; distances to the fitted images are taken anew.

    Raises
    ------
    ValueError
        If shapes do not fit, an image (or group) lies on two sides, or no parameter that counts is named.
    """
    _check(encoder, images, targets, fitted, stopping, epochs, batch_size, learning_rate, readout_learning_rate)
    _check_keep(keep, epochs, fitted, stopping)
    names = group_names(images, groups)
    _check_sides(names, fitted, stopping)
    data = _Data.read(images, targets, fitted, stopping, weights, device)
    given, tuned = Tunable(encoder, device), Tunable(encoder, device)
    parameters = free_parameters(tuned.backbone, layers, to_images(images[:1], device))
    tuned.free(parameters, network=learning_rate > 0, readouts=readout_learning_rate > 0)
    rates = (learning_rate, readout_learning_rate)
    losses, errors, epoch = _descend(tuned, data, epochs, keep, rates, batch_size, jitter_px, seed, progress)
    result = encoder
    if epoch:
        how = {"modules": list(tuned.modules), "epochs": epochs, "epoch": epoch, "learning_rate": learning_rate}
        how |= {"readout_learning_rate": readout_learning_rate, "batch_size": batch_size, "jitter_px": jitter_px}
        how |= {"seed": seed, "n_fitted_images": int(fitted.sum()), "n_stopping_images": int(stopping.sum())}
        own = [name for name, row in zip(names, fitted, strict=True) if row]
        result = _rebuilt(encoder, tuned, how, images[fitted], own).to(device)
    return FineTuned(result, _report(encoder, given, tuned, data, losses, errors, epoch))


def _report(
    encoder: Encoder | Ensemble,
    given: Tunable,
    tuned: Tunable,
    data: _Data,
    losses: list[float],
    errors: list[float],
    epoch: int,
) -> TuningReport:
    images = data.images[data.judged.numpy()]
    kept = Reduction(DEFAULT_POOL, summary=True)
    before, after = (
        extract_features(one.backbone, images, reduction=kept, device=data.device) for one in (given, tuned)
    )
    reads = ["+".join(readout.layers) for readout in given.readouts]
    of = data.judged.to(data.y.device)
    maps = [layer_map(reads, data.predict(one), data.y[of], data.w[of]) for one in (given, tuned)]
    forgetting = {layer: feature_change(before[layer], after[layer]) for layer in encoder.backbone.layers}
    known = seen(encoder, before) if errors else 0
    return TuningReport(
        tuned.modules, tuned.n_parameters, tuple(losses), tuple(errors), epoch, known, forgetting, *maps
    )


@dataclass(frozen=True)
class _Data:
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
        stopping: NDArray[np.bool_],
        weights: ArrayLike | None,
        device: torch.device | str,
    ) -> _Data:
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
        return cls(images, y, w, sd, first, second, device)

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


def _descend(
    tuned: Tunable,
    data: _Data,
    epochs: int,
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


def _rebuilt(
    encoder: Encoder | Ensemble,
    tuned: Tunable,
    how: dict[str, Any],
    fitted: NDArray[np.uint8],
    names: Sequence[str],
) -> Encoder | Ensemble:
    """`encoder` with the tuned tensors, distances to the fitted images in the tuned features, and a note."""
    base = encoder.backbone
    original = base.tunable()
    changed = {n: p.detach() for n, p in tuned.network.items() if not torch.equal(p.detach(), original[n].to(p.device))}
    backbone = base.adapt(changed)
    uncertainty = encoder.uncertainty
    if uncertainty is not None:
        device = next(iter(tuned.backbone.tunable().values())).device
        parts = extract_features(tuned.backbone, fitted, reduction=Reduction(1, summary=True), device=device)
        summaries = torch.cat([parts[f"summary/{layer}"] for layer in sorted(backbone.layers)], 1)
        uncertainty = with_familiar(uncertainty, summaries, names)
    how = how | {"intervals": "calibrated before tuning", "scores": "of the encoder before tuning"}
    info: EncoderInfo = replace(encoder.info, settings=encoder.info.settings | {"fine_tuning": how})
    rest: dict[str, Any] = {"natural_mean": encoder.natural_mean, "natural_sd": encoder.natural_sd}
    rest["uncertainty"] = uncertainty
    if isinstance(encoder, Encoder):
        return Encoder(backbone, tuned.rebuilt_readouts()[0], info, **rest)
    return Ensemble(backbone, tuned.rebuilt_readouts(), info, **rest)


def seen(encoder: Encoder | Ensemble, features: Mapping[str, Tensor]) -> int:
    """How many images have the summaries of one that the encoder was fitted to; `features` are those of its own backbone, reduced with them."""
    trust = encoder.uncertainty
    if trust is None:
        return 0
    summaries = torch.cat([features[f"summary/{layer}"] for layer in sorted(encoder.backbone.layers)], 1)
    rows = (summaries - trust.familiar_mean.cpu()) / trust.familiar_scale.cpu()
    distance = torch.cdist(rows.double(), trust.familiar.cpu().double()).amin(1) / math.sqrt(rows.shape[1])
    return int((distance < SAME_IMAGE).sum())


def _check(
    encoder: Encoder | Ensemble,
    images: NDArray[np.uint8],
    targets: ArrayLike,
    fitted: NDArray[np.bool_],
    stopping: NDArray[np.bool_],
    epochs: int,
    batch_size: int,
    *rates: float,
) -> None:
    channels, height, width = encoder.info.image_shape
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise ValueError(
            f"images of shape {images.shape}, {images.dtype}; expected uint8 (N, {height}, {width}, {channels}) as the encoder was fitted to"
        )
    shape, expected = np.asarray(targets).shape, (len(images), len(encoder.site_ids))
    if shape != expected or not fitted.shape == stopping.shape == (len(images),) or fitted.dtype != bool:
        raise ValueError(
            f"targets {shape}, fitted {fitted.shape} {fitted.dtype}, stopping {stopping.shape}; expected {expected}, and one flag "
            "(bool) an image"
        )
    if epochs < 1 or batch_size < 1 or min(rates) < 0 or max(rates) == 0:
        raise ValueError(
            f"{epochs} epochs of batches of {batch_size}, learning rates {rates}; expected at least 1 each, and a learning rate above 0"
        )


def _check_keep(keep: int | None, epochs: int, fitted: NDArray[np.bool_], stopping: NDArray[np.bool_]) -> None:
    """Refuse too few images, a pass to keep that is none, and stopping images that would decide nothing."""
    least = MINIMUM_HELD_OUT if keep is None else 0
    if fitted.sum() < MINIMUM_FITTED_IMAGES or stopping.sum() < least:
        raise ValueError(
            f"{int(fitted.sum())} images to tune on and {int(stopping.sum())} to stop by; expected at least {MINIMUM_FITTED_IMAGES} and {least}. "
            "Likely cause: a short recording, or flags of another one. Fix: record more images, or leave the network as it is"
        )
    if keep is not None and (keep not in range(1, epochs + 1) or stopping.any()):
        raise ValueError(
            f"keep {keep} of {epochs} passes, {int(stopping.sum())} images to stop by; expected a pass from 1 to {epochs} and no such images: the "
            "pass is chosen already. Fix: flag them as fitted, or leave keep out"
        )


def _check_sides(names: Sequence[str], fitted: NDArray[np.bool_], stopping: NDArray[np.bool_]) -> None:
    """Refuse a group, or an image and its copy, on two of the sides fitted, stopping, neither."""
    sides: dict[str, str] = {}
    for i, name in enumerate(names):
        own = "fitted and stopping" if fitted[i] and stopping[i] else ""
        side = own or ("fitted" if fitted[i] else "stopping" if stopping[i] else "held out")
        if own or sides.setdefault(name, side) != side:
            first = names.index(name)
            raise ValueError(
                f"images {first} and {i} are one photograph (or one group): found as {own or f'{sides[name]} and {side}'}, expected on one "
                "side. Likely cause: copies or crops of a photograph under several names. Fix: put whole groups on one side"
            )
