"""A small finished project made in two seconds: a real export, a real ingest, a real evaluation, no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import write_png
from protocols.loop import evaluate_round, export_baseline, ingest_round
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.protocol import ArmsConfig, EvaluationConfig, ProtocolConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import SiteRow
from protocols.project.outbox import read_order
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.rounds.export import Inspection, Showing, export_round
from protocols.rounds.stimulus import Stimulus

SITES = ("v4_007", "v4_003", "v4_012")
PHOTOGRAPHS = 14
DISPLAY = Display(width_px=24, height_px=20, size_deg=4.0, background=128)


def settings(display: Display = DISPLAY) -> Config:
    """What project.toml says."""
    protocol = ProtocolConfig(repeats=12, blocks=4, natural_images=4, baseline_repeats=4, references=3, seed=3)
    return Config(
        project=ProjectConfig(name="small", species="macaque"),
        display=display,
        protocol=protocol,
        arms=ArmsConfig(kinds=()),
        evaluation=EvaluationConfig(permutations=199, alpha=0.05),
    )


def make(folder: Path, *, display: Display = DISPLAY, evaluated: bool = True) -> Project:
    """Round 0 and round 1, both answered; round 1 evaluated, reported and with the record of a fit."""
    project = Project.create(folder, template(settings(display)))
    rng = np.random.default_rng(0)
    photographs = _photographs(project, rng)
    export_baseline(project)
    answer(project.round(0), seed=0)
    ingest_round(project, project.round(0))
    round_ = project.new_round(1, "ses_20261121")
    _export(project, round_, photographs)
    answer(round_, seed=1)
    ingest_round(project, round_)
    _fit(project)
    if evaluated:
        evaluate_round(project, round_)
        round_.report_path.write_text("<!doctype html><title>round 1</title>", encoding="utf-8")
    return project


def _photographs(project: Project, rng: np.random.Generator) -> list[Stimulus]:
    channels, height, width = project.display.shape
    rows, made = [], []
    (project.data / "natural").mkdir(parents=True)
    for i in range(PHOTOGRAPHS):
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        path = project.data / "natural" / f"img_{i:03d}.png"
        write_png(path, pixels)
        made.append(Stimulus(pixels=pixels, role="natural", source_id=path.stem))
        rows.append(
            NaturalImage(
                source_id=path.stem, filename=path.name, group=path.stem, sha256=sha256_file(path),
                original_name=path.name, resized_from="",
            )
        )  # fmt: skip
    write_photographs(project.data / "natural.csv", rows)
    return made


def _export(project: Project, round_: Round, photographs: list[Stimulus]) -> None:
    rng, (channels, height, width) = np.random.default_rng(7), project.display.shape
    stimuli = list(photographs[:4])
    for k, site in enumerate(SITES):
        pair = (("stretch", site),)
        stimuli += [replace(p, role="reference", reference_for=pair) for p in photographs[4 + 3 * k : 7 + 3 * k]]
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        stimuli.append(
            Stimulus(
                pixels=pixels, role="controller", source_id=f"ctl_r01_stretch_{site}_s0", objective="stretch",
                target=site, generator="gradient", seed=0, confirmatory=True, started_from="img_000",
            )
        )  # fmt: skip
    sites = [
        SiteRow(site_id=s, natural_mean=4.0, natural_sd=2.0, reliability=0.8, is_target=True) for s in sorted(SITES)
    ]

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        mean = pixels.reshape(len(pixels), -1).mean(1, keepdims=True) / 32
        return {"predicted": mean + np.arange(len(SITES)), "validator_predicted": mean - np.ones(len(SITES))}

    config = project.config
    export_round(
        round_,
        project.display,
        stimuli,
        sites=sites,
        showing=Showing(config=config.protocol, repeats=config.protocol.repeats),
        manifest={
            "config": config.to_dict(),
            "encoder": {"fingerprint": "enc_00000000", "field_of_view_deg": 4.0, "unit": "spikes"},
        },
        inspection=Inspection(predict=predict),
    )


def answer(round_: Round, *, seed: int, timed: bool = True, changed: dict[str, Any] | None = None) -> Path:
    """A faithful answer in the inbox; controllers evoke more. A tenth of the trials is invalid or missing."""
    rng, order = np.random.default_rng(seed), read_order(round_.outbox)
    roles = {line.split(",")[0]: line for line in round_.key_path.read_text(encoding="utf-8").splitlines()[1:]}
    kept = rng.random(len(order)) > 0.05
    rate = {i: rng.uniform(2, 6, len(SITES)) + 6 * (",controller," in roles[i]) for i in sorted(roles)}
    values = np.array([rng.poisson(rate[t.image_id]) for t in order])[kept]
    trials = [t for t, keep in zip(order, kept, strict=True) if keep]
    text, path = h5py.string_dtype(), round_.inbox / "responses.h5"
    round_.inbox.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["responses"] = values.astype(float)
        file.create_dataset("image_id", data=[t.image_id for t in trials], dtype=text)
        file.create_dataset("site_id", data=list(SITES), dtype=text)
        file.create_dataset("site/area", data=["V4"] * len(SITES), dtype=text)
        file["site/x_um"] = np.arange(len(SITES)) * 400.0
        file["trial/block"], file["trial/rep"] = [t.block for t in trials], [t.rep for t in trials]
        file["trial/valid"] = (rng.random(len(trials)) > 0.05).astype(np.uint8)
        if timed:
            file["trial/onset_s"] = np.flatnonzero(kept) * 0.2 + 12.0
        file.attrs.update({"units": "spikes", "window_ms": [70.0, 170.0], "subject": "Müsli", **(changed or {})})
    path.with_name(path.name + ".done").touch()
    return path


def _fit(project: Project) -> None:
    """The record of a fit and two encoders: readouts alone, and one that holds a tuned network too."""
    from safetensors.numpy import save_file

    for name, tensors in {
        "enc_00000000": ("readouts.0.coef",),
        "enc_00000001": ("readouts.0.coef", "backbone.a"),
    }.items():
        folder = project.fitted / name
        folder.mkdir()
        write_json(
            folder / "encoder.json", {"backbone": {"uri": "offline:efficientnet_lite0", "weights": "pretrained"}}
        )
        save_file({t: np.zeros(3, dtype=np.float32) for t in tensors}, folder / "encoder.safetensors")
    record = {
        "schema": "fitted/1", "round": 1, "encoder": "enc_00000000", "validator": "enc_00000001", "rounds": [0],
        "report": {"sites": [{"site_id": s, "rf_x_deg": 0.5, "rf_y_deg": -0.25, "rf_sd_deg": 0.5} for s in SITES]},
    }  # fmt: skip
    write_json(project.fitted / "for_round_01.json", record)
