"""A project with so many simulated sites whose round 1 is answered: nothing is fitted, so that it is made in seconds."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from protocols.arrays import Floats
from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import write_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import Key, KeyRow, SiteRow, write_key
from protocols.project.photograph_import import demo_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses
from protocols.rounds.manifest import SCHEMA

OBJECTIVES = ("stretch", "one_hot")
ARMS = ("contrast_matched", "phase_scrambled")
REFERENCES, NATURAL = 3, 20
BLOCKS, REPEATS, BASELINE_REPEATS = 4, 24, 8
LOW, FANO, SHARED_GAIN = 0.5, 1.3, 0.1
SIDE_PX = 112


def sized_round(folder: Path, sites: int, *, seed: int = 0) -> Project:
    """A new project in `folder` with a baseline recording and an answered round of `sites` sites.

    Per site and objective a controller (half of them stronger than the references), three references and two control
    arms; 20 photographs and a blank; 24 presentations of every image in four blocks. The pictures are the built-in
    photographs.
    """
    display = Display(width_px=SIDE_PX, height_px=SIDE_PX, size_deg=8.0, background=128)
    config = Config(project=ProjectConfig(name="sized"), display=display)
    project, rng = Project.create(folder, template(config)), np.random.default_rng(seed)
    key, means = sealed(rng, sites)
    natural = [i for i, row in enumerate(key.rows) if row.role in ("natural", "reference")]
    shown = recorded(rng, key, means, natural, repeats=BASELINE_REPEATS)
    sources = {r.image_id: r.source_id for r in key.rows}
    names = np.array([sources[str(i)] for i in shown.image_ids])
    write_responses(project.data / "responses.h5", replace(shown, image_ids=names))
    round_ = project.new_round(1, "ses_a")
    write_responses(round_.responses_path, recorded(rng, key, means, range(len(key.rows)), repeats=REPEATS))
    round_.sealed.mkdir()
    write_key(round_.key_path, key)
    _show(round_, key, config)
    scores = dict.fromkeys(("held_out_r", "held_out_r_nc", "held_out_feve", "validator_r"), 0.5)
    fields = {"rf_x_deg": 1.0, "rf_y_deg": -0.5, "rf_sd_deg": 0.5, "eligible_fit": True, "eligible_target": True}
    fitted = {"encoder": "enc_1", "validator": "enc_2", "rounds": [0], "n_images": len(natural), "n_trials": len(shown.values)}  # fmt: skip
    report = {"sites": [{"site_id": s, **fields, **scores} for s in key.site_ids]}
    write_json(project.fitted / "for_round_01.json", fitted | {"report": report})
    return project


def sealed(rng: np.random.Generator, sites: int) -> tuple[Key, Floats]:
    """The key of the round, and the expected counts (images, sites) of its images."""
    site_ids = [f"v4_{i:04d}" for i in range(sites)]
    rows: list[KeyRow] = []
    means: list[Floats] = []
    numbers = count()

    def add(role: str, mean: Floats, **fields: Any) -> str:
        number = next(numbers)
        predicted = dict(zip(site_ids, map(float, mean), strict=True))
        rows.append(KeyRow(f"r01_{number:05d}", f"source_{number:05d}", role, predicted=predicted, **fields))
        means.append(mean)
        return f"source_{number:05d}"

    for k, site in enumerate(site_ids):
        best = rng.gamma(4.0, 0.8, sites) + LOW
        best[k] = LOW + rng.uniform(5.0, 9.0)
        for objective in OBJECTIVES:
            for i in range(REFERENCES):
                add("reference", LOW + (best - LOW) * (1 - 0.05 * i), reference_for=((objective, site),))
            controller = best.copy()
            controller[k] *= 1.5 if k % 2 else 1.0
            made = {"objective": objective, "target": site, "generator": "gradient"}
            name = add("controller", controller, seed=0, confirmatory=True, **made)
            for arm in ARMS:
                add("arm", best * 0.8, arm=arm, parent=name, objective=objective, target=site)
    for _ in range(NATURAL):
        add("natural", rng.gamma(4.0, 0.8, sites) + LOW)
    add("blank", np.full(sites, LOW))
    known: dict[str, Any] = {"natural_mean": 3.7, "natural_sd": 1.6, "reliability": 0.8, "is_target": True}
    return Key(tuple(rows), tuple(SiteRow(site_id=s, **known) for s in site_ids)), np.array(means)


def recorded(rng: np.random.Generator, key: Key, means: Floats, images: Any, *, repeats: int) -> Responses:
    """Negative-binomial counts with gain noise that the sites share and a tenth of the trials lost."""
    order = np.concatenate([rng.permutation(np.repeat(images, repeats // BLOCKS)) for _ in range(BLOCKS)])
    block = np.repeat(np.arange(BLOCKS), len(order) // BLOCKS)
    expected = means[order] * np.exp(SHARED_GAIN * rng.normal(size=(len(order), 1)))
    values = rng.poisson(rng.gamma(expected / (FANO - 1), FANO - 1)).astype(float)
    rep = np.zeros(len(order), dtype=int)
    for i in images:
        rep[order == i] = np.arange((order == i).sum())
    kept = rng.random(len(order)) >= 0.1
    names = np.array([row.image_id for row in key.rows])[order]
    return Responses(
        values=values[kept],
        image_ids=names[kept],
        site_ids=key.site_ids,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=block[kept],
        rep=rep[kept],
        onset_s=np.arange(len(order), dtype=np.float64)[kept] * 0.2,
    )


def _show(round_: Round, key: Key, config: Config) -> None:
    """The pictures and the manifest of a round as an export leaves them."""
    pictures = demo_photographs()
    for i, row in enumerate(key.rows):
        picture = Image.open(io.BytesIO(pictures[i % len(pictures)].data)).convert("L").resize((SIDE_PX, SIDE_PX))
        write_png(round_.outbox / "images" / f"{row.image_id}.png", np.asarray(picture)[..., None])
    images = [{"image_id": r.image_id, "filename": f"{r.image_id}.png"} for r in key.rows]
    timing = {"on_ms": 100.0, "off_ms": 100.0, "response_window_ms": [70.0, 170.0]}
    path = round_.outbox / "manifest.json"
    write_json(path, {"images": images, "timing": timing, "schema": SCHEMA, "config": config.to_dict()})
    (round_.outbox / "checksums.sha256").write_text(f"{sha256_file(path)}  manifest.json\n", encoding="utf-8")
    (round_.outbox / "_READY").touch()
