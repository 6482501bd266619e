"""A recording whose sites are linear in the features of a tiny network, plus trial noise."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from encoders import FitOptions, Recording, backbone, extract_features, fit_encoder

TINY = "timm:test_efficientnet"
LAYERS = ("blocks.0.0", "blocks.1.0")
VALIDATOR = ("blocks.2.0",)


@dataclass
class Simulated:
    """A recording whose sites are linear in the features of the tiny network, plus trial noise."""

    images: np.ndarray
    values: np.ndarray
    index: np.ndarray
    truth: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)

    def fit(self, **changes: Any) -> Any:
        """The fit of this recording; `changes` are fields of `Recording` or `FitOptions`, or keywords of `fit_encoder`."""
        given = {"pixels": self.images, "values": self.values, "image_index": self.index} | self.options | changes
        if "images" in given:
            given["pixels"] = given.pop("images")
        data, choices = (
            {f.name: given.pop(f.name) for f in fields(kind) if f.name in given} for kind in (Recording, FitOptions)
        )
        return fit_encoder(Recording(**data), FitOptions(**choices), **given)


def smooth_images(n: int, side: int, seed: int = 0) -> np.ndarray:
    """(n, side, side, 3) uint8, each its own smooth pattern."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1)
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def simulate(n: int = 160, sites: int = 5, repeats: int = 6, noise: float = 0.7, seed: int = 0) -> Simulated:
    rng = np.random.default_rng(seed)
    images = smooth_images(n, 32, seed)
    rows = (
        extract_features(backbone(TINY, ["blocks.1.0"], weights="random"), images, pool=2)["blocks.1.0"]
        .double()
        .numpy()
    )
    rows = (rows - rows.mean(0)) / rows.std()
    truth = rows @ rng.normal(size=(rows.shape[1], sites))
    truth = truth / truth.std(0) + 3
    index = np.repeat(np.arange(n), repeats)
    values = truth[index] + noise * rng.normal(size=(n * repeats, sites))
    options = {
        "site_ids": [f"v4_{u:03d}" for u in range(sites)],
        "unit": "spikes",
        "field_of_view_deg": 4.0,
        "background": 128,
        "colour": "rgb",
        "backbone": TINY,
        "weights": "random",
        "layers": LAYERS,
        "validator_layers": VALIDATOR,
        "readout": "ridge",
        "pool": 4,
    }
    return Simulated(images=images, values=values, index=index, truth=truth, options=options)
