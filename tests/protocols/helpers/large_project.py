"""A project of many sites, photographs and controllers whose files are written as they are, without an export or a fit.

python -m tests.protocols.helpers.large_project     # seconds that each of its views takes
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import write_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.key import Key, KeyRow, SiteRow, write_key
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow, ObjectiveSummary, SiteConsistency

SIDE = 32
OBJECTIVES = ("stretch", "one_hot")


def make(
    folder: Path, *, sites: int | Sequence[str] = 200, photographs: int = 1000, repeats: int = 4, text: str = ""
) -> Project:
    """A baseline recorded elsewhere, a fit, and one evaluated round with a controller per site and objective.

    `sites`: how many, or their names; `text`: what stands wherever a record holds free text.
    """
    rng = np.random.default_rng(0)
    project = Project.create(folder, settings())
    names = tuple(f"v4_{i:03d}" for i in range(sites)) if isinstance(sites, int) else tuple(sites)
    photos = _photographs(project, photographs, rng)
    preference = rng.normal(size=(photographs, len(names))).cumsum(1) / np.sqrt(np.arange(1, len(names) + 1))
    shown = np.tile(np.arange(photographs), repeats)
    baseline = rng.poisson(np.exp(1 + 0.4 * preference[shown])).astype(float)
    places = {name: {"x_um": 400.0 * (i % 14), "y_um": 400.0 * (i // 14)} for i, name in enumerate(names)}
    table = Responses(
        values=baseline, image_ids=np.array(photos)[shown], site_ids=names, unit="spikes", window_ms=(70.0, 170.0),
        attributes={"sites": places},
    )  # fmt: skip
    write_responses(project.data / "responses.h5", table)
    _fit(project, names, rng, text)
    _round(project, names, photos, rng, text)
    return project


def settings() -> str:
    """The text of project.toml."""
    display = Display(width_px=SIDE, height_px=SIDE, size_deg=4.0, background=128)
    return template(Config(project=ProjectConfig(name="large", species="simulated"), display=display))


def _photographs(project: Project, count: int, rng: np.random.Generator) -> list[str]:
    rows = []
    (project.data / "natural").mkdir(parents=True)
    for i in range(count):
        path = project.data / "natural" / f"img_{i:04d}.png"
        coarse = rng.integers(0, 256, (4, 4), dtype=np.uint8)
        write_png(path, coarse.repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)[..., None])
        rows.append(
            NaturalImage(
                source_id=path.stem, filename=path.name, group=path.stem, sha256=sha256_file(path),
                original_name=path.name, resized_from="",
            )
        )  # fmt: skip
    write_photographs(project.data / "natural.csv", rows)
    return [row.source_id for row in rows]


def _fit(project: Project, names: tuple[str, ...], rng: np.random.Generator, text: str) -> None:
    rows = [
        {
            "site_id": name, "n_trials": 4000, "n_images": 1000, "reliability": rng.uniform(0.5, 1),
            "held_out_r": rng.uniform(0.2, 0.8), "held_out_r_nc": rng.uniform(0.3, 0.9), "held_out_feve": 0.5,
            "validator_r": 0.5, "ceiling": 0.9, "best_layer": "blocks.3.0", "rf_x_deg": rng.normal(), "rf_y_deg": 0.2,
            "rf_sd_deg": 0.8, "cv_r2": {"blocks.3.0": 0.3}, "eligible_fit": True, "eligible_target": True, "reason": text,
        }
        for name in names
    ]  # fmt: skip
    record = {
        "schema": "fitted/1",
        "round": 1,
        "encoder": "enc_00000000",
        "validator": "enc_00000001",
        "rounds": [0],
        "n_images": 1000,
        "n_trials": 4000,
    }
    write_json(project.fitted / "for_round_01.json", {**record, "report": {"sites": rows}})


def _round(project: Project, names: tuple[str, ...], photos: list[str], rng: np.random.Generator, text: str) -> None:
    round_ = project.new_round(1, "ses_20261121")
    (round_.outbox / "images").mkdir(parents=True)
    round_.sealed.mkdir()
    rows, verdicts = [], []
    for u, name in enumerate(names):
        pairs = tuple((objective, name) for objective in OBJECTIVES)
        reference = f"r01_ref_{u:03d}"
        rows.append(
            KeyRow(image_id=reference, source_id=photos[u % len(photos)], role="reference", reference_for=pairs)
        )
        for objective in OBJECTIVES:
            image = f"r01_{objective}_{u:03d}"
            predicted = dict(zip(names, rng.uniform(0, 20, len(names)).tolist(), strict=True))
            rows.append(
                KeyRow(
                    image_id=image, source_id=f"ctl_{image}", role="controller", objective=objective, target=name,
                    generator="gradient", seed=0, confirmatory=True, predicted=predicted,
                    validator_predicted={name: 9.0}, distance=1.5, outside=bool(u % 2),
                )
            )  # fmt: skip
            gain = float(rng.normal(0.3, 0.2))
            verdicts.append(
                ControlRow(
                    objective=objective, site=name, image_id=image, confirmatory=True, seed=0, p=0.01, gain=gain,
                    verdict="control" if gain > 0.2 else "no control", gain_low=gain - 0.2, gain_high=gain + 0.2,
                    gain_unit="fraction" if objective == "stretch" else "log S", reference_image=reference, n=20,
                    n_reference=20, measured=9.0, reference=6.0,
                )
            )  # fmt: skip
    for row in rows:
        write_png(round_.image_path(row.image_id), rng.integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8))
    write_key(round_.key_path, Key(tuple(rows), tuple(SiteRow(site_id=n, natural_mean=4, natural_sd=2) for n in names)))
    shown = np.tile([row.image_id for row in rows], 8)
    values = rng.poisson(6.0, (len(shown), len(names))).astype(float)
    write_responses(
        round_.responses_path,
        Responses(values=values, image_ids=shown, site_ids=names, unit="spikes", window_ms=(70.0, 170.0)),
    )
    write_json(round_.ingest_path, {})
    _report(names, verdicts, text).to_json(round_.evaluation_path)


def _report(names: tuple[str, ...], verdicts: list[ControlRow], text: str) -> ControlReport:
    summaries = tuple(
        ObjectiveSummary(
            objective=objective, tested=len(names), successes=sum(r.verdict == "control" for r in verdicts) // 2,
            low=0.4, high=0.6, chance=0.05, empirical_tested=0, empirical_successes=0, empirical_low=0.0,
            empirical_high=1.0, group_p=0.01, listed=0, strict=0, strict_tested=0, suppressed=0, suppression_tested=0,
            not_testable=0, excluded=0,
        )
        for objective in OBJECTIVES
    )  # fmt: skip
    consistency = tuple(
        SiteConsistency(
            site=n, reliability=0.9, controllers=2, controllers_r=0.5, controllers_r2=0.25, images=9, images_r=0.5,
            images_r2=0.3,
        )
        for n in names
    )  # fmt: skip
    return ControlReport(
        unit="spikes", alpha=0.05, permutations=999, seed=0, temperature=1.0, trials=9, trials_used=9,
        one_hot_sites=names, notes=(text,) if text else (), rows=tuple(verdicts), objectives=summaries, consistency=consistency,
    )  # fmt: skip


def main() -> None:
    """Print the processor time of building each view of the project, the second time."""
    from protocols.pages.views import VIEWS

    with tempfile.TemporaryDirectory() as folder:
        project = make(Path(folder) / "large")
        for name in (name for name in VIEWS if name != "planner"):
            VIEWS[name].build(project)
            begun = time.process_time()
            VIEWS[name].build(project)
            print(f"{name:<12} {time.process_time() - begun:.2f} s")


if __name__ == "__main__":
    main()
