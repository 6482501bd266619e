"""The files of an encoder: written both or neither, read back with checks; its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from encoders.backbones.tensors import hash_tensors
from encoders.readouts import Readout, build_readout

SCHEMA = "encoder/2"


def write_files(target: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write encoder.safetensors and encoder.json into the new folder `target`, both or neither."""
    from safetensors.torch import save_file

    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        save_file(tensors, temporary / "encoder.safetensors")
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (temporary / "encoder.json").write_bytes(text.encode("utf-8"))
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_files(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Record and tensors of the encoder in the folder `path`.

    Raises
    ------
    ValueError
        If a file is missing or damaged, or the content is not that which was saved.
    """
    from safetensors.torch import load_file

    if not (path / "encoder.json").is_file() or not (path / "encoder.safetensors").is_file():
        raise ValueError(
            f"{path}: no encoder.json and encoder.safetensors here; expected a folder that Encoder.save wrote"
        )
    try:
        record = json.loads((path / "encoder.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "encoder.safetensors")
    except Exception as error:  # the two parsers raise errors of their own kinds
        raise ValueError(
            f"{path}: cannot be read ({error}). Likely cause: a file copied in part. Fix: copy it again"
        ) from error
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {record.get('schema')!r}, expected {SCHEMA!r}; fit the encoder again")
    description = {k: v for k, v in record.items() if k not in ("schema", "fingerprint")}
    fingerprint = fingerprint_of(description, tensors)
    if fingerprint != record["fingerprint"]:
        raise ValueError(
            f"{path}: the content has fingerprint {fingerprint}, the file says {record['fingerprint']}. Likely cause: "
            "the weights or encoder.json were altered after saving. Fix: restore both files, or fit the encoder again"
        )
    return record, tensors


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
