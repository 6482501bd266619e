"""The fitted encoders in an archive: readouts are the lab's own, network weights belong to others."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from protocols.disk.files import read_json
from protocols.project.folder import Project

from .building import Building

READOUTS = "Fitted readouts: tensors named readouts.*, read with the package safetensors."
TUNED = "Fitted readouts, and the weights of a network that was tuned (tensors named backbone.*)."
GIVEN = "Network weights that the project was given."
NETWORK = "licence of the network that was tuned or given; not known to stimsynth"


def add_encoders(made: Building, project: Project, *, with_weights: bool) -> None:
    """Records of the fits, encoders, and with `with_weights` what holds weights of networks."""
    for path in sorted(project.fitted.glob("for_round_*.json")):
        made.copy(path, f"encoders/{path.name}", "Record of a fit: which encoder made the images of that round.")
    for folder in sorted(p for p in project.fitted.glob("enc_*") if p.is_dir()):
        _add_encoder(made, folder, with_weights=with_weights)
    config = project.config.encoder
    names = sorted({config.weights, config.validator_weights} - {""})
    twice = len({PurePosixPath(name).name for name in names}) < len(names)
    for number, name in enumerate(names):
        file = f"{number}_{PurePosixPath(name).name}" if twice else PurePosixPath(name).name
        if not with_weights:
            made.notes.append(f"the network weights {file} are left out (--with-weights)")
        elif not made.copy(project.folder / name, f"encoders/weights/{file}", GIVEN, licence=NETWORK, linked=True):
            made.notes.append(f"the network weights {file} are not there")


def _add_encoder(made: Building, folder: Path, *, with_weights: bool) -> None:
    tensors, description = folder / "encoder.safetensors", folder / "encoder.json"
    where = f"encoders/{folder.name}"
    if not (tensors.is_file() and description.is_file()):
        made.notes.append(f"{where} is left out: its files are not whole")
        return
    made.json(f"{where}/encoder.json", without_places(read_json(description)), "Description of the encoder.")
    if not holds_network(tensors):
        made.copy(tensors, f"{where}/encoder.safetensors", READOUTS)
    elif with_weights:
        made.copy(tensors, f"{where}/encoder.safetensors", TUNED, licence=NETWORK)
    else:
        made.notes.append(
            f"{where}/encoder.safetensors is left out: it holds weights of a network (--with-weights puts it in)"
        )


def holds_network(path: Path) -> bool:
    """Whether a safetensors file holds weights of a network beside those of the readouts; read from its header."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(size, 100_000_000)))
        except ValueError:
            return True  # not readable: treated as what may not be passed on
    return not isinstance(header, dict) or any(str(name).startswith("backbone.") for name in header)


def without_places(value: Any) -> Any:
    """`value` with each ``weights`` that is a path cut to the name of its file; fingerprints do not count the place."""
    if isinstance(value, dict):
        return {k: _name(v) if k == "weights" and isinstance(v, str) else without_places(v) for k, v in value.items()}
    return [without_places(v) for v in value] if isinstance(value, list) else value


def _name(text: str) -> str:
    return PureWindowsPath(text).name if "/" in text or "\\" in text else text
