"""Search in a library on a fitted project, from the command line to files that agree with the encoder."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protocols import Project
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.models.pair import load_pair, site_rows
from protocols.project.photograph_import import demo_photographs
from synth import StimulusBatch
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import run_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def lab(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted project, a library of 12 photographs, one copy, a grey card and a broken file, and two objectives."""
    folder = tmp_path_factory.mktemp("lab")
    copy(looped / "project", folder / "mylab")
    (folder / "library" / "more").mkdir(parents=True)
    photographs = demo_photographs()[1::3][:12]
    for photograph in photographs:
        (folder / "library" / photograph.filename).write_bytes(photograph.data)
    (folder / "library" / "more" / "copy.png").write_bytes(photographs[0].data)
    (folder / "library" / "more" / "broken.png").write_bytes(photographs[0].data[:500])
    from PIL import Image

    Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "library" / "more" / "card.png")
    encoder, _ = load_pair(Project.open(folder / "mylab"), 1)
    a, b = encoder.target_ids[:2]
    text = (
        f'[[objective]]\nkind = "stretch"\nsites = ["{a}", "{b}"]\n[[objective]]\nkind = "one_hot"\nsites = ["{a}"]\n'
    )
    (folder / "wanted.toml").write_text(text)
    return folder


def search(lab: Path, capsys: Any, out: str, *more: object) -> tuple[int, str, str]:
    words = ["--out", lab / out, "--generator", "search", "--wanted", lab / "wanted.toml", "--library", lab / "library"]
    return stimsynth(capsys, "--json", "generate", lab / "mylab", *words, *more)


@pytest.fixture(scope="module")
def page(lab: Path) -> Path:
    """The lab with what the commands of the page write."""
    run_page("docs/search.md", lab)
    return lab


def test_the_page_runs_and_its_files_agree_with_the_encoder(
    page: Path, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, validator = load_pair(Project.open(lab / "mylab"), 1)
    for out in ("strongest", "climbed", "as_photographs"):
        record = json.loads((lab / out / "search.json").read_text())
        assert (record["pictures"], record["copies"]) == (15, 1)
        with open(lab / out / "found.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for tail in ("best", "worst"):
            batch = StimulusBatch.load(lab / out / tail / "batch.h5")
            listed = [row for row in rows if row["tail"] == tail]
            pixels = np.stack([read_png(lab / out / row["image"]) for row in listed])
            np.testing.assert_array_equal(pixels, batch.images)
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            np.testing.assert_allclose(batch.predicted, encoder(images).mean(0).numpy(), rtol=1e-4, atol=1e-4)
            assert batch.validator_scores is not None
            assert batch.validate(validator).validator_fingerprint == validator.fingerprint
            assert [row["picture_id"] for row in listed] == list(batch.start_ids)
            sign = 1 if tail == "best" else -1
            for name in dict.fromkeys(batch.row_names):
                scores = [s for s, n in zip(batch.scores, batch.row_names, strict=True) if n == name]
                assert scores == sorted(scores, reverse=sign > 0)
    strongest = StimulusBatch.load(lab / "strongest" / "best" / "batch.h5")
    controllers = StimulusBatch.load(Project.open(lab / "mylab").round(1).controllers_path)
    assert strongest.settings["shown"] == controllers.settings["constraints"], "exact as controllers are"
    with open(lab / "strongest" / "unusable.csv", newline="", encoding="utf-8") as file:
        assert [row["picture"] for row in csv.DictReader(file)] == ["more/broken.png", "more/card.png"]


def test_exhaustive_is_the_true_order_and_the_library_is_not_predicted_twice(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, _ = search(lab, capsys, "all", "--as-is", "--seeds", 13)
    assert code == 0
    told = json.loads(printed)
    assert told["images_scored"] == told["usable"] == 13
    best, worst = (StimulusBatch.load(lab / "all" / tail / "batch.h5") for tail in ("best", "worst"))
    order = np.array(best.start_ids).reshape(3, 13)
    assert (order == np.array(worst.start_ids).reshape(3, 13)[:, ::-1]).all()
    for row in best.scores.reshape(3, 13):
        assert (np.diff(row) <= 1e-5).all()
    parts = {path: path.stat().st_mtime_ns for path in (lab / "mylab" / "libraries").rglob("part_*.npz")}
    assert search(lab, capsys, "again", "--as-is")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (lab / "mylab" / "libraries").rglob("part_*.npz")} == parts


def test_a_new_encoder_climbs_along_the_features_of_an_earlier_one(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ("--index", tmp_path / "index", "--seeds", 2)
    assert search(lab, capsys, "full", *index)[0] == 0
    made = next((tmp_path / "index").iterdir())
    record = made / "index.json"
    about = json.loads(record.read_text())
    about["settings"] |= {"encoder": "enc_00000000", "layers": ["of another network"]}
    record.write_text(json.dumps(about))
    made.rename(tmp_path / "index" / "enc_00000000_earlier")
    code, printed, _ = search(lab, capsys, "climbed_anew", *index, "--search", "climb", "--evaluations", 100)
    told = json.loads(printed)
    assert (code, told["features_of"]) == (0, "enc_00000000")
    assert told["images_asked_of_the_encoder"] == told["images_scored"] == told["usable"] == 12
    full, climbed = (StimulusBatch.load(lab / out / "best" / "batch.h5") for out in ("full", "climbed_anew"))
    assert climbed.start_ids == full.start_ids
    np.testing.assert_array_equal(climbed.images, full.images)
    assert (tmp_path / "index" / made.name / "index.json").is_file(), "what was asked is kept"


def test_a_picture_replaced_in_secret_is_refused(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    shutil.copytree(lab / "library", tmp_path / "library")
    index = ("--library", tmp_path / "library", "--index", tmp_path / "index", "--seeds", 1)
    assert search(lab, capsys, "before", *index)[0] == 0
    with open(lab / "before" / "found.csv", newline="", encoding="utf-8") as file:
        path = tmp_path / "library" / next(csv.DictReader(file))["picture"]
    about, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    code, printed, _ = search(lab, capsys, "after", *index)
    assert code == 3
    assert json.loads(printed)["code"] == "V03"
    assert not (lab / "after").exists()
    path.touch()
    assert search(lab, capsys, "after", *index)[0] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--search", "climb", "--index", "EMPTY"], "V04"),
        (["--search", "fast"], "V05"),
        (["--evaluations", 5], "V05"),
        (["--steps", 5], "V05"),
        (["--library", "nowhere"], "V01"),
        (["--out", "EXISTS"], "W05"),
    ],
)
def test_what_does_not_go_together_is_refused(
    lab: Path, words: list[Any], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    places = {"EMPTY": tmp_path / "empty", "EXISTS": tmp_path / "there"}
    found = search(lab, capsys, "refused", *[places.get(word, word) for word in words])
    assert (found[0], json.loads(found[1])["code"]) == (3, code)
    assert not (lab / "refused").exists()


def test_the_arm_of_predicted_photographs_takes_those_of_a_library(page: Path, lab: Path, tmp_path: Path) -> None:
    from protocols.project.objectives import OBJECTIVES
    from protocols.rounds.assemble import assemble
    from protocols.rounds.planning.round_plan import divide_round

    copy(lab / "mylab", tmp_path / "lab")
    copy(lab / "as_photographs", tmp_path / "lab" / "found")
    text = (tmp_path / "lab" / "project.toml").read_text(encoding="utf-8")
    assert '\nfound = ""' in text
    (tmp_path / "lab" / "project.toml").write_text(text.replace('\nfound = ""', '\nfound = "found"', 1))
    project = Project.open(tmp_path / "lab")
    encoder, _ = load_pair(project, 1)
    controllers = StimulusBatch.load(project.round(1).controllers_path)
    sites = site_rows(encoder)
    plan = divide_round(project, 1, encoder=encoder, targets=encoder.target_ids, batch=controllers)
    assert len(plan.library.source_ids) == len(set(plan.library.source_ids)) > 0
    _, arms = assemble(project, 1, controllers, encoder=encoder, plan=plan, sites=sites)
    names = [*plan.data.source_ids[: plan.data.natural], *plan.library.source_ids]
    predicted = np.concatenate([plan.predicted, plan.library.predicted])
    mean, sd = (np.array([getattr(s, key) for s in sites]) for key in ("natural_mean", "natural_sd"))
    shown = {parent: a for a in arms.images if a.arm == "predicted_natural" for parent in a.parent.split()}
    assert shown
    for parent, arm in shown.items():
        objective, site = next((o, s) for o in OBJECTIVES for s in encoder.site_ids if f"_{o}_{s}_" in f"{parent}_")
        scores = OBJECTIVES[objective].site_scores(predicted, mean, sd, temperature=1.0)
        assert arm.source_id == names[int(scores[:, encoder.site_ids.index(site)].argmax())]
        assert arm.role == "arm"
    shutil.rmtree(tmp_path / "lab" / "found")
    with pytest.raises(DataError) as error:
        divide_round(project, 1, encoder=encoder, targets=encoder.target_ids, batch=controllers)
    assert error.value.code == "V07"


def test_options_of_a_search_without_it_are_refused(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", lab / "refused", "--library", lab / "library"]
    code, printed, _ = stimsynth(capsys, "--json", "generate", lab / "mylab", *words)
    assert (code, json.loads(printed)["code"]) == (3, "V05")


def test_a_library_that_no_display_can_show_is_told(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(lab / "library" / "more" / "card.png", tmp_path / "card.png")
    code, printed, _ = search(lab, capsys, "refused", "--library", tmp_path)
    assert (code, json.loads(printed)["code"]) == (3, "V06")
