"""The image half of a model in a folder, as timm saves it: ``config.json`` and ``model.safetensors``; offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from encoders.backbones.features import to_images
from protocols.arrays import Floats, Pixels
from protocols.disk.files import read_json
from protocols.errors import DataError
from protocols.progress import Reporter

BATCH = 32


@torch.no_grad()
def image_vectors(folder: Path, pixels: Pixels, *, device: str = "cpu", progress: Reporter | None = None) -> Floats:
    """Output of the model for images uint8 (N, H, W, C), (N, D): resized (bicubic) and normalised as config.json says.

    Nothing is loaded but the architecture's name, its numbers and the tensors; no code, no network.

    Raises
    ------
    DataError
        V66: no such architecture, other tensors, or a broken file; F01: config.json is not JSON.
    """
    network, settings = _open(folder)
    network.to(device).eval()
    mean, std = (torch.tensor(settings[name], device=device).view(1, 3, 1, 1) for name in ("mean", "std"))
    rows = []
    for start in range(0, len(pixels), BATCH):
        images = to_images(pixels[start : start + BATCH], device)
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        side = tuple(settings["input_size"][1:])
        images = F.interpolate(images, size=side, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        rows.append(network((images - mean) / std).double().cpu().numpy())
        if progress is not None:
            progress("vectors of photographs", min(start + BATCH, len(pixels)), len(pixels))
    vectors = np.concatenate(rows)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise _unusable(folder, f"outputs of shape {vectors.shape}, finite: {bool(np.isfinite(vectors).all())}")
    return vectors


def _open(folder: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network with its tensors, and how its input is prepared."""
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_json(folder / "config.json")
    try:
        settings = dict(config.get("pretrained_cfg") or {})
        settings = {name: [float(v) for v in settings[name]] for name in ("mean", "std")} | {
            "input_size": [int(v) for v in settings["input_size"]]
        }
        if any(len(settings[name]) != 3 for name in settings) or min(settings["input_size"]) < 1:
            raise ValueError("mean, std and input_size: expected three numbers each")
        architecture = str(config["architecture"])
        if not timm.is_model(architecture):
            raise ValueError(f"timm does not know the architecture {architecture[:60]!r}")
        network = timm.create_model(architecture, pretrained=False, num_classes=int(config["num_classes"]))
        network.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        raise _unusable(folder, f"{type(error).__name__}: {str(error)[:200]}") from error
    return network, settings


def _unusable(folder: Path, found: str) -> DataError:
    return DataError(
        folder.name,
        found=found,
        expected=(
            "config.json (architecture of timm, num_classes, pretrained_cfg with mean, std and input_size) and "
            "model.safetensors with its tensors"
        ),
        cause="a folder of another library (open_clip, transformers), or an incomplete copy",
        fix="make images.npz with make_vectors.py (docs/describe.md), which --clip takes from any model",
        code="V66",
    )
