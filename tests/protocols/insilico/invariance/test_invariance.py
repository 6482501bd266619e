"""`stimsynth invariance` on a small project: files that agree with the encoder, the page, what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.insilico.invariance.asked import KINDS, PRESETS, Asked, check_asked
from protocols.insilico.invariance.diverse import clear_index
from protocols.insilico.invariance.found import on_display
from protocols.insilico.opened import Opened, open_fitted
from protocols.project.folder import Project
from synth import StimulusBatch
from synth.answers import images_of, z_scores_to
from synth.invariance.levels import PRESETS as SETTINGS
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.pages import run_page
from tests.protocols.helpers.random_network_project import TARGETS, make


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project `mylab` and what the commands of docs/invariance.md wrote."""
    folder = tmp_path_factory.mktemp("invariance")
    make(folder / "mylab")
    run_page("docs/invariance.md", folder)
    return folder


@pytest.fixture(scope="module")
def opened(lab: Path) -> Opened:
    return open_fitted(Project.open(lab / "mylab"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "images.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["sets", "paths", "metamers"])
def test_every_image_meets_the_display_and_its_prediction_is_of_the_png(lab: Path, opened: Opened, kind: str) -> None:
    batch, rows = StimulusBatch.load(lab / kind / "batch.h5"), rows_of(lab / kind)
    read = np.stack([read_png(lab / kind / "images" / f"{row['image']}.png") for row in rows])
    assert np.array_equal(read, batch.images)
    assert not any(opened.recipe["constraints"][0].violations(torch.from_numpy(read)))
    with torch.no_grad():
        for encoder, stored in ((opened.encoder, batch.predicted), (opened.validator, batch.validator_predicted)):
            answers = encoder(images_of(read))
            answers = answers if answers.dim() == 2 else answers.mean(0)
            assert stored == pytest.approx(answers.numpy(), abs=1e-4)
    for name in ("figure.png", "contact_sheet.png", "invariance.json"):
        assert (lab / kind / name).stat().st_size > 100


def test_points_of_a_path_are_at_the_level_and_the_table_says_what_the_files_do(lab: Path, opened: Opened) -> None:
    rows, record = rows_of(lab / "paths"), json.loads((lab / "paths" / "invariance.json").read_text())
    read = np.stack([read_png(lab / "paths" / "images" / f"{row['image']}.png") for row in rows])
    z, judged = z_scores_to(opened.encoder, read), z_scores_to(opened.validator, read)
    column = {site: i for i, site in enumerate(opened.encoder.site_ids)}
    for i, row in enumerate(rows):
        assert float(row["z"]) == pytest.approx(z[i, column[row["site"]]], abs=1e-4)
        assert float(row["validator_z"]) == pytest.approx(judged[i, column[row["site"]]], abs=1e-4)
        assert abs(float(row["change"])) < 0.25
        assert row["at_level"] == "true"
    assert record["at_level"] == record["points"] == sum(row["point"] != "0" for row in rows)
    assert {path["site"] for path in record["paths"]} == set(TARGETS)
    for path in record["paths"]:
        assert path["rms"][1] < path["rms"][0]
        assert all(wide["low"] < wide["high"] for wide in path["widths"])
        assert path["line_min"] < path["line_mean"]
    assert {row["images"] for row in record["triangles"]} == {"shown", "mixed"}
    assert all(0 <= row["fall_0"] <= row["fall_0.1"] <= row["fall_0.3"] <= 1 for row in record["triangles"])


def test_what_misses_the_tolerance_is_never_called_a_metamer(lab: Path, opened: Opened) -> None:
    """Three sites and few steps: whichever image misses is marked so, and the summary counts the others alone."""
    rows, record = rows_of(lab / "metamers"), json.loads((lab / "metamers" / "invariance.json").read_text())
    columns = [list(opened.encoder.site_ids).index(site) for site in record["sites"]]
    names = sorted({row["reference"] for row in rows})
    ids, pictures = on_display(opened, names, len(names), named=True)
    wanted = dict(zip(ids, z_scores_to(opened.encoder, pictures)[:, columns], strict=True))
    read = np.stack([read_png(lab / "metamers" / "images" / f"{row['image']}.png") for row in rows])
    for row, z in zip(rows, z_scores_to(opened.encoder, read)[:, columns], strict=True):
        largest = np.abs(z - wanted[row["reference"]]).max()
        assert float(row["largest"]) == pytest.approx(largest, abs=1e-4)
        assert row["metamer"] == str(bool(largest <= record["tolerance"])).lower()
    assert record["metamers"] == sum(row["metamer"] == "true" for row in rows) > 0
    assert record["median"]["rms"] > 0.5 * record["photographs"]["rms"]["median"]


def test_a_tolerance_that_is_not_met_gives_no_metamer(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "metamers", "--count", 1, "--photographs", 1, "--steps", 1, "--tolerance", 1e-5]
    code, printed, _ = stimsynth(capsys, "--json", "invariance", lab / "mylab", "--out", lab / "none", *words)
    told = json.loads(printed)
    assert (code, told["metamers"], told["images"]) == (0, 0, 1)
    assert told["median"]["rms"] is None
    code, printed, error = stimsynth(capsys, "invariance", lab / "mylab", "--out", lab / "none", *words)
    assert (code, "W05" in error) == (3, True)


def test_sets_keep_their_floor_and_the_index_stands_beside_its_null(lab: Path) -> None:
    rows, record = rows_of(lab / "sets"), json.loads((lab / "sets" / "invariance.json").read_text())
    for site in record["sites"]:
        mine = [row for row in rows if row["site"] == site["site"]]
        assert site["kept"] == sum(row["kept"] == "true" for row in mine)
        assert all((float(row["z"]) >= float(row["floor"])) == (row["kept"] == "true") for row in mine)
        assert float(mine[0]["floor"]) == pytest.approx(0.85 * site["best_z"], abs=1e-4)
        if site["index"] is not None:
            simple, complex_ = (float(np.mean(site["null"][kind])) for kind in ("simple", "complex"))
            assert site["index"] == pytest.approx((site["distance"] - simple) / (complex_ - simple))


def test_no_index_where_the_simulated_cells_say_nothing() -> None:
    """Distances as four orientations of cells of a field of 6, and of 3 pixels (SD) gave them."""
    large = np.array([0.187, 0.194, 0.193, 0.187]), np.array([0.239, 0.236, 0.252, 0.232])
    small = np.array([0.224, 0.311, 0.191, 0.326]), np.array([0.276, 0.298, 0.254, 0.235])
    assert clear_index(0.24, *large) == pytest.approx((0.24 - large[0].mean()) / (large[1].mean() - large[0].mean()))
    assert clear_index(0.30, *small) is None  # its two means give an index of 12
    assert clear_index(0.30, np.array([0.1, np.nan]), np.array([0.2, 0.3])) is None


def test_names_without_torch_are_those_of_the_settings() -> None:
    assert set(PRESETS) == set(SETTINGS)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "level"}, "V32"),
        ({"kind": "diverse", "tolerance": 0.2}, "V32"),
        ({"kind": "metamers", "one_sided": True}, "V32"),
        ({"kind": "levels", "preset": "published"}, "V32"),
        ({"kind": "levels", "tolerance": 0.0}, "V32"),
        ({"kind": "levels", "count": 1}, "V32"),
        ({"kind": "levels", "photographs": 0}, "V32"),
        ({"kind": "levels", "photographs": 48}, "V32"),
        ({"kind": "levels", "smooth": 5.0}, "V32"),
        ({"kind": "diverse", "steps": 0}, "V32"),
        ({"kind": "levels", "photographs": ("img_001", "img_001")}, "V32"),
        ({"kind": "levels", "photographs": ("img_1",)}, "V31"),
        ({"kind": "levels", "source": "img_1"}, "V31"),
        ({"kind": "diverse", "sites": ("v4_004",)}, "V41"),
        ({"kind": "diverse", "sites": ("v4_00",)}, "V41"),
    ],
)
def test_refusals_name_the_option(lab: Path, changes: dict, code: str) -> None:
    with pytest.raises(DataError) as error:
        check_asked(Project.open(lab / "mylab"), Asked(**changes))
    assert error.value.code == code
    assert error.value.where.startswith("--")


def test_every_kind_has_a_sentence_and_the_best_sites_are_taken(lab: Path) -> None:
    for kind in KINDS:
        assert check_asked(Project.open(lab / "mylab"), Asked(kind=kind)).sites == TARGETS


def test_a_flat_photograph_is_passed_over_and_refused_by_name(opened: Opened) -> None:
    flat = opened.natural.copy()
    flat[0] = 128
    with_flat = replace(opened, natural=flat)
    ids, images = on_display(with_flat, opened.source_ids, 3, named=False)
    assert ids == list(opened.source_ids[1:4])
    assert len(images) == 3
    with pytest.raises(DataError, match="V33"):
        on_display(with_flat, opened.source_ids[:1], 1, named=True)
