"""The files of an encoder: written both or neither, read back with checks; its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from encoders.backbones.tensors import hash_tensors, mark, save_tensors
from encoders.readouts import Readout, build_readout

SCHEMA = "encoder/2"


def write_files(target: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write encoder.safetensors and encoder.json into the new folder `target`, both or neither; what is written
    survives a power cut.

    Raises
    ------
    OSError
        The disk is full, or refuses.
    """
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    temporary = target.with_name(f".{target.name}.{mark()}")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        save_tensors(tensors, temporary / "encoder.safetensors")
        (temporary / "encoder.json").write_bytes(text.encode("utf-8"))
        for path in temporary.iterdir():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        flush_folder(temporary)
        os.replace(temporary, target)
        flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, where the file system can: a rename then survives a power cut."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
    readers: dict[str, Callable[[Path], Any]] = {
        "encoder.json": lambda file: json.loads(file.read_text(encoding="utf-8")),
        "encoder.safetensors": load_file,
    }
    parts = []
    for name, read in readers.items():
        try:
            parts.append(read(path / name))
        except Exception as error:  # the two parsers raise errors of their own kinds
            raise ValueError(
                f"{path / name}: cannot be read ({error}). Likely cause: a file copied in part. Fix: copy it again"
            ) from error
    record, tensors = parts
    if not isinstance(record, dict):
        raise _damaged(path, f"holds a {type(record).__name__}")
    if record.get("schema") != SCHEMA:
        stated = str(record.get("schema"))[:40]
        later = re.fullmatch(r"encoder/[0-9]+", stated) and int(stated[8:]) > int(SCHEMA[8:])
        way_out = "a newer version of stimsynth wrote it: install that version" if later else "fit the encoder again"
        raise ValueError(f"{path}: schema {record.get('schema')!r}, expected {SCHEMA!r}; {way_out}")
    description = {k: v for k, v in record.items() if k not in ("schema", "fingerprint")}
    missing = [key for key in ("fingerprint", "kind", "backbone", "readouts", "info") if record.get(key) is None]
    if missing:
        raise _damaged(path, f"lacks {', '.join(missing)}")
    try:
        fingerprint = fingerprint_of(description, tensors)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"describes a backbone that is none ({type(error).__name__}: {error})") from error
    if fingerprint != record["fingerprint"]:
        raise ValueError(
            f"{path}: the content has fingerprint {fingerprint}, encoder.json says {record['fingerprint']}. Likely "
            "cause: the weights or encoder.json were altered after saving. Fix: restore both files, or fit the encoder "
            "again"
        )
    return record, tensors


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path / 'encoder.json'}: {what}; expected the description that Encoder.save wrote. Likely cause: the file "
        "was edited. Fix: restore it, or fit the encoder again"
    )


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
