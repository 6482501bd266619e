"""The commands on finished controllers, on a small fitted project: pages, exactness, batch invariance, refusals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols import Project
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.insilico.controllers.checks import check_asked
from protocols.insilico.controllers.given import from_batch
from protocols.insilico.controllers.simplify import simplified
from protocols.insilico.controllers.tuning import tuning_series
from protocols.insilico.opened import Opened, both_z, open_fitted
from protocols.insilico.sites import site_list
from protocols.synthesis.accentuation import Seeds, _seeds
from synth import StimulusBatch, stretch
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import run_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def lab(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fitted project ``mylab``, in which the pages have been run."""
    folder = tmp_path_factory.mktemp("lab")
    copy(looped / "project", folder / "mylab")
    return folder


@pytest.fixture(scope="module")
def opened(lab: Path) -> Opened:
    return open_fitted(Project.open(lab / "mylab"))


@pytest.fixture(scope="module")
def tuned(lab: Path) -> list[str]:
    return run_page("docs/tuning.md", lab)


@pytest.fixture(scope="module")
def simple(lab: Path, tuned: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("simple")
    copy(lab / "mylab", folder / "mylab")
    return folder, run_page("docs/simple.md", folder)


def check_predictions(folder: Path, opened: Opened) -> StimulusBatch:
    """What is stored are the answers of encoder and validator to the PNG files."""
    batch = StimulusBatch.load(folder / "batch.h5")
    read = np.stack([read_png(path) for path in sorted((folder / "images").glob("*.png"))])
    assert np.array_equal(read, batch.images)
    z = both_z(opened.pair, read)
    for encoder, stored, expected in (
        (opened.encoder, batch.predicted, z[0]),
        (opened.validator, batch.validator_predicted, z[1]),
    ):
        mean, sd = encoder.natural_mean.numpy(), encoder.natural_sd.numpy()
        assert (stored - mean) / sd == pytest.approx(expected, abs=1e-4)
    return batch


def test_the_page_of_tuning(lab: Path, opened: Opened, tuned: list[str]) -> None:
    assert "in 5 series" in tuned[1]
    batch = check_predictions(lab / "series", opened)
    with (lab / "series" / "steps.csv").open(encoding="utf-8") as file:
        steps = list(csv.DictReader(file))
    assert sum(bool(step["image"]) for step in steps) == len(batch)
    exact = opened.recipe["constraints"][0]
    made = StimulusBatch.load(lab / "controllers" / "batch.h5").best_per_target()
    shown = [step for step in steps if step["image"]]
    column = batch.site_ids.index("sim_000")
    for step, image, name in zip(shown, batch.images, batch.row_names, strict=True):
        if step["identity"] == "True":
            assert np.array_equal(image, made.images[made.row_names.index(name)])
        if step["series"] != "contrast":
            assert exact.violations(torch.from_numpy(image)[None]) == [""]
        else:
            seen = exact.statistics(torch.from_numpy(image).movedim(-1, 0)[None].double() / 255)
            assert float(seen["mean"]) == pytest.approx(exact.mean, abs=exact.tolerance)
            assert float(seen["rms"]) == pytest.approx(float(step["value"]) * exact.rms, abs=exact.tolerance)
    z = (batch.predicted[:, column] - opened.encoder.natural_mean[column].item()) / opened.encoder.natural_sd[column].item()  # fmt: skip
    assert [float(step["z"]) for step in shown] == pytest.approx(z.tolist(), abs=1e-3)
    record = json.loads((lab / "series" / "tuning.json").read_text(encoding="utf-8"))
    assert len(record["widths"]) == 5 * len(record["controllers"])


def test_a_series_is_the_same_alone_and_in_a_batch(lab: Path, opened: Opened, tuned: list[str]) -> None:
    whole = from_batch(opened, lab / "controllers", ["sim_000", "sim_001"])
    alone = from_batch(opened, lab / "controllers", ["sim_001"])
    two, one = tuning_series(opened, whole), tuning_series(opened, alone)
    own = [i for i, name in enumerate(two.batch.row_names) if "sim_001" in name]
    assert np.array_equal(two.batch.images[own], one.batch.images)
    assert two.batch.predicted[own] == pytest.approx(one.batch.predicted, abs=1e-4)


def test_the_page_of_simple(opened: Opened, simple: tuple[Path, list[str]]) -> None:
    folder, printed = simple
    assert "controllers simplified" in printed[1]
    check_predictions(folder / "simple", opened)
    with (folder / "simple" / "simple.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert float(row["held"]) >= 0.8
            assert int(row["png_bytes"]) < int(row["png_bytes_before"])
            assert int(row["waves"]) < int(row["waves_before"])


def test_what_is_no_batch_of_here_is_told_before_networks_are_loaded(lab: Path, tmp_path: Path, tuned: list[str]) -> None:  # fmt: skip
    project = Project.open(lab / "mylab")
    for batch, sites, out, code in (
        (tmp_path, (), "new", "V40"),
        (None, ("sim_99",), "new", "V41"),
        (lab / "controllers", (), ".", "W05"),
    ):
        with pytest.raises(DataError) as caught:
            check_asked(project, tmp_path / out, batch=batch, sites=sites)
        assert caught.value.code == code
    assert site_list(" sim_001, sim_000,,sim_001") == ("sim_001", "sim_000")


def test_a_batch_of_another_display_or_without_the_site_is_refused(opened: Opened, lab: Path, tmp_path: Path, tuned: list[str]) -> None:  # fmt: skip
    with pytest.raises(DataError) as caught:
        from_batch(opened, lab / "series", ["sim_001"])
    assert caught.value.code == "V41"
    (tmp_path / "batch.h5").write_bytes(b"no batch")
    with pytest.raises(DataError) as caught:
        from_batch(opened, tmp_path, [])
    assert caught.value.code == "V40"


def test_the_page_of_levels(lab: Path, opened: Opened) -> None:
    printed = run_page("docs/levels.md", lab)
    assert "reached" in printed[0]
    batch = check_predictions(lab / "levels", opened)
    exact = opened.recipe["constraints"][0]
    assert exact.violations(torch.from_numpy(batch.images)) == [""] * len(batch)
    with (lab / "levels" / "levels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["share"]) for row in rows] == pytest.approx(
        np.tile(np.linspace(-0.25, 1.5, 4), 2).tolist(), abs=1e-5
    )
    assert {row["photograph"] for row in rows} <= set(opened.source_ids)
    for photograph in {row["photograph"] for row in rows}:  # the response rises with the level that is asked for
        z = [float(row["z"]) for row in rows if row["photograph"] == photograph]
        assert z[0] < z[-1]


def test_a_flat_photograph_is_no_seed(opened: Opened) -> None:
    parts = {"source_ids": opened.source_ids, "measured": opened.measured, "recipe": opened.recipe, "steps": 1}
    first = _seeds(Seeds(natural=opened.natural, **parts), 0, 3)
    flat = opened.natural.copy()
    flat[first[1]] = 128
    again = _seeds(Seeds(natural=flat, **parts), 0, 3)
    assert first[1] not in again
    assert len(set(again)) == 3


def test_images_without_a_response_to_hold_are_refused(lab: Path, opened: Opened, tuned: list[str]) -> None:
    controllers = from_batch(opened, lab / "controllers", ["sim_000"])
    with pytest.raises(DataError) as caught:
        simplified(opened, replace(controllers, objective=-1.0 * stretch([controllers.sites[0]] * len(controllers))))
    assert caught.value.code == "V42"
