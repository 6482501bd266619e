"""A small exported round with one interim look, and a rig that delivers it block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import h5py
import numpy as np

from protocols.disk.files import sha256_file, write_text
from protocols.project.config.config import Config
from protocols.project.config.protocol import EvaluationConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import read_key
from protocols.project.outbox import planned_trials
from protocols.rounds.stimulus import Stimulus

TARGETS = {"v4_007": 3.0, "v4_003": 0.8, "v4_012": 1.35}
"""Each target with its controller's response over its reference's: soon clear, without hope, in between."""


def make(folder: Path, lab: SimpleNamespace, **evaluation: Any) -> tuple[Project, Round]:
    """A project whose round 1 is exported: three sites, one reference each, graded images and an arm, 24 presentations."""
    display: Display = lab.display
    settings = EvaluationConfig(**{"looks": 1, "permutations": 4999} | evaluation)
    protocol = lab.protocol.model_copy(update={"repeats": 24, "blocks": 4})
    config = Config(display=display, protocol=protocol, evaluation=settings)
    project = Project.create(folder, template(config))
    round_ = project.new_round(1, "ses_20261121")
    pixels = iter(np.random.default_rng(0).integers(0, 256, (32, *np.roll(display.shape, -1)), dtype=np.uint8))
    stimuli = []
    for site in TARGETS:
        about: dict[str, Any] = {"objective": "stretch", "target": site, "generator": "gradient", "seed": 0}
        source = f"c_{site}"
        stimuli += [
            Stimulus(pixels=next(pixels), role="controller", source_id=source, confirmatory=True, **about),
            Stimulus(pixels=next(pixels), role="graded", source_id=f"g_{site}", parent=source, **about),
            Stimulus(pixels=next(pixels), role="reference", source_id=f"r_{site}", reference_for=(("stretch", site),)),
        ]
    stimuli += [Stimulus(pixels=next(pixels), role="natural", source_id=f"n_{i}") for i in range(4)]
    lab.export(
        round_,
        stimuli=stimuli,
        config=protocol,
        repeats=24,
        fewer={"graded": 8},
        manifest={"config": project.config.to_dict(), **lab.encoder},
    )
    return project, round_


def answer(
    round_: Round, name: str = "responses", *, blocks: int | None = None, change: Callable[[Any], Any] | None = None
) -> Path:
    """Write all trials of the order in force, or of its first `blocks`, and the ``.done`` file; the same trial has the same counts."""
    order = [t for t in planned_trials(round_.outbox) if blocks is None or t.block < blocks]
    key = {r.image_id: r for r in read_key(round_.key_path).rows}
    sites = read_key(round_.key_path).site_ids
    values = np.empty((len(order), len(sites)))
    for i, trial in enumerate(order):
        row = key[trial.image_id]
        rates = {"natural": 4.0, "blank": 0.5}.get(row.role, 8.0) * np.ones(len(sites))
        if row.role == "controller":
            rates[sites.index(row.target)] *= TARGETS[row.target]
        values[i] = np.random.default_rng(crc32(f"{row.source_id} {trial.rep}".encode())).poisson(rates)
    rows: dict[str, Any] = {
        "responses": values,
        "image_id": [t.image_id for t in order],
        "block": np.array([t.block for t in order]),
        "rep": np.array([t.rep for t in order]),
        "round": round_.number,
    }
    rows = change(rows) if change else rows
    round_.inbox.mkdir(exist_ok=True)
    path = round_.inbox / f"{name}.h5"
    with h5py.File(path, "w") as file:
        file["responses"] = rows["responses"]
        file.create_dataset("image_id", data=rows["image_id"], dtype=h5py.string_dtype())
        file.create_dataset("site_id", data=list(sites), dtype=h5py.string_dtype())
        file["trial/block"], file["trial/rep"] = rows["block"], rows["rep"]
        manifest = sha256_file(round_.outbox / "manifest.json")
        about = {"units": "spikes", "window_ms": [70.0, 170.0], "round": rows["round"], "manifest_sha256": manifest}
        file.attrs.update({**about, "session_id": round_.session_id})
    write_text(path.with_name(f"{path.name}.done"), "")
    return path


def only(rows: dict[str, Any], keep: np.ndarray) -> dict[str, Any]:
    """The rows that `keep` marks."""
    cut = {name: rows[name][keep] for name in ("responses", "block", "rep")}
    return {**rows, **cut, "image_id": [i for i, kept in zip(rows["image_id"], keep, strict=True) if kept]}


__all__ = ["TARGETS", "answer", "make", "only"]
