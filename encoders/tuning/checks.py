"""What a tuning refuses: shapes that do not fit, too few images, one photograph on two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.encoder import Encoder, Ensemble
from encoders.splits import MINIMUM_FITTED_IMAGES, MINIMUM_HELD_OUT

from .descent import TuningSchedule


def check_data(
    encoder: Encoder | Ensemble,
    pixels: NDArray[np.uint8],
    targets: ArrayLike,
    *,
    fitted: NDArray[np.bool_],
    stopping: NDArray[np.bool_],
    schedule: TuningSchedule,
) -> None:
    """Refuse arrays whose shapes do not fit, and a schedule without an epoch, a batch or a learning rate."""
    channels, height, width = encoder.info.image_shape
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, channels):
        raise ValueError(
            f"images of shape {pixels.shape}, {pixels.dtype}; expected uint8 (N, {height}, {width}, {channels}), as "
            "the encoder was fitted to"
        )
    shape, expected = np.asarray(targets).shape, (len(pixels), len(encoder.site_ids))
    if shape != expected or not fitted.shape == stopping.shape == (len(pixels),) or fitted.dtype != bool:
        raise ValueError(
            f"targets {shape}, fitted {fitted.shape} {fitted.dtype}, stopping {stopping.shape}; expected {expected}, "
            "and one flag (bool) per image"
        )
    options = (schedule.adversarial_step, schedule.decay, schedule.averaged)
    if not all(math.isfinite(value) and value >= 0 for value in options):
        raise ValueError(
            f"adversarial_step, decay and averaged are {options}; expected 0 or more each, 0 for none of it"
        )
    rates = schedule.rates
    if schedule.epochs < 1 or schedule.batch_size < 1 or min(rates) < 0 or max(rates) == 0:
        raise ValueError(
            f"{schedule.epochs} epochs of batches of {schedule.batch_size}, learning rates {rates}; expected at least "
            "1 each, and a learning rate above 0"
        )


def check_keep(schedule: TuningSchedule, fitted: NDArray[np.bool_], stopping: NDArray[np.bool_]) -> None:
    """Refuse too few images, an epoch to keep that there is not, and stopping images that have nothing to choose."""
    keep, epochs = schedule.keep, schedule.epochs
    least = MINIMUM_HELD_OUT if keep is None else 0
    if fitted.sum() < MINIMUM_FITTED_IMAGES or stopping.sum() < least:
        raise ValueError(
            f"{int(fitted.sum())} images to tune on and {int(stopping.sum())} to stop by; expected at least "
            f"{MINIMUM_FITTED_IMAGES} and {least}. Likely cause: a short recording, or flags of another one. Fix: "
            "record more images, or leave the network as it is"
        )
    if keep is not None and (keep not in range(1, epochs + 1) or stopping.any()):
        raise ValueError(
            f"keep {keep} of {epochs} epochs, {int(stopping.sum())} images to stop by; expected an epoch from 1 to "
            f"{epochs} and no such images, as the epoch is chosen already. Fix: flag them as fitted, or leave keep out"
        )


def check_sides(names: Sequence[str], fitted: NDArray[np.bool_], stopping: NDArray[np.bool_]) -> None:
    """Refuse a group, or an image and its copy, on two of the sides fitted, stopping, neither."""
    sides: dict[str, str] = {}
    for i, name in enumerate(names):
        own = "fitted and stopping" if fitted[i] and stopping[i] else ""
        side = own or ("fitted" if fitted[i] else "stopping" if stopping[i] else "held out")
        if own or sides.setdefault(name, side) != side:
            first = names.index(name)
            raise ValueError(
                f"images {first} and {i} are one photograph (or one group): found as "
                f"{own or f'{sides[name]} and {side}'}, expected on one side. Likely cause: copies or crops of a "
                "photograph under several names. Fix: put whole groups on one side"
            )
