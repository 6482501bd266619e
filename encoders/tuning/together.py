"""Tune one network on several recordings: the trunk is theirs together, each keeps readouts of its own.

A trunk shared by many recorded sites generalises better than one tuned on a single recording (Cadena et al. 2019;
Lurz et al. 2021, for mouse V1; Cowley et al. 2023, for the V4 recordings that were used here). A later recording begins
with it: `fit_encoder(..., networks_from=trunk.encoders[0])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from encoders.backbones.features import to_images
from encoders.contract import Progress
from encoders.devices import checked_device
from encoders.encoder import Encoder, Ensemble
from encoders.splits import group_names

from .checks import check_data, check_keep, check_sides
from .descent import Descent, TuningData, TuningSchedule, descend
from .rebuild import note_of, rebuilt
from .tunable import Tunable, free_parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class TrunkPart:
    """One recording of those that share a trunk.

    Attributes
    ----------
    encoder : Encoder or Ensemble
        Fitted to the recording; at best without the stopping images.
    pixels : array of shape (N, H, W, C), uint8
    targets : array of shape (N, U)
        Mean responses in the encoder's unit and order of sites; NaN = not recorded.
    fitted : array of shape (N,), bool
        Images to tune on.
    stopping : array of shape (N,), bool
        Images that choose the epoch to keep. Never give held-out images as either.
    groups : sequence of N, optional
        Images of one group, and pixel-identical images, must lie on one side: fitted, stopping or neither.
    weights : array of shape (N,), optional
        Weight of each image, such as its number of repeats; only ratios matter.
    """

    encoder: Encoder | Ensemble
    pixels: NDArray[np.uint8]
    targets: ArrayLike
    fitted: NDArray[np.bool_]
    stopping: NDArray[np.bool_]
    groups: Sequence[object] | None = None
    weights: ArrayLike | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Trunk:
    """Encoders of several recordings with one tuned network.

    Attributes
    ----------
    encoders : tuple of R Encoder or Ensemble
        In the order of the parts; each names all the recordings' encoders in ``info.settings["fine_tuning"]``. Any of
        them passes the network on.
    losses : tuple of E floats
        Mean loss of each epoch over the fitted images, in variances of a site.
    stopping_errors : tuple of E + 1 floats
        Error on the stopping images, mean over recordings, before the first epoch and after each.
    epoch : int
        The epoch that was kept; 0 = nothing improved, and the encoders are those that were given.
    """

    encoders: tuple[Encoder | Ensemble, ...]
    losses: tuple[float, ...]
    stopping_errors: tuple[float, ...]
    epoch: int


def tune_together(
    parts: Sequence[TrunkPart],
    schedule: TuningSchedule | None = None,
    *,
    layers: Sequence[str] | str = "all",
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> Trunk:
    """Tune one network on several recordings together, and keep the best epoch.

    Every batch holds images of one recording; those of all recordings follow each other in random order. The loss is
    that of `fine_tune`: squared error in variances of each site, so that no recording's unit or number of sites weighs
    more than another's; one with more images has more batches.

    Parameters
    ----------
    parts : sequence of R TrunkPart
        Their encoders read the same layers of the same network, with the same tensors.
    schedule : TuningSchedule, optional
        How long and how fast. Default: that of `fine_tune`.
    layers : sequence of str, "late" or "all"
        See `fine_tune`.
    progress : callable (label, done, total), optional
    device : device
        Where to tune; the encoders stay there.

    Raises
    ------
    ValueError
        If there is no part, the encoders have different networks, or a part is not as `fine_tune` expects it.
    """
    schedule = schedule or TuningSchedule()
    checked_device(device)
    _check_one_network(parts)
    names = [_checked(part, schedule) for part in parts]
    data = [_read(part, device) for part in parts]
    first = Tunable(parts[0].encoder, device)
    tuned = [first, *(Tunable(part.encoder, device, shared=first.backbone) for part in parts[1:])]
    parameters = free_parameters(first.backbone, layers, to_images(parts[0].pixels[:1], device))
    for one in tuned:
        one.free(parameters, network=schedule.learning_rate > 0, readouts=schedule.readout_learning_rate > 0)
    descent = descend(tuned, data, schedule, progress=progress)
    if not descent.epoch:
        return _trunk(tuple(part.encoder for part in parts), descent)
    encoders = []
    for part, one, own in zip(parts, tuned, names, strict=True):
        note = note_of(one, schedule, descent.epoch) | {
            "n_fitted_images": int(part.fitted.sum()),
            "n_stopping_images": int(part.stopping.sum()),
            "together_with": [other.encoder.fingerprint for other in parts if other is not part],
        }
        fitted_names = [name for name, row in zip(own, part.fitted, strict=True) if row]
        pixels = part.pixels[part.fitted]
        encoders.append(rebuilt(part.encoder, one, note, fitted=pixels, names=fitted_names).to(device))
    return _trunk(tuple(encoders), descent)


def _trunk(encoders: tuple[Encoder | Ensemble, ...], descent: Descent) -> Trunk:
    return Trunk(
        encoders=encoders,
        losses=tuple(descent.losses),
        stopping_errors=tuple(descent.errors),
        epoch=descent.epoch,
    )


def _read(part: TrunkPart, device: torch.device | str) -> TuningData:
    return TuningData.read(
        part.pixels, part.targets, part.fitted, stopping=part.stopping, weights=part.weights, device=device
    )


def _checked(part: TrunkPart, schedule: TuningSchedule) -> list[str]:
    """Names of the groups of a part's images, after all checks of `fine_tune`."""
    check_data(part.encoder, part.pixels, part.targets, fitted=part.fitted, stopping=part.stopping, schedule=schedule)
    check_keep(schedule, part.fitted, part.stopping)
    names = group_names(part.pixels, part.groups)
    check_sides(names, part.fitted, part.stopping)
    return names


def _check_one_network(parts: Sequence[TrunkPart]) -> None:
    """Refuse no part at all, and encoders whose networks differ in kind, layers or tensors."""
    if not parts:
        raise ValueError("no recording to tune on; expected one TrunkPart or more")
    first = parts[0].encoder
    for place, part in enumerate(parts[1:], start=1):
        own, other = first.backbone, part.encoder.backbone
        if (other.uri, other.layers, other.weights_sha256) != (own.uri, own.layers, own.weights_sha256):
            raise ValueError(
                f"part {place}: encoder {part.encoder.fingerprint} reads {', '.join(other.layers)} of {other.uri}; "
                f"expected {', '.join(own.layers)} of {own.uri} with the tensors of encoder {first.fingerprint}. "
                "Likely cause: fitted with another preset, or from another earlier recording. Fix: fit all with the "
                "same layers and the same networks_from"
            )
