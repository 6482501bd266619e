"""A small project with a recorded baseline whose round 1 waits for the rig, and a subject that answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from encoders import backbone, extract_features
from protocols import Project
from protocols.disk.files import sha256_file, write_text
from protocols.disk.png import read_png
from protocols.loop import evaluate_round, run
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Round
from protocols.project.outbox import read_order
from protocols.project.photograph_import import demo_photographs, import_photographs
from protocols.project.photographs import NaturalImages
from protocols.recordings.ingest import ingest
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses

SITES = tuple(f"v4_{u:03d}" for u in range(5))
NETWORK = "offline:efficientnet_lite0"


def settings() -> Config:
    """Two rounds of 48 px images on 160 photographs, everything small; no validator of another network."""
    return Config(
        project=ProjectConfig(name="refittest", species="simulated"),
        display=Display(width_px=48, height_px=48, size_deg=4.0, background=128, colour="rgb"),
        encoder=EncoderConfig(
            folds=3,
            layers=("blocks.2.0",),
            readout="ridge",
            validator_backbone=NETWORK,
            validator_layers=("blocks.3.0",),
            holdout_fraction=0.25,
        ),
        synthesis=SynthesisConfig(steps=2, objectives=("stretch",), temperature=2.0, graded_steps=()),
        arms=ArmsConfig(kinds=()),
        protocol=ProtocolConfig(repeats=8, blocks=2, natural_images=20, blanks_per_block=4, references=3),
        loop=LoopConfig(rounds=2),
    )


class Subject:
    """Sites that are linear in the features of an intermediate layer, in spikes, plus trial noise."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.network = backbone(NETWORK, ["blocks.2.1"])
        rows = self.rows(pixels)
        self.mean, self.weights = rows.mean(0), np.random.default_rng(0).normal(size=(rows.shape[1], len(SITES)))
        self.scale = ((rows - self.mean) @ self.weights).std(0)

    def rows(self, pixels: np.ndarray) -> np.ndarray:
        return extract_features(self.network, pixels, pool=2)["blocks.2.1"].double().numpy()

    def answer(self, pixels: np.ndarray) -> np.ndarray:
        return 8 + 2 * ((self.rows(pixels) - self.mean) @ self.weights) / self.scale


def noisy(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return means + rng.normal(scale=1.0, size=means.shape)


def recorded(folder: Path, config: Config) -> tuple[Project, Subject]:
    """The project in `folder` with a recorded baseline, and its subject."""
    (folder / "photographs").mkdir()
    for photograph in demo_photographs()[::4][:160]:
        (folder / "photographs" / photograph.filename).write_bytes(photograph.data)
    project = Project.create(folder / "project", template(config))
    import_photographs(folder / "photographs", project.display, project.data)
    natural = NaturalImages.load(project.data)
    subject = Subject(natural.pixels())
    index, rng = np.repeat(np.arange(len(natural.source_ids)), 4), np.random.default_rng(1)
    values = noisy(subject.answer(natural.pixels())[index], rng)
    ids = np.array(natural.source_ids)[index]
    write_responses(
        project.data / "responses.h5",
        Responses(values=values, image_ids=ids, site_ids=SITES, unit="au", window_ms=(70.0, 170.0)),
    )
    return project, subject


def make(folder: Path) -> tuple[Path, Subject]:
    """The project in `folder`, whose round 1 waits for the rig, and its subject."""
    project, subject = recorded(folder, settings())
    assert run(project).waiting_for == "responses"
    return folder, subject


def copied(base: tuple[Path, Subject], place: Path, **refit: object) -> tuple[Project, Subject]:
    """A copy of the project with other settings in [refit]."""
    shutil.copytree(base[0] / "project", place)
    project = Project.open(place)
    change(project, **refit)
    return project, base[1]


def change(project: Project, section: str = "refit", **values: object) -> None:
    config = project.config
    update = {section: getattr(config, section).model_copy(update=values)}
    write_text(project.folder / "project.toml", template(config.model_copy(update=update)))


def deliver(round_: Round, subject: Subject, *, garbage: bool = False, gain: float = 1.0, seed: int = 0) -> None:
    """Show the outbox of a round or a generation and put the finished answer into its inbox.

    garbage: what was recorded belongs to other images, and there is much of it.
    """
    order, rng = read_order(round_.outbox), np.random.default_rng(seed)
    images = sorted({t.image_id for t in order})
    pixels = np.stack([read_png(round_.image_path(i)) for i in images])
    means = dict(zip(images, 8 + gain * (subject.answer(pixels) - 8), strict=True))
    if garbage:
        means = {i: 8 + 12 * rng.normal(size=len(SITES)) for i in images}
    ids = np.array([t.image_id for t in order])
    about = {
        "manifest_sha256": sha256_file(round_.outbox / "manifest.json"),
        "session_id": round_.session_id,
        "round": round_.number,
    }
    responses = Responses(
        values=noisy(np.stack([means[i] for i in ids]), rng),
        image_ids=ids,
        site_ids=SITES,
        unit="au",
        window_ms=(70.0, 170.0),
        block=np.array([t.block for t in order]),
        rep=np.array([t.rep for t in order]),
        attributes=about,
    )
    round_.inbox.mkdir(exist_ok=True)
    write_responses(round_.inbox / "responses.h5", responses)
    (round_.inbox / "responses.h5.done").touch()


def answer(round_: Round, subject: Subject, *, garbage: bool = False, gain: float = 1.0, seed: int = 0) -> None:
    """Show the round to the subject, take its answer and evaluate it: see `deliver`."""
    deliver(round_, subject, garbage=garbage, gain=gain, seed=seed)
    ingest(round_, round_.inbox / "responses.h5", encoder_sites=SITES)
    evaluate_round(Project.open(round_.folder.parents[2]), round_)
    (round_.folder / "report.html").write_text("")
