"""A small project with a recorded baseline and no encoder, and a planted site that answers to one hidden picture each."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file, write_text
from protocols.disk.png import read_png, write_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.config.protocol import ArmsConfig, LoopConfig, ProtocolConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.generations.files import Generation
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses

SIDE = 24
SITES = ("v4_000", "v4_001", "v4_002")
PHOTOGRAPHS = 30


def settings(**evolution: Any) -> Config:
    """Three sites, of which two are evolved, four generations of ten images."""
    chosen = {
        "generations": 4,
        "targets": SITES[:2],
        "population": 10,
        "references": 2,
        "reference_repeats": 2,
        "candidates": 3,
        "candidate_repeats": 4,
        "cutoff": 3.0,
        "sigma": 1.0,
        **evolution,
    }
    return Config(
        project=ProjectConfig(name="evolved", species="simulated"),
        display=Display(width_px=SIDE, height_px=SIDE, size_deg=4.0, background=128, colour="grey"),
        arms=ArmsConfig(kinds=("evolved",)),
        protocol=ProtocolConfig(repeats=8, blocks=2),
        loop=LoopConfig(rounds=1),
        evolution=EvolutionConfig(**chosen),
    )


@dataclass
class Subject:
    """Expected counts ``5 * exp(2.5 * correlation of the image with the hidden picture of the site)``, 61 at most.

    `noise`: Poisson counts, or the expected ones rounded; `lost`: share of the trials without a row; `drift`: by which
    the gain of all sites rises in each generation.
    """

    seed: int = 0
    noise: bool = True
    lost: float = 0.0
    drift: float = 0.0

    def pictures(self) -> np.ndarray:
        """The hidden picture of each site: smooth, mean 0, norm 1; (U, H * W)."""
        rng = np.random.default_rng(100 + self.seed)
        coarse = rng.normal(size=(len(SITES), 4, 4))
        spectrum = np.zeros((len(SITES), SIDE, SIDE // 2 + 1), complex)
        spectrum[:, :3, :3] = np.fft.rfft2(coarse)[:, :3, :3]
        flat = np.fft.irfft2(spectrum, s=(SIDE, SIDE)).reshape(len(SITES), -1)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    def expected(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 1) -> (N, U)."""
        flat = pixels.reshape(len(pixels), -1).astype(float)
        flat -= flat.mean(1, keepdims=True)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        return 5 * np.exp(2.5 * flat @ self.pictures().T)

    def counts(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.poisson(expected).astype(float) if self.noise else np.round(expected)


def photographs() -> np.ndarray:
    """uint8 (N, H, W, 1), blurred noise."""
    rng = np.random.default_rng(7)
    coarse = rng.uniform(20, 235, (PHOTOGRAPHS, 6, 6)).repeat(SIDE // 6, 1).repeat(SIDE // 6, 2)
    return (coarse + rng.normal(0, 8, coarse.shape)).clip(0, 255).astype(np.uint8)[..., None]


def make(folder: Path, config: Config | None = None, subject: Subject | None = None) -> Project:
    """The project with photographs and a baseline of six presentations each, recorded elsewhere."""
    subject = subject or Subject()
    project = Project.create(folder, template(config or settings()))
    rows = []
    for i, image in enumerate(photographs()):
        path = project.data / "natural" / f"img_{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, image)
        row = NaturalImage(
            source_id=path.stem, filename=path.name, group=path.stem, sha256=sha256_file(path),
            original_name=path.name, resized_from="",
        )  # fmt: skip
        rows.append(row)
    write_photographs(project.data / "natural.csv", rows)
    order = np.repeat(np.arange(PHOTOGRAPHS), 6)
    values = subject.counts(subject.expected(photographs())[order], np.random.default_rng(subject.seed))
    table = Responses(
        values=values,
        image_ids=np.array([rows[i].source_id for i in order]),
        site_ids=SITES,
        unit="spikes",
        window_ms=(70.0, 170.0),
    )
    write_responses(project.data / "responses.h5", table)
    return project


def rewrite(project: Project, config: Config) -> None:
    """Write project.toml anew."""
    write_text(project.folder / "project.toml", template(config))


def answer(generation: Generation, subject: Subject, *, shuffled: bool = False, seed: int = 1) -> None:
    """Show an outbox, read as a rig does (order.csv and PNG), and put the finished answer into the inbox.

    `shuffled`: the responses of all trials change places, so that no score means anything.
    """
    outbox = generation.outbox
    with open(outbox / "order.csv", newline="", encoding="utf-8") as handle:
        trials = list(csv.DictReader(handle))
    manifest = json.loads((outbox / "manifest.json").read_text(encoding="utf-8"))
    number = int(manifest["generation"])
    files = {t["image_id"]: t["filename"] for t in trials}
    ids = sorted(files)
    expected = subject.expected(np.stack([read_png(outbox / files[i]) for i in ids]))
    rng = np.random.default_rng([seed, subject.seed, number])
    index = np.array([ids.index(t["image_id"]) for t in trials])
    values = subject.counts(expected[index] * (1 + subject.drift * number), rng)
    kept = rng.random(len(index)) >= subject.lost
    if shuffled:
        values = values[rng.permutation(len(values))]
    table = Responses(
        values=values[kept],
        image_ids=np.array([t["image_id"] for t in trials])[kept],
        site_ids=SITES,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=np.array([int(t["block"]) for t in trials])[kept],
        rep=np.array([int(t["rep"]) for t in trials])[kept],
        attributes={"manifest_sha256": sha256_file(outbox / "manifest.json")},
    )
    generation.inbox.mkdir(exist_ok=True)
    write_responses(generation.inbox / "responses.h5", table)
    (generation.inbox / "responses.h5.done").touch()
