"""Sites that read a perturbed copy of a network, and an encoder fitted to the network as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoders import (
    EncoderInfo,
    Ensemble,
    backbone,
    correlation,
    extract_features,
    group_folds,
    to_images,
)
from encoders.backbones.features import Reduction
from encoders.fitting.members import fit_members
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.tuning.fine_tune import fine_tune
from tests.encoders.helpers.simulated import LAYERS, TINY, smooth_images

SITES, LAST = 6, "blocks.1.0"
FAST: dict[str, Any] = {"layers": "late", "epochs": 3, "learning_rate": 1e-3, "readout_learning_rate": 1e-3}


@dataclass
class Planted:
    """Sites that are linear in the features of a perturbed copy of the tiny network, and its frozen fit."""

    images: np.ndarray
    targets: np.ndarray
    fitted: np.ndarray
    stopping: np.ndarray
    held_out: np.ndarray
    encoder: Ensemble

    def tune(self, **changes: Any) -> Any:
        sides = {"fitted": self.fitted, "stopping": self.stopping}
        encoder = changes.pop("encoder", self.encoder)
        images, targets = changes.pop("images", self.images), changes.pop("targets", self.targets)
        return fine_tune(encoder, images, targets, **(sides | FAST | changes))

    def held_out_r(self, encoder: Any) -> float:
        with torch.no_grad():
            predicted = encoder(to_images(self.images[self.held_out]))
        predicted = predicted if predicted.ndim == 2 else predicted.mean(0)
        return float(np.median(correlation(predicted.numpy(), self.targets[self.held_out])))


def perturbed(network: Any, layer: str, scale: float) -> Any:
    """The network with noise on the weights of `layer`, and other thresholds of its hidden units."""
    generator, tensors = torch.Generator().manual_seed(5), {}
    for name, parameter in network.network.named_parameters():
        size = 1.0 if name.endswith("bn1.bias") else float(parameter.std()) if "conv" in name else 0.0
        if name.startswith(f"{layer}.") and size:
            tensors[name] = parameter + scale * size * torch.randn(parameter.shape, generator=generator)
    return network.adapt(tensors)


def frozen_fit(network: Any, images: np.ndarray, targets: np.ndarray, kind: str = "factorised") -> Ensemble:
    spec = ReadoutSpec(kind, pool=1 if kind == "ridge" else 4, **({"epochs": 8} if kind == "factorised" else {}))
    features = extract_features(network, images, reduction=Reduction(spec.pooled_to, maps=spec.trained))
    y = torch.from_numpy(targets)
    readouts = []
    for layer in network.layers:
        fit = fit_members(spec, features, [layer], targets=y, folds=group_folds(range(len(y)), 2))
        readouts += fit.readouts
    ids = tuple(f"v4_{u}" for u in range(y.shape[1]))
    info = EncoderInfo(
        site_ids=ids,
        target_ids=ids,
        response_unit="spikes",
        image_shape=(3, 32, 32),
        field_of_view_deg=4.0,
        background=128,
        colour="rgb",
        settings={"made": "by hand"},
    )
    return Ensemble(network, readouts, info, natural_mean=y.mean(0), natural_sd=y.std(0))


def plant(kind: str = "factorised", n: int = 240) -> Planted:
    rng = np.random.default_rng(0)
    images = smooth_images(n, 32, 3)
    network = backbone(TINY, LAYERS, weights="random")
    source = perturbed(network, LAST, 3.0)
    rows = extract_features(source.select([LAST]), images, pool=1)[LAST].double().numpy()
    rows = (rows - rows.mean(0)) / rows.std(0)
    truth = rows @ rng.normal(size=(rows.shape[1], SITES))
    targets = truth / truth.std(0)
    part = np.arange(n) % 8
    fitted, stopping, held_out = part < 5, part == 5, part > 5
    return Planted(
        images=images,
        targets=targets,
        fitted=fitted,
        stopping=stopping,
        held_out=held_out,
        encoder=frozen_fit(network, images[fitted], targets[fitted], kind),
    )


def state(encoder: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
