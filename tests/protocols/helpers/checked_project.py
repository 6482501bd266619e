"""A small project with photographs, a shown round and a recorded baseline, without a fitted network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file, write_text
from protocols.disk.png import write_png
from protocols.loop import export_baseline
from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses

SITES = tuple(f"v4_{i:03d}" for i in range(5))
PHOTOGRAPHS = 48
DISPLAY = Display(width_px=32, height_px=32, size_deg=4.0, background=128, colour="rgb")


def make(folder: Path, seed: int = 0) -> Project:
    """48 photographs of 32 px in colour, shown as round 0 and recorded elsewhere: 5 sites that answer to them, 6 times
    each.
    """
    protocol = ProtocolConfig(repeats=24, blocks=4, natural_images=10, baseline_repeats=4, references=3)
    project = Project.create(folder, template(Config(display=DISPLAY, protocol=protocol)))
    rng, rows = np.random.default_rng(seed), []
    for i in range(PHOTOGRAPHS):
        coarse = rng.uniform(30, 225, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
        image = (coarse + rng.normal(0, 10, coarse.shape)).clip(0, 255).astype(np.uint8)
        path = project.data / "natural" / f"img_{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, image)
        row = NaturalImage(
            source_id=path.stem, filename=path.name, group=path.stem, sha256=sha256_file(path),
            original_name=path.name, resized_from="",
        )  # fmt: skip
        rows.append(row)
    write_photographs(project.data / "natural.csv", rows)
    export_baseline(project)
    means = rng.uniform(2, 20, (PHOTOGRAPHS, len(SITES)))
    order = np.repeat(np.arange(PHOTOGRAPHS), 6)
    table = Responses(
        values=rng.poisson(means[order]).astype(float),
        image_ids=np.array([rows[i].source_id for i in order]),
        site_ids=SITES,
        unit="spikes",
        window_ms=(70.0, 170.0),
    )
    write_responses(project.data / "responses.h5", table)
    return project


def set_keys(project: Project, changes: dict[tuple[str, str], Any], base: Config) -> None:
    """Write project.toml anew: `base` with other values under (section, key)."""
    for section in {section for section, _ in changes}:
        values = {key: value for (where, key), value in changes.items() if where == section}
        part = getattr(base, section)
        if isinstance(part, Display):
            new = replace(part, **values)
        else:
            new = part.model_copy(update=values)
        base = base.model_copy(update={section: new})
    write_text(project.folder / "project.toml", template(base))
