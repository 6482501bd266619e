"""Tune a fitted encoder's late layers, or all of them, on the recording; stopping images, or an earlier tuning, decide when to stop.

The network (or networks, each with the members that read it), without its batch-norm statistics, and the readouts of all members descend one squared error
together (the trunk "tuned end to end" of Cadena et al. 2019 and of Cowley et al. 2023), for a few epochs from the fitted readouts, with a small learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.backbones.features import Reduction, extract_features, to_images
from encoders.contract import Progress
from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.readouts import DEFAULT_POOL
from encoders.splits import MINIMUM_FITTED_IMAGES, MINIMUM_HELD_OUT, group_names
from encoders.uncertainty import with_familiar

from .change import feature_change, layer_map
from .descent import TuningData, descend
from .report import FineTuned, TuningReport
from .tunable import Tunable, free_parameters

SAME_IMAGE = 1e-3  # distance of summaries, in SDs, below which an image is one that the encoder was fitted to


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
    _check_keep(keep, epochs, fitted, stopping=stopping)
    names = group_names(images, groups)
    _check_sides(names, fitted, stopping)
    data = TuningData.read(images, targets, fitted, stopping=stopping, weights=weights, device=device)
    given, tuned = Tunable(encoder, device), Tunable(encoder, device)
    parameters = free_parameters(tuned.backbone, layers, to_images(images[:1], device))
    tuned.free(parameters, network=learning_rate > 0, readouts=readout_learning_rate > 0)
    rates = (learning_rate, readout_learning_rate)
    losses, errors, epoch = descend(
        tuned,
        data,
        epochs,
        keep=keep,
        rates=rates,
        batch_size=batch_size,
        jitter_px=jitter_px,
        seed=seed,
        progress=progress,
    )
    result = encoder
    if epoch:
        how = {"modules": list(tuned.modules), "epochs": epochs, "epoch": epoch, "learning_rate": learning_rate}
        how |= {"readout_learning_rate": readout_learning_rate, "batch_size": batch_size, "jitter_px": jitter_px}
        how |= {"seed": seed, "n_fitted_images": int(fitted.sum()), "n_stopping_images": int(stopping.sum())}
        own = [name for name, row in zip(names, fitted, strict=True) if row]
        result = _rebuilt(encoder, tuned, how, fitted=images[fitted], names=own).to(device)
    return FineTuned(result, _report(encoder, given, tuned, data=data, losses=losses, errors=errors, epoch=epoch))


def _report(
    encoder: Encoder | Ensemble,
    given: Tunable,
    tuned: Tunable,
    *,
    data: TuningData,
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
    maps = [layer_map(reads, data.predict(one), data.y[of], weights=data.w[of]) for one in (given, tuned)]
    forgetting = {layer: feature_change(before[layer], after[layer]) for layer in encoder.backbone.layers}
    known = seen(encoder, before) if errors else 0
    return TuningReport(
        tuned.modules, tuned.n_parameters, tuple(losses), tuple(errors), epoch, known, forgetting, *maps
    )


def _rebuilt(
    encoder: Encoder | Ensemble, tuned: Tunable, how: dict[str, Any], *, fitted: NDArray[np.uint8], names: Sequence[str]
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


def _check_keep(keep: int | None, epochs: int, fitted: NDArray[np.bool_], *, stopping: NDArray[np.bool_]) -> None:
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
