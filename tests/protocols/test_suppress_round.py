"""A round that drives sites low, from the commands of its page to the report: planted sites that can go lower are found,
and sites that are silent already are not claimed; an image that was evolved is judged beside them.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from protocols import loop
from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import read_png, write_png
from protocols.evolution.images import Pictures
from protocols.evolution.latent import open_latent
from protocols.project.folder import Project
from protocols.project.generations.files import RECORD, Evolution
from protocols.project.key import Key, read_key
from protocols.project.outbox import read_order
from protocols.recordings.dataset import gather
from protocols.recordings.natural import natural_means
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses
from protocols.report.page import write_report
from tests.protocols.helpers.checked_project import SITES, set_keys
from tests.protocols.helpers.pages import ROOT, run_page
from tests.protocols.helpers.random_network_project import TARGETS, make

LOW, SILENT = TARGETS
ALONE = SITES[3]  # the encoder knows it, and no controller is made for it
KEYS = {
    ("synthesis", "objectives"): ("suppress",),
    ("synthesis", "steps"): 3,
    ("synthesis", "graded_steps"): (),
    ("protocol", "blanks_per_block"): 12,
    ("arms", "kinds"): ("contrast_matched", "evolved"),
    ("evolution", "generations"): 1,
}


def prepared(folder: Path) -> Project:
    """The fitted project of the page before round 1, for which images were evolved for `LOW` and `ALONE`."""
    project = make(folder / "mylab")
    set_keys(project, KEYS, project.config)
    page = (ROOT / "docs/suppress.md").read_text(encoding="utf-8")
    wanted = next(block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[objective]]" in block)
    (folder / "lowest.toml").write_text(wanted.replace("v4_003", LOW))
    project = Project.open(project.folder)
    evolution = Evolution(project.new_round(1, "ses_20260101"))
    (evolution.folder / "evolved").mkdir(parents=True)
    pictures, chosen = Pictures.of(project, open_latent(project)), {}
    for seed, site in enumerate((LOW, ALONE)):
        image, path = pictures.pixels(pictures.latent.start(seed)), evolution.folder / "evolved" / f"{site}.png"
        assert image is not None
        write_png(path, image)
        chosen[site] = {
            "source_id": f"evo_{site}",
            "filename": f"evolved/{site}.png",
            "sha256": sha256_file(path),
            "score": 9.0,
            "started_from": "",
        }
    write_json(evolution.record_path, {"schema": RECORD, "round": 1, "chosen": chosen})
    return project


def planted(project: Project, key: Key) -> dict[str, dict[str, float]]:
    """Expected spikes of every image at every site: photographs evoke what they did in the baseline, but for the least
    activating ones of `SILENT`, which leave it silent. The controller of `LOW` evokes 0.3 there, evolved images 40.
    """
    baseline = gather(project, [])
    recorded = dict(zip(baseline.source_ids, natural_means(baseline, SITES), strict=True))
    means = {}
    for row in key.rows:
        of_image = dict(zip(SITES, recorded.get(row.source_id, np.full(len(SITES), 5.0)).tolist(), strict=True))
        if row.role == "controller":
            of_image[row.target] = {"stretch": 40.0, "suppress": 0.3 if row.target == LOW else 0.0}[row.objective]
        if ("suppress", SILENT) in row.reference_for:
            of_image[SILENT] = 0.02
        means[row.image_id] = of_image
    return means


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """The project after round 1, and what the commands of the page printed."""
    folder = tmp_path_factory.mktemp("suppress")
    project = prepared(folder)
    printed = run_page("docs/suppress.md", folder)
    loop.export(project, 1)
    round_ = project.round(1)
    means, order, rng = planted(project, read_key(round_.key_path)), read_order(round_.outbox), np.random.default_rng(3)
    table = Responses(
        values=rng.poisson([[means[t.image_id][s] for s in SITES] for t in order]).astype(float),
        image_ids=np.array([t.image_id for t in order]),
        site_ids=SITES,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=np.array([t.block for t in order]),
        rep=np.array([t.rep for t in order]),
        attributes={"manifest_sha256": sha256_file(round_.outbox / "manifest.json")},
    )
    round_.inbox.mkdir(exist_ok=True)
    write_responses(round_.inbox / "responses.h5", table)
    (round_.inbox / "responses.h5.done").touch()
    loop.ingest_round(project, round_)
    loop.evaluate_round(project, round_)
    write_report(project, round_)
    return project, printed


def test_the_page_says_what_the_round_can_find_and_makes_low_images(judged: tuple[Project, list[str]]) -> None:
    _, (plan, _, lowest) = judged
    assert "natural SD below" in plan
    assert "lowest" in lowest


def test_sites_that_can_go_lower_are_found_and_silent_ones_are_not_claimed(judged: tuple[Project, list[str]]) -> None:
    project, _ = judged
    round_ = project.round(1)
    key = read_key(round_.key_path)
    with open(round_.folder / "control.csv", newline="", encoding="utf-8") as handle:
        rows = {(r["objective"], r["site"]): r for r in csv.DictReader(handle) if r["objective"] == "suppress"}
    assert set(rows) == {("suppress", LOW), ("suppress", SILENT)}
    low, silent = rows["suppress", LOW], rows["suppress", SILENT]
    assert low["verdict"] == "control"
    assert float(low["difference"]) == pytest.approx(float(low["reference"]) - 0.3, abs=0.3)
    assert float(low["room"]) == pytest.approx(float(low["reference"]))
    assert float(low["blank_difference"]) == pytest.approx(4.7, abs=0.8)
    assert silent["verdict"] in ("no control", "not testable")
    assert silent["reason"].startswith("no room below the reference")
    named = {site for r in key.of_role("reference") for objective, site in r.reference_for if objective == "suppress"}
    assert named == {LOW, SILENT}
    page = round_.report_path.read_text(encoding="utf-8")
    assert "least activating natural image" in page
    assert "No room below the reference at 1 of 2 sites" in page


def test_an_evolved_image_is_judged_in_a_round_without_stretch_controllers(judged: tuple[Project, list[str]]) -> None:
    """It is the controller of its site, with references of its own, and never an arm beside one that drives low."""
    project, _ = judged
    round_ = project.round(1)
    key = read_key(round_.key_path)
    evolved = {r.target: r for r in key.of_role("controller") if r.generator == "evolution"}
    assert set(evolved) == {LOW, ALONE}
    for site, row in evolved.items():
        shown = read_png(round_.image_path(row.image_id))
        assert np.array_equal(shown, read_png(Evolution(round_).folder / "evolved" / f"{site}.png"))
        assert any(("stretch", site) in r.reference_for for r in key.of_role("reference"))
    assert {r.arm for r in key.of_role("arm")} <= {"contrast_matched"}
    report = loop.evaluate_round(project, round_)
    stretch = [r for r in report.confirmatory() if r.objective == "stretch"]
    assert {(r.site, r.verdict) for r in stretch} == {(LOW, "control"), (ALONE, "control")}
