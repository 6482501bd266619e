"""Parts of saving and loading an encoder: the schema, the fingerprint, and the readouts read back."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from torch import Tensor

from encoders.backbones.tensors import hash_tensors
from encoders.readouts import Readout, build_readout

SCHEMA = "encoder/2"


def restored_readout(m: int, config: dict[str, Any], tensors: dict[str, Tensor]) -> Readout:
    """Readout number `m`, from its description and the tensors of the file."""
    prefix = f"readouts.{m}."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return build_readout(config, own)


def fingerprint_of(description: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """``enc_`` + 8 hex digits of SHA-256 over an encoder's description and tensors."""
    network = description["backbone"]
    if "networks" in network:
        network = {"networks": {name: _without_place(part) for name, part in network["networks"].items()}}
    else:
        network = _without_place(network)
    text = json.dumps(description | {"backbone": network}, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return "enc_" + hashlib.sha256((text + hash_tensors(tensors)).encode()).hexdigest()[:8]


def _without_place(network: dict[str, Any]) -> dict[str, Any]:
    """The description without the path of a weights file: its content counts (weights_sha256), not its place."""
    return network if network["weights"] in ("pretrained", "random") else network | {"weights": "file"}
