"""A project whose first round is made and not exported, without a network: a record of a fit, and random images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from protocols.project.folder import Project, Round
from synth import StimulusBatch, one_hot, stretch
from tests.protocols.helpers import checked_project

HOSTILE = "<img src=x onerror=alert(1)>'\"</script>\u2028"


def sites(count: int) -> list[str]:
    return [f"v4_{i:03d}" for i in range(count)]


def batch(
    count: int | list[str], *, seeds: int = 2, seed: int = 0, pixels: int = 32, channels: int = 3
) -> StimulusBatch:
    """Random images for stretch and one-hot of `count` sites (or those named), `seeds` each, with scores of a validator."""
    rng, names = np.random.default_rng(seed), count if isinstance(count, list) else sites(count)
    count = len(names)
    objective = stretch(names) | one_hot(names)
    rows = [row for row in objective.describe()["rows"] for _ in range(seeds)]
    n = len(rows)
    return StimulusBatch(
        images=rng.integers(0, 256, (n, pixels, pixels, channels), dtype=np.uint8),
        predicted=rng.normal(5, 1, (n, count)).astype(np.float32),
        predicted_sd=np.ones((n, count), np.float32),
        scores=rng.normal(size=n).astype(np.float32),
        row_names=tuple(f"{kind}:{site}" for kind in ("stretch", "one_hot") for site in names for _ in range(seeds)),
        kinds=tuple(kind for kind in ("stretch", "one_hot") for _ in range(count * seeds)),
        targets=tuple(site for _ in range(2) for site in names for _ in range(seeds)),
        seeds=np.tile(np.arange(seeds), 2 * count),
        start_ids=("",) * n,
        trace=np.zeros((n, 1), np.float32),
        site_ids=tuple(names),
        encoder_fingerprint="enc_00000001",
        objective_description={**objective.describe(), "rows": rows},
        validator_predicted=rng.normal(5, 1, (n, count)).astype(np.float32),
        validator_scores=rng.normal(size=n).astype(np.float32),
        validator_fingerprint="enc_00000002",
    )


def make(folder: Path, count: int = 5, *, seeds: int = 1, hostile: bool = False) -> Project:
    """The project; `hostile`: names and texts that a page must not take for more than text."""
    project = checked_project.make(folder)
    listed = [
        {"site_id": s, "eligible_fit": True, "eligible_target": i % 7 != 6, "held_out_r": 0.5, "reason": ""}
        for i, s in enumerate(sites(count))
    ]
    if hostile:
        listed.append({"site_id": HOSTILE, "eligible_fit": True, "eligible_target": True, "reason": HOSTILE})
    record = {"round": 1, "encoder": "enc_00000001", "validator": "enc_00000002", "rounds": [0]}
    (project.fitted / "for_round_01.json").write_text(json.dumps({**record, "report": {"sites": listed}}))
    round_ = project.new_round(1, "ses_20261121")
    round_.sealed.mkdir()
    batch(count, seeds=seeds).save(round_.controllers_path)
    round_.log("generate", images=2 * count * seeds, note=HOSTILE if hostile else "")
    return project


def exported(round_: Round) -> None:
    """Let the round look exported."""
    round_.outbox.mkdir()
    (round_.outbox / "_READY").touch()
