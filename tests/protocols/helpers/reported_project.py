"""A small project written by hand whose round 1 can be evaluated and reported, for the tests of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import write_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.protocol import EvaluationConfig, ProtocolConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import write_key
from protocols.recordings.readers.hdf5 import write_responses
from protocols.rounds.manifest import SCHEMA
from tests.protocols.helpers.simulated_rounds import make_truth, record

DISPLAY = Display(width_px=24, height_px=20, size_deg=4.0, background=128)


def fit_record(*sites: dict) -> dict:
    scores = dict.fromkeys(("held_out_r", "held_out_r_nc", "held_out_feve", "validator_r"), 0.5)
    return {
        "encoder": "enc_1", "validator": "enc_2", "rounds": [0], "n_images": 12, "n_trials": 99, "report": {"sites": [scores | s for s in sites]},
    }  # fmt: skip


def settings() -> Config:
    """What project.toml says."""
    return Config(
        project=ProjectConfig(name="page"),
        display=DISPLAY,
        protocol=ProtocolConfig(repeats=24, references=5),
        evaluation=EvaluationConfig(permutations=199, alpha=0.05),
    )


def make(folder: Path, manifest_config: dict[str, Any]) -> Project:
    """Three sites with a confirmatory and an exploratory controller each, and a baseline recording; round 1 is answered, not evaluated.

    `manifest_config`: the settings in the manifest of the round.
    """
    made = Project.create(folder, template(settings()))
    rng = np.random.default_rng(2)
    truth = make_truth(rng, sites=3, natural=12, equal=False, exploratory=1).scaled("controller", 2.0)
    sources = {r.image_id: r.source_id for r in truth.key.rows if r.role in ("natural", "reference")}
    before = record(rng, truth)
    before = before.select(np.array([str(i) in sources for i in before.image_ids]))
    write_responses(
        made.data / "responses.h5",
        replace(before, image_ids=np.array([sources[str(i)] for i in before.image_ids]), block=None, onset_s=None),
    )
    round_ = made.new_round(1, "ses_a")
    write_responses(round_.responses_path, record(rng, truth))
    round_.sealed.mkdir()
    write_key(round_.key_path, truth.key)
    for r in truth.key.rows:
        write_png(
            round_.outbox / "images" / f"{r.image_id}.png",
            rng.integers(0, 256, (*DISPLAY.shape[1:], 1), dtype=np.uint8),
        )
    write_manifest(round_, {"schema": SCHEMA, "config": manifest_config})
    sites = [{"site_id": "v4_000", "rf_x_deg": 1.0, "rf_y_deg": -0.5, "rf_sd_deg": 0.5}, {"site_id": "v4_001"}]
    write_json(made.fitted / "for_round_01.json", fit_record(*sites))
    return made


def write_manifest(round_: Round, manifest: dict[str, Any]) -> None:
    """A manifest with its checksum, as an export leaves it; its images are those of the key."""
    path = round_.outbox / "manifest.json"
    images = [{"image_id": p.stem, "filename": p.name} for p in sorted((round_.outbox / "images").glob("*.png"))]
    timing = {"on_ms": 100.0, "off_ms": 100.0, "response_window_ms": [70.0, 170.0]}
    write_json(path, {"images": images, "timing": timing} | manifest)
    (round_.outbox / "checksums.sha256").write_text(f"{sha256_file(path)}  manifest.json\n", encoding="utf-8")
    (round_.outbox / "_READY").touch()
