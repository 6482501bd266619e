"""The tuned encoder, put together from the one that was given and the tuned tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.backbones.features import Reduction, extract_features
from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.uncertainty import with_familiar

from .descent import TuningSchedule
from .tunable import Tunable

OPTIONAL = ("adversarial_step", "decay", "averaged")  # of a schedule: noted where they are used


def note_of(tuned: Tunable, schedule: TuningSchedule, epoch: int) -> dict[str, Any]:
    """How an encoder was tuned, for its settings, JSON-able."""
    return {
        "modules": list(tuned.modules),
        "epochs": schedule.epochs,
        "epoch": epoch,
        "learning_rate": schedule.learning_rate,
        "readout_learning_rate": schedule.readout_learning_rate,
        "batch_size": schedule.batch_size,
        "jitter_px": schedule.jitter_px,
        "seed": schedule.seed,
    } | {name: getattr(schedule, name) for name in OPTIONAL if getattr(schedule, name)}


def rebuilt(
    encoder: Encoder | Ensemble,
    tuned: Tunable,
    note: dict[str, Any],
    *,
    fitted: NDArray[np.uint8],
    names: Sequence[str],
) -> Encoder | Ensemble:
    """The encoder with the tuned tensors, distances to the `fitted` pixels in the tuned features, and the note."""
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
    note = note | {"intervals": "calibrated before tuning", "scores": "of the encoder before tuning"}
    info: EncoderInfo = replace(encoder.info, settings=encoder.info.settings | {"fine_tuning": note})
    rest: dict[str, Any] = {"natural_mean": encoder.natural_mean, "natural_sd": encoder.natural_sd}
    rest["uncertainty"] = uncertainty
    if isinstance(encoder, Encoder):
        return Encoder(backbone, tuned.rebuilt_readouts()[0], info, **rest)
    return Ensemble(backbone, tuned.rebuilt_readouts(), info, **rest)
