"""Small exported rounds that wait for an answer, and what they planned, read with csv and json alone."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import SiteRow
from protocols.rounds.export import Inspection, Showing, export_round
from protocols.rounds.stimulus import Stimulus

from .sheet import Sheet

SITES = ["v4_007", "v4_003", "v4_012", "v4_001", "v4_009"]
DISPLAY = Display(width_px=16, height_px=16, size_deg=4.0, background=128)
SCALES = {"spikes": (8.0, 3.0), "spikes/s": (60.0, 25.0), "dff": (0.4, 0.3), "zscore": (0.0, 1.0)}


@dataclass
class Planned:
    """A waiting round: where it lies, what it shows when, and which sites and unit it expects."""

    round: Round
    trials: list[tuple[str, int, int]]
    images: list[str]
    sites: list[str]
    unit: str

    @property
    def about(self) -> dict[str, Any]:
        """The attributes by which an answer names its round."""
        manifest = (self.round.outbox / "manifest.json").read_bytes()
        return {
            "manifest_sha256": sha256(manifest).hexdigest(),
            "session_id": self.round.session_id,
            "round": self.round.number,
        }


def make_round(folder: Path, *, unit: str = "spikes", number: int = 1, images: int = 8) -> Planned:
    """A new project in `folder` with one exported round; round 0 has no encoder, hence no sites and no unit."""
    project = Project.create(folder, name="trial", display=DISPLAY)
    round_ = project.new_round(number, "ses_20261121")
    config = ProtocolConfig(repeats=4, blocks=2, blanks_per_block=2, seed=5)
    encoder = {"encoder": {"fingerprint": "enc_00000000", "field_of_view_deg": 4.0, "unit": unit}}
    mean, sd = SCALES[unit]
    sites = [SiteRow(site_id=s, natural_mean=mean, natural_sd=sd, is_target=s == SITES[0]) for s in SITES]
    export_round(
        round_,
        DISPLAY,
        stimuli(images, natural_only=number == 0),
        showing=Showing(config=config, repeats=4),
        inspection=Inspection(predict=_predict if number else None),
        sites=sites if number else [],
        manifest=encoder if number else {},
    )
    with open(round_.outbox / "order.csv", encoding="utf-8", newline="") as handle:
        trials = [(r["image_id"], int(r["block"]), int(r["rep"])) for r in csv.DictReader(handle)]
    listed = json.loads((round_.outbox / "manifest.json").read_text(encoding="utf-8"))["images"]
    return Planned(round_, trials, [e["image_id"] for e in listed], SITES if number else [], unit)


def stimuli(n: int, *, natural_only: bool) -> list[Stimulus]:
    """`n` different images; a quarter controllers and a quarter references unless all are natural."""
    rng = np.random.default_rng(7)
    made = []
    for i in range(n):
        role = "natural" if natural_only else ("controller", "reference", "natural", "natural")[i % 4]
        about: dict[str, Any] = {}
        if role == "controller":
            about = {
                "objective": "stretch",
                "target": SITES[0],
                "generator": "gradient",
                "seed": i,
                "confirmatory": not i,
            }
        if role == "reference":
            about = {"reference_for": (("stretch", SITES[0]),)}
        pixels = rng.integers(0, 256, (16, 16, 1), dtype=np.uint8)
        made.append(Stimulus(pixels=pixels, role=role, source_id=f"src_{i:03d}", **about))
    return made


def _predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
    mean = pixels.reshape(len(pixels), -1).mean(1, keepdims=True)
    return {"predicted": mean + np.arange(len(SITES)), "validator_predicted": mean - np.ones(len(SITES))}


def answer(planned: Planned, rng: np.random.Generator) -> Sheet:
    """A faithful recording of every planned trial, in the order shown: responses depend on the image."""
    images = [i for i, _, _ in planned.trials]
    return Sheet(
        images=images,
        block=np.array([b for _, b, _ in planned.trials]),
        rep=np.array([r for _, _, r in planned.trials]),
        onset=12.5 + np.arange(len(images)) * 0.2,
        values=responses(images, rng, planned.unit, len(SITES)),
        sites=list(SITES),
        unit=planned.unit,
        about=planned.about,
    )


def responses(images: list[str], rng: np.random.Generator, unit: str, sites: int) -> np.ndarray:
    """Responses (T, U) in `unit`; spikes are whole, rates multiples of 10 / s, the others real numbers."""
    drive = {i: rng.uniform(3, 13, sites) for i in sorted(set(images))}
    counts = np.array([rng.poisson(drive[i]) for i in images]).astype(float)
    if unit == "spikes":
        return counts
    if unit == "spikes/s":
        return counts * 10.0
    return counts * 0.05 + rng.normal(0, 0.1, counts.shape)
