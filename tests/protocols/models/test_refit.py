"""Between two rounds: reuse, refit, the check that refuses a worse encoder, weights, and what goes through the network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from encoders.splits import resembling
from protocols import DataError, Project
from protocols.cli.app import app
from protocols.loop import evaluate_round, fit, look, run
from protocols.models.change import paired_change, paired_error_change
from protocols.models.fit import held_out_of
from protocols.models.pair import load_pair
from protocols.models.refit import first_shown, provide, refit, refit_text
from protocols.models.yardstick import regression_check, yardstick
from protocols.project.config.template import template
from protocols.project.key import read_key
from protocols.recordings.dataset import gather
from protocols.recordings.readers.hdf5 import read_responses
from protocols.report.learning import learning_curve, predicted_by
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.refit_project import SITES, Subject, answer, change, copied, settings

pytestmark = pytest.mark.xdist_group("refit")


@pytest.fixture(scope="module")
def good(waiting: tuple[Path, Subject], tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict]:
    """The project with an honest round 1, refitted in full."""
    project, subject = copied(waiting, tmp_path_factory.mktemp("good") / "project")
    answer(project.round(1), subject)
    assert (look(project).stage, look(project).number) == ("fit", 2)
    return project, fit(project, 2)


def test_an_honest_round_is_accepted_with_its_numbers(good: tuple[Project, dict]) -> None:
    project, record = good
    check = record["refit"]["regression_check"]
    assert record == project.fitted_for(2)
    assert check["verdict"] == "accepted"
    assert record["encoder"] != project.fitted_for(1)["encoder"]
    assert check["images"] >= 20
    for name in ("encoder", "validator"):
        found = check[name]
        assert found["score"] == "noise-corrected r"
        assert found["sites"] == len(SITES)
        assert found["low"] <= found["median_change"] <= found["high"]
        assert found["median_after"] > 0.5
        change = [after - before for before, after in found["per_site"].values()]
        assert found["median_change"] == pytest.approx(np.median(change))


def test_the_check_sees_the_scores_that_the_fit_reported(good: tuple[Project, dict]) -> None:
    """Predictions from cached features, against the held-out scores of the first fit: the same images, where all trials are the baseline's."""
    project, record = good
    check = record["refit"]["regression_check"]
    if check["near_duplicates_left_out"]:
        pytest.skip("fewer images than the fit held out")
    first = {s["site_id"]: s["held_out_r_nc"] for s in project.fitted_for(1)["report"]["sites"]}
    for site, (before, _) in check["encoder"]["per_site"].items():
        assert before == pytest.approx(first[site], abs=1e-4)


def test_the_verdict_is_about_the_score_that_was_optimised(good: tuple[Project, dict], tmp_path: Path) -> None:
    shutil.copytree(good[0].folder, tmp_path / "p")
    project = Project.open(tmp_path / "p")
    assert ControlReport.from_json(project.round(1).evaluation_path).temperature == 2.0
    change(project, "synthesis", temperature=5.0)
    assert evaluate_round(project, project.round(1)).temperature == 2.0


def test_garbage_responses_are_refused_and_the_old_encoder_serves(
    waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    project, subject = copied(waiting, tmp_path / "project")
    change(
        project, "drift", align=False, exclude=False
    )  # which would leave these responses out of the fit by themselves
    answer(project.round(1), subject, garbage=True)
    before = project.fitted_for(1)
    result = CliRunner().invoke(app, ["-q", "refit", str(project.folder)])
    assert result.exit_code == 0, result.output
    assert "REFIT REFUSED" in result.output
    record = project.fitted_for(2)
    check = record["refit"]["regression_check"]
    assert check["verdict"] == "refused"
    assert check["encoder"]["median_change"] < -project.config.refit.tolerance
    assert (record["encoder"], record["validator"]) == (before["encoder"], before["validator"])
    assert record["report"] == before["report"]
    refused = record["refit"]["refused"]
    assert refused["encoder"] != before["encoder"]
    assert (project.fitted / refused["encoder"] / "encoder.json").is_file()
    forced = CliRunner().invoke(app, ["-q", "refit", str(project.folder), "--force", "a new array"])
    assert "although worse: a new array" in forced.output
    record = project.fitted_for(2)
    assert record["encoder"] == refused["encoder"]
    assert record["refit"]["regression_check"]["verdict"] == "forced"
    change(project, accept_worse="written in the file")
    assert fit(project, 2)["refit"]["regression_check"]["reason"] == "written in the file"
    assert look(project).stage == "generate"  # the loop goes on


def test_reuse_serves_the_same_pair_and_fits_nothing(
    waiting: tuple[Path, Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, subject = copied(waiting, tmp_path / "project", mode="reuse")
    answer(project.round(1), subject)
    folders = sorted(p.name for p in project.fitted.iterdir())
    record, first = provide(project, 2), project.fitted_for(1)
    assert record["refit"] == {"mode": "reuse"}
    assert {k: v for k, v in record.items() if k not in ("refit", "round")} == {
        k: v for k, v in first.items() if k not in ("refit", "round")
    }
    assert sorted(p.name for p in project.fitted.iterdir()) == sorted([*folders, "for_round_02.json"])
    assert run(project).waiting_for == "responses"
    assert project.round(2).controllers_path.is_file()
    with pytest.raises(DataError, match="T02"):
        refit(project)


def test_a_refit_puts_only_new_images_through_the_networks(
    waiting: tuple[Path, Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder's and validator's features of the old images come from the cache, also in the regression check."""
    import encoders.backbones.cache
    import encoders.fitting.predict

    project, subject = copied(waiting, tmp_path / "project")
    answer(project.round(1), subject)
    seen = []
    whole = encoders.backbones.cache.extract_features

    def counted(network, images, **how):
        seen.append((network.layers, len(images)))
        return whole(network, images, **how)

    monkeypatch.setattr(encoders.backbones.cache, "extract_features", counted)
    monkeypatch.setattr(encoders.fitting.predict, "extract_features", counted)
    record = fit(project, 2)
    new = record["n_images"] - project.fitted_for(1)["n_images"]
    assert new == len(SITES)
    assert seen == [(("blocks.2.0",), new), (("blocks.3.0",), new)]


def test_the_yardstick_is_frozen_and_neither_fit_saw_it(good: tuple[Project, dict], tmp_path: Path) -> None:
    project, record = good
    data, first = gather(project, [1]), project.fitted_for(1)
    held_out = held_out_of(project, data)
    chosen, _ = yardstick(project, first, data, held_out=held_out)
    assert [data.source_ids[i] for i in chosen] == [
        s for s in first["held_out"] if s in {data.source_ids[i] for i in chosen}
    ]
    assert record["held_out"] == first["held_out"]
    for fitted_to in (first, record):
        assert set(chosen) <= set(fitted_to["report"]["held_out_images"])
    groups = {data.groups[i] for i in chosen}
    assert not groups & {g for g, out in zip(data.groups, held_out, strict=True) if not out}
    assert not resembling(data.pixels[chosen], data.pixels[~held_out]).any()
    twin = data.pixels.copy()
    twin[np.flatnonzero(~held_out)[0]] = np.clip(twin[chosen[0]].astype(int) + 3, 0, 255)
    fewer, left_out = yardstick(project, first, replace(data, pixels=twin), held_out=held_out)
    assert set(chosen) - set(fewer) == {chosen[0]}
    assert left_out >= 1
    with pytest.raises(DataError, match="T01"):
        yardstick(project, first, data, held_out=np.roll(held_out, 1))


def test_too_few_photographs_judge_nothing(good: tuple[Project, dict]) -> None:
    project, _ = good
    data, first = gather(project, [1]), project.fitted_for(1)
    held_out = held_out_of(project, data)
    check = regression_check(
        project, first | {"held_out": first["held_out"][:5]}, load_pair(project, 2), data=data, held_out=held_out
    )
    assert check["verdict"] == "unchecked"
    assert "5 held-out photographs" in check["reason"]


def test_another_seed_of_the_split_is_refused(good: tuple[Project, dict], tmp_path: Path) -> None:
    shutil.copytree(good[0].folder, tmp_path / "project")
    project = Project.open(tmp_path / "project")
    change(project, "encoder", seed=1)
    with pytest.raises(DataError, match="T01"):
        fit(project, 2)


def test_the_weights_reach_the_fit(waiting: tuple[Path, Subject], tmp_path: Path, good: tuple[Project, dict]) -> None:
    project, subject = copied(waiting, tmp_path / "project", natural_share=0.9)
    answer(project.round(1), subject)
    record = fit(project, 2)
    assert record["refit"]["weights"]["natural_share"] >= 0.9 - 1e-9
    assert good[1]["refit"]["weights"]["natural_share"] < 0.95
    if good[1]["refit"]["weights"]["natural_share"] < 0.9:
        assert record["encoder"] != good[1]["encoder"]


def test_the_learning_curve_has_consistency_before_and_after_the_refit(good: tuple[Project, dict]) -> None:
    project, record = good
    (entry,) = learning_curve(project)[:1]
    report = ControlReport.from_json(project.round(1).evaluation_path)
    assert (entry["round"], entry["mode"], entry["check"]) == (1, "first", None)
    squares = [c.controllers_r2 for c in report.consistency if c.controllers_r2 is not None]
    assert entry["prequential_r2"] == pytest.approx(np.median(squares))
    before = record["refit"]["regression_check"]["encoder"]
    assert entry["natural_r"] == pytest.approx(before["median_before"], abs=1e-9)
    assert entry["natural_images"] == before["images"]
    assert entry["after_encoder"] == record["encoder"]
    key = read_key(project.round(1).key_path)
    old, new = (load_pair(project, n)[0] for n in (1, 2))
    same = predicted_by(
        old, project, project.round(1), key=key
    )  # the sealed predictions, from the cache or from the PNG
    for ours, sealed in zip(same.of_role("controller"), key.of_role("controller"), strict=True):
        assert ours.predicted == pytest.approx(sealed.predicted, abs=1e-3)
    responses = read_responses(project.round(1).responses_path)
    after = evaluate(responses, predicted_by(new, project, project.round(1), key=key), permutations=999).consistency
    squares = [c.controllers_r2 for c in after if c.controllers_r2 is not None]
    assert entry["after_r2"] == pytest.approx(np.median(squares))
    assert entry["tested_stretch"] == report.objectives[0].tested
    json.dumps(entry, allow_nan=False)
    printed = CliRunner().invoke(app, ["status", str(project.folder), "--learning"]).output
    assert (
        f"round 1 ({entry['session']}): {entry['encoder']} (first); held-out photographs r {entry['natural_r']:.3f}"
        in printed
    )


def test_a_project_without_an_encoder_has_no_curve(tmp_path: Path) -> None:
    assert learning_curve(Project.create(tmp_path / "new", template(settings()))) == []


def test_gain_corrects_what_the_new_round_shows_and_leaves_the_readouts(
    waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    """A subject whose answers shrank to half about their mean, on a scale that is left as it was: the gains say so.

    On the baseline's trials these gains are wrong, which no correlation shows; the error does.
    """
    project, subject = copied(waiting, tmp_path / "project", mode="gain")
    change(project, "drift", align=False)
    answer(project.round(1), subject, gain=0.5)
    old = load_pair(project, 1)
    refused = fit(project, 2)
    check = refused["refit"]["regression_check"]
    assert check["verdict"] == "refused"
    assert check["encoder"]["score"] == "FEVE"
    assert check["encoder"]["high"] < 0
    assert "median FEVE" in check["reason"]
    assert refused["encoder"] == project.fitted_for(1)["encoder"]
    record = provide(project, 2, force="the subject changed")
    new = load_pair(project, 2)
    told = record["refit"]["adjustment"]["encoder"]
    assert 0.3 < np.median(told["gain"]) < 0.75
    data = gather(project, [1])
    held_out = held_out_of(project, data)
    shown = {i for i in data.image_index[data.trial_rounds == 1] if i >= 0}
    assert max(told["images"]) == len([i for i in shown if not held_out[i]])
    pixels = torch.from_numpy(data.pixels[:4]).movedim(-1, 1).float() / 255
    for before, after, name in zip(old, new, ("encoder", "validator"), strict=True):
        found = record["refit"]["adjustment"][name]
        gain, offset = (torch.tensor(found[k], dtype=torch.float32) for k in ("gain", "offset"))
        torch.testing.assert_close(after(pixels), gain * before(pixels) + offset)
    check = record["refit"]["regression_check"]
    assert check["verdict"] == "forced"
    assert record["fitted_rounds"] == record["readout_rounds"] == [0]
    assert record["rounds"] == [0, 1]


def test_gain_on_the_baselines_scale_is_accepted(waiting: tuple[Path, Subject], tmp_path: Path) -> None:
    """The same subject, its round brought to the baseline's scale: hardly anything is left to correct, and the record says how."""
    project, subject = copied(waiting, tmp_path / "project", mode="gain")
    answer(project.round(1), subject, gain=0.5)
    record = fit(project, 2)
    check = record["refit"]["regression_check"]
    assert (check["verdict"], check["reason"]) == ("accepted", "")
    assert check["encoder"]["score"] == "FEVE"
    assert 0.75 < np.median(record["refit"]["adjustment"]["encoder"]["gain"]) < 1.25
    assert project.fitted_for(1)["drift"] == {}
    assert record["drift"]["round_01"]["sites"]["v4_000"]["gain"] == pytest.approx(0.5, abs=0.15)


def test_the_error_tells_a_wrong_gain_from_its_correction(good: tuple[Project, dict]) -> None:
    project, _ = good
    data, first = gather(project, [1]), project.fitted_for(1)
    held_out = held_out_of(project, data)
    right = load_pair(project, 1)
    wrong = tuple(e.adjusted(torch.full((5,), 0.3), torch.full((5,), 8.0)) for e in right)
    assert regression_check(project, first, wrong, data=data, held_out=held_out)["verdict"] == "accepted"  # blind
    spoilt = regression_check(project, first, wrong, data=data, held_out=held_out, judge=paired_error_change)
    assert spoilt["verdict"] == "refused"
    served = first | {
        name: e.save(project.fitted).name for name, e in zip(("encoder", "validator"), wrong, strict=True)
    }
    mended = regression_check(project, served, right, data=data, held_out=held_out, judge=paired_error_change)
    assert mended["verdict"] == "accepted"
    assert mended["encoder"]["low"] > 0


def test_what_cannot_be_measured_is_unchecked(good: tuple[Project, dict]) -> None:
    project, _ = good
    data, first = gather(project, [1]), project.fitted_for(1)
    held_out = held_out_of(project, data)
    unknown = replace(data, values=np.full_like(data.values, np.nan))
    for judge, score in ((paired_change, "noise-corrected r"), (paired_error_change, "FEVE")):
        check = regression_check(project, first, load_pair(project, 2), data=unknown, held_out=held_out, judge=judge)
        assert check["verdict"] == "unchecked"
        assert f"encoder: no site has enough baseline trials to measure the change of {score}" in check["reason"]
        json.dumps(check, allow_nan=False)
    pair = load_pair(project, 2)
    for encoder in pair:
        encoder.info = replace(encoder.info, site_ids=tuple(f"v1_{u:03d}" for u in range(5)), target_ids=())
    check = regression_check(project, first, pair, data=data, held_out=held_out)
    assert check["verdict"] == "unchecked"
    assert "validator: none of the 5 sites is one of the old validator's" in check["reason"]
    record = project.fitted_for(2) | {"refit": {"mode": "full", "regression_check": check}}
    assert "accepted unchecked: encoder: none" in refit_text(record)


def test_gain_reads_only_rounds_that_the_readouts_were_not_fitted_to(
    waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    """After a warm refit on round 1 nothing is new for a gain; after a gain on it, it is estimated again with what came since."""
    project, subject = copied(waiting, tmp_path / "project")
    answer(project.round(1), subject)
    path = project.fitted / "for_round_01.json"
    first = project.fitted_for(1)
    path.write_text(json.dumps(first | {"rounds": [0, 1], "fitted_rounds": [0]}))  # as a warm refit leaves it
    record = provide(project, 2, mode="gain")
    assert set(record["refit"]["adjustment"]["encoder"]["images"]) == {0}
    assert set(record["refit"]["adjustment"]["encoder"]["gain"]) == {1.0}
    assert (record["readout_rounds"], record["fitted_rounds"]) == ([0, 1], [0])
    assert record["encoder"] == first["encoder"]
    path.write_text(
        json.dumps(first | {"rounds": [0, 1], "fitted_rounds": [0], "readout_rounds": [0]})
    )  # as a gain does
    record = provide(project, 2, mode="gain")
    assert min(record["refit"]["adjustment"]["encoder"]["images"]) > 20


def test_photographs_chosen_once_are_not_chosen_again_and_none_is_held_out(
    waiting: tuple[Path, Subject], tmp_path: Path
) -> None:
    project, subject = copied(waiting, tmp_path / "project", mode="reuse")
    change(project, "protocol", chosen_images=12)
    shutil.rmtree(project.round(1).folder)
    chosen = []
    for number in (1, 2):
        assert run(project).waiting_for == "responses"
        rows = read_key(project.round(number).key_path).of_role("reference")
        chosen.append({r.source_id for r in rows if not r.reference_for})
        if number == 1:
            answer(project.round(1), subject)
    data = gather(project, [])
    held_out = {s for s, out in zip(data.source_ids, held_out_of(project, data), strict=True) if out}
    assert [len(c) for c in chosen] == [12, 12]
    assert not chosen[0] & chosen[1]
    assert not (chosen[0] | chosen[1]) & held_out


def test_the_round_of_every_image(good: tuple[Project, dict]) -> None:
    data = gather(good[0], [1])
    first = first_shown(data)
    assert (first[: data.natural] == 0).all()
    assert (first[data.natural :] == 1).all()


def test_a_ridge_has_no_warm_start_and_says_so(
    waiting: tuple[Path, Subject], good: tuple[Project, dict], tmp_path: Path
) -> None:
    shutil.copytree(good[0].folder, tmp_path / "project")
    record = provide(Project.open(tmp_path / "project"), 2, mode="warm")
    assert "closed form" in record["refit"]["fitted_from_scratch"]
    assert record["encoder"] == good[1]["encoder"]  # what a full refit gives
    assert "closed form" in refit_text(record)
