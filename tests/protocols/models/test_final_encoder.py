"""[encoder] final_fit: another encoder makes the images than the one that is scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import Encoder, to_images
from protocols import Project
from protocols.check import check_project
from protocols.disk.png import read_png
from protocols.loop import fit, run
from protocols.models.fit import held_out_of
from protocols.models.pair import load_pair
from protocols.models.refit import provide, refit, refit_text
from protocols.models.yardstick import natural_scores, yardstick
from protocols.project.fitted import maker
from protocols.project.key import read_key
from protocols.recordings.dataset import gather
from protocols.report.fit import fit_sentence
from protocols.report.learning import learning_curve
from protocols.reproduce import reproduce
from protocols.status import status_of
from synth import StimulusBatch
from tests.protocols.helpers.refit_project import Subject, answer, change, copied

pytestmark = pytest.mark.xdist_group("refit")


@pytest.fixture(scope="module")
def finals(waiting: tuple[Path, Subject], tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Subject]:
    """A project whose round 1 was made by the final encoder and waits for the rig."""
    project, subject = copied(waiting, tmp_path_factory.mktemp("final") / "project")
    change(project, "encoder", final_fit=True)
    (project.fitted / "for_round_01.json").unlink()
    shutil.rmtree(project.round(1).folder)
    assert run(project).waiting_for == "responses"
    return project, subject


def predictions(encoder: torch.nn.Module, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = encoder(to_images(pixels))
    return (found.mean(0) if found.ndim == 3 else found).double().numpy()


def test_it_makes_and_predicts_the_images_and_the_other_one_is_scored(
    finals: tuple[Project, Subject], waiting: tuple[Path, Subject]
) -> None:
    project, _ = finals
    record, before = project.fitted_for(1), Project.open(waiting[0] / "project").fitted_for(1)
    assert record is not None
    assert before is not None
    assert maker(record) == record["final"] not in (record["encoder"], before["encoder"])
    assert maker(before) == before["encoder"]
    assert record["report"]["sites"] == before["report"]["sites"]
    final, _ = load_pair(project, 1)
    assert final.fingerprint == record["final"] == record["report"]["final"]["encoder"]
    round_ = project.round(1)
    manifest = json.loads((round_.outbox / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["encoder"]["fingerprint"] == final.fingerprint
    assert StimulusBatch.load(round_.controllers_path).encoder_fingerprint == final.fingerprint
    rows = read_key(round_.key_path).of_role("controller")
    pixels = np.stack([read_png(round_.outbox / "images" / f"{r.image_id}.png") for r in rows])
    sealed = np.array([[r.predicted[s] for s in final.site_ids] for r in rows])
    np.testing.assert_allclose(sealed, predictions(final, pixels), rtol=1e-3, atol=1e-3)
    scored = Encoder.load(project.fitted / record["encoder"])
    assert np.abs(sealed - predictions(scored, pixels)).max() > 0.01
    sentence = fit_sentence(record)
    assert f"Images are made by {final.fingerprint}, fitted once more, to the held-out photographs too" in sentence
    assert f"the scores are those of {record['encoder']}" in sentence
    assert "Images are made by" not in fit_sentence(before)
    (finding,) = [f for f in check_project(project) if f.what == "encoder"]
    assert finding.status == "ok"
    assert final.fingerprint in finding.text
    assert f"scores of {scored.fingerprint}" in finding.text
    assert status_of(project)["rounds"][-1]["encoder"] == final.fingerprint


def test_a_refit_makes_its_own_and_is_judged_by_the_scored_one(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    project, subject = copied((finals[0].folder.parent, finals[1]), tmp_path / "project")
    answer(project.round(1), subject)
    first, record = project.fitted_for(1), fit(project, 2)
    assert first is not None
    check = record["refit"]["regression_check"]
    assert check["verdict"] == "accepted"
    assert check["images"] >= 20
    data = gather(project, [1])
    chosen, _ = yardstick(project, first, data)
    for name, now in (("median_before", first), ("median_after", record)):
        (_, scores), (_, others) = (
            natural_scores(project, Encoder.load(project.fitted / now[key]), data, chosen=chosen, device="cpu")
            for key in ("encoder", "final")
        )
        assert check["encoder"][name] == pytest.approx(np.median(scores))
        assert np.median(others) > np.median(scores)  # it has seen them
    assert len({record["final"], record["encoder"], first["final"], first["encoder"]}) == 4
    entry = learning_curve(project)[0]
    assert (entry["encoder"], entry["made_by"]) == (first["encoder"], first["final"])
    assert entry["after_encoder"] == record["final"]


def test_a_refused_refit_leaves_the_old_one_and_names_the_new(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    project, subject = copied((finals[0].folder.parent, finals[1]), tmp_path / "project")
    change(project, "drift", align=False, exclude=False)  # which would leave these responses out by themselves
    answer(project.round(1), subject, garbage=True)
    first, record = project.fitted_for(1), fit(project, 2)
    assert first is not None
    assert record["refit"]["regression_check"]["verdict"] == "refused"
    assert (record["encoder"], record["final"]) == (first["encoder"], first["final"])
    refused = record["refit"]["refused"]
    assert refused["final"] not in (first["final"], refused["encoder"])
    assert (project.fitted / refused["final"] / "encoder.json").is_file()
    assert f"REFIT REFUSED: {first['final']} serves on" in refit_text(record)
    forced = provide(project, 2, force="the rig was repaired")
    assert forced["final"] == refused["final"]


def test_gain_and_offset_are_its_own(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    project, subject = copied((finals[0].folder.parent, finals[1]), tmp_path / "project", mode="gain")
    change(project, "drift", align=False)
    answer(project.round(1), subject, gain=0.5)
    old = load_pair(project, 1)[0]
    record = provide(project, 2, force="the subject changed")
    found = record["refit"]["adjustment"]
    assert set(found) == {"encoder", "validator", "final"}
    assert found["final"]["gain"] != found["encoder"]["gain"]
    assert 0.3 < np.median(found["final"]["gain"]) < 0.75
    new, _ = load_pair(project, 2)
    assert new.fingerprint == record["final"]
    pixels = read_png(next((project.round(1).outbox / "images").glob("*.png")))[None]
    expected = np.asarray(found["final"]["gain"]) * predictions(old, pixels) + np.asarray(found["final"]["offset"])
    np.testing.assert_allclose(predictions(new, pixels), expected, rtol=1e-3, atol=1e-3)


def test_without_it_the_next_fit_has_none(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    project, subject = copied((finals[0].folder.parent, finals[1]), tmp_path / "project")
    answer(project.round(1), subject)
    change(project, "encoder", final_fit=False)
    record = refit(project)
    assert "final" not in record
    assert maker(record) == record["encoder"]
    assert load_pair(project, 2)[0].fingerprint == record["encoder"]


def test_held_out_photographs_stay_out_of_the_scored_one_alone(finals: tuple[Project, Subject]) -> None:
    project, _ = finals
    record = project.fitted_for(1)
    assert record is not None
    data = gather(project, [])
    held = int(held_out_of(project, data).sum())
    for name, known in ((record["encoder"], len(data.pixels) - held), (record["final"], len(data.pixels))):
        encoder = Encoder.load(project.fitted / name)
        assert encoder.uncertainty is not None
        assert len(encoder.uncertainty.familiar) == known


def test_the_round_is_made_again_from_its_record(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    found = reproduce(finals[0].round(1).outbox / "manifest.json", tmp_path / "again")
    assert found.verified, found.summary()


def test_a_warm_refit_goes_on_from_it(finals: tuple[Project, Subject], tmp_path: Path) -> None:
    project, subject = copied((finals[0].folder.parent, finals[1]), tmp_path / "project", mode="warm")
    change(project, "encoder", readout="factorised")
    (project.fitted / "for_round_01.json").unlink()
    project.round(1).controllers_path.unlink()
    first = refit(project)
    answer(project.round(1), subject)
    record = fit(project, 2)
    assert "fitted_from_scratch" not in record["refit"]
    assert record["report"]["final"]["warm_start"] == [first["final"]]
    assert record["report"]["settings"]["warm_start"] == [first["encoder"], first["validator"]]


@pytest.mark.parametrize("role", ["encoder", "final", "validator"])
def test_check_opens_all_three(finals: tuple[Project, Subject], tmp_path: Path, role: str) -> None:
    project, _ = copied((finals[0].folder.parent, finals[1]), tmp_path / "project")
    record = project.fitted_for(1)
    assert record is not None
    shutil.rmtree(project.fitted / record[role])
    (finding,) = [f for f in check_project(project) if f.what == "encoder"]
    assert finding.status == "fail"
    assert record[role] in finding.text


def test_a_tuning_that_the_final_fit_lost_is_told(finals: tuple[Project, Subject]) -> None:
    record = finals[0].fitted_for(1)
    assert record is not None
    assert "not kept" not in fit_sentence(record)
    report = record["report"]
    tuned = {
        "fine_tuning": {"epoch": 2, "stopping_errors": [0.5, 0.4, 0.3], "n_fitted_images": 9, "n_stopping_images": 2}
    }
    lost = record | {
        "report": report | {"settings": report["settings"] | tuned, "final": report["final"] | {"epoch": 0}}
    }
    assert "(its tuning made it worse and was not kept)" in fit_sentence(lost)
