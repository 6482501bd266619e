"""Refits that go on from an encoder, and encoders whose networks were tuned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from encoders import to_images
from encoders.fitting.predict import predict_stored
from protocols import Project
from protocols.check import check_project
from protocols.loop import fit
from protocols.models.pair import load_pair
from protocols.models.refit import refit
from protocols.project.photographs import NaturalImages
from protocols.report.fit import fit_sentence
from tests.protocols.helpers.refit_project import Subject, answer, change, copied

pytestmark = pytest.mark.xdist_group("refit")


def test_a_warm_start_goes_on_from_the_encoder_that_serves(waiting: tuple[Path, Subject], tmp_path: Path) -> None:
    project, subject = copied(waiting, tmp_path / "project", mode="warm")
    change(project, "encoder", readout="factorised")
    for path in (project.fitted / "for_round_01.json", project.round(1).controllers_path):
        path.unlink()
    assert refit(project)["refit"]["mode"] == "first"
    answer(project.round(1), subject)
    record, first = fit(project, 2), project.fitted_for(1)
    assert record["report"]["settings"]["warm_start"] == [first["encoder"], first["validator"]]
    assert record["fitted_rounds"] == [0]
    assert record["rounds"] == [0, 1]
    assert "fitted_from_scratch" not in record["refit"]
    assert record["refit"]["regression_check"]["verdict"] == "accepted"
    assert record["encoder"] != first["encoder"]


def test_a_tuned_encoder_serves_and_is_refitted_from_scratch(waiting: tuple[Path, Subject], tmp_path: Path) -> None:
    """[encoder] fine_tune: told in the record and the sentence; the check predicts with the tuned network; a warm refit says why it is none."""
    project, subject = copied(waiting, tmp_path / "project", mode="warm")
    answer(project.round(1), subject)
    change(project, "encoder", fine_tune=1)
    record = fit(project, 2)
    how = record["report"]["settings"]["fine_tuning"]
    assert "the network is tuned" in record["refit"]["fitted_from_scratch"]
    told = f"pass {how['epoch']} of 1 kept" if how["epoch"] else "did not help"
    assert told in fit_sentence(record)
    encoder, validator = load_pair(project, 2)
    assert bool(encoder.backbone.adapted) == (how["epoch"] == 1)
    assert not validator.backbone.adapted
    pixels = NaturalImages.load(project.data).pixels()[:6]
    with torch.no_grad():
        direct = encoder(to_images(pixels))
    torch.testing.assert_close(predict_stored(encoder, pixels, project.cache), direct, rtol=1e-3, atol=1e-3)
    assert record["refit"]["regression_check"]["verdict"] in ("accepted", "refused")


@pytest.fixture(scope="module")
def tuned(waiting: tuple[Path, Subject], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose networks were tuned."""
    project, _ = copied(waiting, tmp_path_factory.mktemp("tuned") / "earlier")
    change(project, "encoder", fine_tune=3)
    start_again(project)
    record = refit(project)
    assert record["report"]["settings"]["fine_tuning"]["epoch"] > 0
    return project


def start_again(project: Project) -> None:
    for path in (project.fitted / "for_round_01.json", project.round(1).controllers_path):
        path.unlink()


def test_a_fit_begins_with_the_networks_of_an_earlier_project(
    tuned: Project, waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    earlier, tuned_record = load_pair(tuned, 1)[0], tuned.fitted_for(1)
    assert tuned_record is not None
    project, subject = copied(waiting, tmp_path / "project", mode="warm")
    path = f"earlier/{tuned_record['encoder']}"
    shutil.copytree(tuned.fitted / tuned_record["encoder"], project.folder / path)
    change(project, "encoder", networks_from=path, readout="factorised")
    start_again(project)
    (finding,) = [f for f in check_project(project) if f.what == "networks"]
    assert finding.status == "ok"
    assert earlier.fingerprint in finding.text
    record = refit(project)
    encoder, validator = load_pair(project, 1)
    assert record["report"]["settings"]["networks_from"] == earlier.fingerprint
    assert str(tmp_path) not in json.dumps(record)
    assert f"It began with the networks of {earlier.fingerprint}, tuned on an earlier recording." in fit_sentence(
        record
    )
    assert encoder.backbone.adapted.keys() == earlier.backbone.adapted.keys()
    assert all(torch.equal(t, earlier.backbone.adapted[n]) for n, t in encoder.backbone.adapted.items())
    assert not validator.backbone.adapted
    answer(project.round(1), subject)
    warm = fit(project, 2)  # readouts on networks that stay as they are can go on
    assert "fitted_from_scratch" not in warm["refit"]
    assert warm["report"]["settings"]["networks_from"] == earlier.fingerprint


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ("earlier/enc_0", r"networks_from = 'earlier/enc_0', which cannot be opened .*no encoder.json"),
        ("untuned", r"tuned no network; expected one of offline:efficientnet_lite0.*fitted without fine_tune"),
    ],
)
def test_networks_that_are_not_there_are_told_and_nothing_is_lost(
    named: str, what: str, waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    project, _ = copied(waiting, tmp_path / "project")
    first = project.fitted_for(1)
    assert first is not None
    shutil.copytree(project.fitted / first["encoder"], project.folder / "untuned")
    change(project, "encoder", networks_from=named)
    (finding,) = [f for f in check_project(project) if f.what == "networks"]
    assert finding.status == "fail"
    start_again(project)
    before = sorted(p.name for p in project.fitted.iterdir())
    with pytest.raises(ValueError, match=what):
        refit(project)
    assert sorted(p.name for p in project.fitted.iterdir()) == before
