"""Small projects in every stage, for the views: made from the finished one by taking files away, or adding some."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from protocols.project.folder import Project
from synth import StimulusBatch
from synth.objectives import one_hot, stretch
from tests.protocols.helpers import finished_project

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028\u00e9"
"""A name that would end a script, open an element, or break a string."""


def fit_sites(*more: str) -> list[dict[str, Any]]:
    """What a fit says of the sites of the finished project, and of `more`."""
    rows = []
    for i, site in enumerate([*finished_project.SITES, *more]):
        rows.append(
            {
                "site_id": site, "n_trials": 50, "n_images": 14, "reliability": 0.9 - 0.1 * i,
                "held_out_reliability": 0.8, "held_out_r": 0.5 + 0.05 * i, "held_out_r_nc": 0.7 - 0.1 * i,
                "held_out_feve": 0.4, "validator_r": 0.5, "validator_r_nc": 0.6, "validator_feve": None,
                "ceiling": 0.85, "best_layer": "blocks.3.0", "rf_x_deg": 0.5, "rf_y_deg": -0.25, "rf_sd_deg": 0.5,
                "rf_reason": "", "cv_r2": {"blocks.2.0": 0.2, "blocks.3.0": 0.3}, "eligible_fit": i < 3,
                "eligible_target": i < 2, "reason": "" if i < 2 else "reliability below 0.5",
            }
        )  # fmt: skip
    return rows


def make(folder: Path) -> Project:
    """Evaluated, with a fit that says something of each site."""
    project = finished_project.make(folder)
    set_fit(project, fit_sites())
    return project


def set_fit(project: Project, sites: list[dict[str, Any]]) -> None:
    """Replace what the fit of round 1 says of the sites."""
    path = project.fitted / "for_round_01.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["report"]["sites"] = sites
    path.write_text(json.dumps(record), encoding="utf-8")


def copied(project: Project, folder: Path, stage: str) -> Project:
    """A copy in one of the stages "baseline", "fitted", "exported", "half delivered", "ingested", "evaluated"."""
    shutil.copytree(project.folder, folder)
    copy = Project.open(folder)
    round_ = copy.round(1)
    if stage in ("baseline", "fitted"):
        shutil.rmtree(round_.folder)
    if stage == "baseline":
        shutil.rmtree(copy.fitted)
        copy.fitted.mkdir()
    if stage in ("exported", "half delivered"):
        for path in (round_.responses_path, round_.ingest_path, round_.drift_path):
            path.unlink(missing_ok=True)
        shutil.rmtree(round_.inbox, ignore_errors=True)
    if stage == "half delivered":
        round_.inbox.mkdir()
        (round_.inbox / "responses_b00.h5").write_bytes(b"half of a file")
    if stage in ("exported", "half delivered", "ingested"):
        for path in (round_.evaluation_path, round_.report_path):
            path.unlink(missing_ok=True)
    return copy


def generated(project: Project, folder: Path) -> Project:
    """A copy whose round 1 is made and not exported: two seeds per site and objective."""
    copy = copied(project, folder, "fitted")
    round_ = copy.new_round(1, "ses_20261121")
    round_.sealed.mkdir(parents=True)
    batch().save(round_.controllers_path)
    return copy


def batch(seeds: int = 2) -> StimulusBatch:
    """Controllers of the three sites for two objectives."""
    sites = tuple(sorted(finished_project.SITES))
    described = (stretch(list(sites)) | one_hot(list(sites))).describe()
    described["rows"] = [row for row in described["rows"] for _ in range(seeds)]
    count, rng = len(described["rows"]), np.random.default_rng(3)
    kinds = [k for k in ("stretch", "one_hot") for _ in range(len(sites) * seeds)]
    targets = [s for _ in range(2) for s in sites for _ in range(seeds)]
    f32 = np.float32
    return StimulusBatch(
        images=rng.integers(0, 256, (count, 20, 24, 1), dtype=np.uint8),
        predicted=rng.uniform(1, 9, (count, 3)).astype(f32),
        predicted_sd=rng.uniform(0, 1, (count, 3)).astype(f32),
        scores=rng.uniform(1, 9, count).astype(f32),
        row_names=tuple(f"{k} {t}" for k, t in zip(kinds, targets, strict=True)),
        kinds=tuple(kinds),
        targets=tuple(targets),
        seeds=np.array([i % seeds for i in range(count)], dtype=np.int64),
        start_ids=("img_000",) * count,
        trace=np.zeros((count, 1), dtype=f32),
        site_ids=sites,
        encoder_fingerprint="enc_00000000",
        objective_description=described,
        validator_predicted=rng.uniform(1, 9, (count, 3)).astype(f32),
        validator_scores=rng.uniform(1, 9, count).astype(f32),
        validator_fingerprint="enc_00000001",
        distance=rng.uniform(0.5, 3, count).astype(f32),
        outside=rng.uniform(size=count) > 0.5,
    )


def with_second_round(project: Project, folder: Path) -> Project:
    """A copy with a second evaluated round: the first one once more, under another number."""
    copy = copied(project, folder, "evaluated")
    first = copy.round(1)
    shutil.copytree(first.folder, first.folder.with_name("round_02"))
    record = json.loads((copy.fitted / "for_round_01.json").read_text(encoding="utf-8"))
    (copy.fitted / "for_round_02.json").write_text(json.dumps({**record, "round": 2}), encoding="utf-8")
    return copy


def hostile(project: Project, folder: Path) -> Project:
    """A copy in which a site and the source of every image have a hostile name."""
    copy = copied(project, folder, "evaluated")
    set_fit(copy, fit_sites(HOSTILE))
    path = copy.round(1).key_path
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    start, outside = (rows[0].index(name) for name in ("started_from", "outside"))
    for row in rows[1:]:
        row[start], row[outside] = (HOSTILE, "1") if row[start] else ("", "")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return copy
