"""Tune the network of a fitted encoder, or its late layers, together with the readouts.

The network (or networks, each with the members that read it) and the readouts of all members minimise one squared error
(the trunk "tuned end to end" of Cadena et al. 2019 and of Cowley et al. 2023). The tuning starts from the fitted
readouts and takes a few epochs at a small learning rate. Batch-norm statistics stay as they are. Stopping images choose
the epoch that is kept, or an earlier tuning has chosen it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.backbones.features import Reduction, extract_features, to_images
from encoders.contract import Progress
from encoders.devices import checked_device
from encoders.encoder import Encoder, Ensemble
from encoders.readouts import DEFAULT_POOL
from encoders.splits import group_names

from .change import feature_change, layer_map
from .checks import check_data, check_keep, check_sides
from .descent import Descent, TuningData, TuningSchedule, descend
from .rebuild import note_of, rebuilt
from .report import FineTuned, TuningReport
from .tunable import Tunable, free_parameters

SAME_IMAGE = 1e-3  # distance of summaries, in SDs, below which an image is one that the encoder was fitted to


def fine_tune(
    encoder: Encoder | Ensemble,
    pixels: NDArray[np.uint8],
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
    adversarial_step: float = 0.0,
    decay: float = 0.0,
    averaged: int = 0,
    weights: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> FineTuned:
    """Tune the network and the readouts of an encoder together, by Adam, and keep the best epoch.

    The loss is the squared error in variances of each site, mean over members, sites and images. The learning rate
    rises and falls once (Smith & Topin 2018). The encoder that is given, and its network, stay as they are.

    Parameters
    ----------
    encoder : Encoder or Ensemble
        At best fitted without the stopping images; see `TuningReport.stopping_seen`.
    pixels : array of shape (N, H, W, C), uint8
    targets : array of shape (N, U)
        Mean responses in the encoder's unit and order of sites; NaN = not recorded.
    fitted, stopping : arrays of shape (N,), bool
        Images to tune on, and images that choose the epoch to keep. Never give held-out images as either.
    groups : sequence of N, optional
        Images of one group, and pixel-identical images, must lie on one side: fitted, stopping or neither.
    layers : sequence of str, "late" or "all"
        Modules of the network to tune; of several networks as "NETWORK/MODULE". "all": all up to the last layer that is
        read, which helped on recorded V4 sites. "late": the stage that holds that layer, which hardly helped
        (docs/fine_tuning.md).
    epochs : int
        Passes over the fitted images.
    keep : int, optional
        The epoch to keep, as an earlier tuning of as many epochs chose it: the tuning ends there, and `stopping` holds
        no image. Where the error on a sample of the fitted images did not fall (the tuning diverged), nothing is kept.
    learning_rate, readout_learning_rate : float
        Highest values, of the network and of the readouts; 0 = these stay as they are.
    batch_size : int
        Images per step.
    jitter_px : float
        Each time an image is shown, it is shifted at random by up to so many pixels.
    adversarial_step, decay, averaged
        Robust tuning, off by default because it has not been measured here; see `TuningSchedule`.
    weights : array of shape (N,), optional
        Weight of each image, such as its number of repeats; only ratios matter.
    seed : int
    progress : callable (label, done, total), optional
    device : device
        Where to tune; the tuned encoder stays there.

    Returns
    -------
    FineTuned
        With the epoch kept: ``info.settings["fine_tuning"]`` of the encoder says how it was tuned. Intervals and scores
        are those of the encoder that was given, from before the tuning; distances to the fitted images are computed
        anew.

    Raises
    ------
    ValueError
        If shapes do not fit, an image (or group) lies on two sides, or no parameter that the features depend on is
        named.
    """
    schedule = TuningSchedule(
        epochs=epochs,
        keep=keep,
        learning_rate=learning_rate,
        readout_learning_rate=readout_learning_rate,
        batch_size=batch_size,
        jitter_px=jitter_px,
        seed=seed,
        adversarial_step=adversarial_step,
        decay=decay,
        averaged=averaged,
    )
    checked_device(device)
    check_data(encoder, pixels, targets, fitted=fitted, stopping=stopping, schedule=schedule)
    check_keep(schedule, fitted, stopping)
    names = group_names(pixels, groups)
    check_sides(names, fitted, stopping)
    data = TuningData.read(pixels, targets, fitted, stopping=stopping, weights=weights, device=device)
    given, tuned = Tunable(encoder, device), Tunable(encoder, device)
    parameters = free_parameters(tuned.backbone, layers, to_images(pixels[:1], device))
    tuned.free(parameters, network=learning_rate > 0, readouts=readout_learning_rate > 0)
    descent = descend([tuned], [data], schedule, progress=progress)
    result = encoder
    if descent.epoch:
        note = note_of(tuned, schedule, descent.epoch)
        note |= {"n_fitted_images": int(fitted.sum()), "n_stopping_images": int(stopping.sum())}
        own = [name for name, row in zip(names, fitted, strict=True) if row]
        result = rebuilt(encoder, tuned, note, fitted=pixels[fitted], names=own).to(device)
    return FineTuned(result, _report(encoder, given, tuned, data=data, descent=descent))


def _report(
    encoder: Encoder | Ensemble, given: Tunable, tuned: Tunable, *, data: TuningData, descent: Descent
) -> TuningReport:
    """What the tuning did, seen on the judged images."""
    pixels = data.pixels[data.judged.numpy()]
    reduction = Reduction(DEFAULT_POOL, summary=True)
    before, after = (
        extract_features(one.backbone, pixels, reduction=reduction, device=data.device) for one in (given, tuned)
    )
    reads = ["+".join(readout.layers) for readout in given.readouts]
    rows = data.judged.to(data.y.device)
    map_before, map_after = (
        layer_map(reads, data.predict(one), data.y[rows], weights=data.w[rows]) for one in (given, tuned)
    )
    return TuningReport(
        modules=tuned.modules,
        n_parameters=tuned.n_parameters,
        losses=tuple(descent.losses),
        stopping_errors=tuple(descent.errors),
        epoch=descent.epoch,
        stopping_seen=count_fitted(encoder, before) if descent.errors else 0,
        forgetting={layer: feature_change(before[layer], after[layer]) for layer in encoder.backbone.layers},
        before=map_before,
        after=map_after,
    )


def count_fitted(encoder: Encoder | Ensemble, features: Mapping[str, Tensor]) -> int:
    """Number of images that the encoder was fitted to, recognised by the summaries of their features.

    Parameters
    ----------
    encoder : Encoder or Ensemble
    features : dict of str to Tensor
        Of the encoder's own backbone, with ``summary/LAYER`` of each layer, (N, D).
    """
    trust = encoder.uncertainty
    if trust is None:
        return 0
    summaries = torch.cat([features[f"summary/{layer}"] for layer in sorted(encoder.backbone.layers)], 1)
    rows = (summaries - trust.familiar_mean.cpu()) / trust.familiar_scale.cpu()
    distance = torch.cdist(rows.double(), trust.familiar.cpu().double()).amin(1) / math.sqrt(rows.shape[1])
    return int((distance < SAME_IMAGE).sum())
