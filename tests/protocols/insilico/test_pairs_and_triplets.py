"""Controversial pairs and decoupled triplets by the command line, on a fitted project."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from protocols import Project
from protocols.disk.png import read_png
from protocols.models.pair import load_pair
from protocols.project.photographs import NaturalImages
from protocols.synthesis.request import recipe
from synth import StimulusBatch
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import run_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def lab(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(looped, tmp_path_factory.mktemp("pairs") / "lab") / "project"


@pytest.fixture(scope="module")
def pairs(lab: Path) -> Path:
    out = lab.parent / "apart"
    with pytest.MonkeyPatch.context() as patch:
        from protocols.cli.app import main, options

        words = ["stimsynth", "-q", "controversial", lab, "--out", out, "--steps", 15, "--apart", 0.05]
        patch.setattr("sys.argv", list(map(str, words)))
        with pytest.raises(SystemExit) as stop:
            main()
        options.update(json=False, quiet=False, verbose=False, device=None)
        assert not stop.value.code
    return out


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_is_said_of_a_pair_is_what_both_encoders_answer_to_the_files(lab: Path, pairs: Path) -> None:
    encoder, validator = load_pair(Project.open(lab), 1)
    rows = table(pairs / "pairs.csv")
    assert [row["site"] for row in rows] == list(encoder.target_ids)
    assert any(row["kept"] == "true" for row in rows)
    for row in rows:
        z = []
        for predictor in (encoder, validator):
            u = predictor.site_ids.index(row["site"])
            images = np.stack(
                [read_png(pairs / "images" / f"{row[f'{name}_image']}.png") for name in ("first", "second")]
            )
            answers = predictor(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            mean = answers.mean(0) if answers.dim() == 3 else answers
            z.append(((mean - predictor.natural_mean) / predictor.natural_sd)[:, u].detach().numpy())
        first, second = z
        assert float(row["first_prefers"]) == pytest.approx(first[0] - first[1], abs=2e-3)
        assert float(row["second_prefers"]) == pytest.approx(second[1] - second[0], abs=2e-3)
        if row["kept"] == "true":
            assert first[0] - second[0] == pytest.approx(float(row["first_apart"]), abs=2e-3)
            assert min(first[0] - second[0], second[1] - first[1]) >= 0.05 - 1e-4


def test_every_image_meets_the_display_as_controllers_do(lab: Path, pairs: Path) -> None:
    project, batch = Project.open(lab), StimulusBatch.load(pairs / "batch.h5")
    exact = recipe(project, NaturalImages.load(project.data).pixels())["constraints"][0]
    assert exact.violations(torch.from_numpy(batch.images)) == [""] * len(batch)


def test_a_site_alone_gives_the_same_pair(lab: Path, pairs: Path, tmp_path: Path, capsys) -> None:
    site = table(pairs / "pairs.csv")[1]["site"]
    words = ["controversial", lab, "--out", tmp_path / "one", "--steps", 15, "--apart", 0.05, "--sites", site]
    code, _, _ = stimsynth(capsys, *words)
    assert code == 0
    alone, whole = StimulusBatch.load(tmp_path / "one" / "batch.h5"), StimulusBatch.load(pairs / "batch.h5")
    apart = np.abs(alone.images.astype(int) - whole.images[2:4].astype(int))
    assert (apart > 2).mean() < 0.01


def answer(lab: Path, pairs: Path, path: Path, *, like: str, repeats: int = 12, seed: int = 0) -> Path:
    """A recording of the pairs by a subject that is the encoder, the validator or half way between them."""
    project = Project.open(lab)
    encoder, validator = load_pair(project, 1)
    share = {"encoder": 1.0, "between": 0.5, "validator": 0.0}[like]
    names = sorted(p.stem for p in (pairs / "images").glob("*.png"))
    images = torch.from_numpy(np.stack([read_png(pairs / "images" / f"{n}.png") for n in names]))
    z = []
    for predictor in (encoder, validator):
        answers = predictor(images.permute(0, 3, 1, 2).float() / 255)
        mean = answers.mean(0) if answers.dim() == 3 else answers
        columns = [predictor.site_ids.index(s) for s in encoder.site_ids]
        z.append(((mean - predictor.natural_mean) / predictor.natural_sd)[:, columns].detach().numpy())
    if like == "between":  # neither order: both images of a pair drive the site alike
        expected = np.zeros_like(z[0])
    else:
        expected = share * z[0] + (1 - share) * z[1]
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(np.arange(len(names)), repeats))
    values = expected[order] + 0.02 * rng.normal(size=(len(order), z[0].shape[1]))
    sd, mean = encoder.natural_sd.numpy(), encoder.natural_mean.numpy()
    with h5py.File(path, "w") as file:
        file.attrs.update(schema="responses/1", units=encoder.response_unit, window_ms=[70.0, 170.0])
        file["responses"] = np.maximum(50 + mean + sd * values, 0)  # another day: all sites 50 higher
        file["image_id"] = np.array([names[i] for i in order], dtype="S")
        file["site_id"] = np.array(encoder.site_ids, dtype="S")
    return path


@pytest.mark.parametrize(
    ("like", "winner"), [("encoder", "first"), ("validator", "second"), ("between", "cannot tell")]
)
def test_the_right_encoder_wins(lab: Path, pairs: Path, tmp_path: Path, capsys, like: str, winner: str) -> None:
    file = answer(lab, pairs, tmp_path / "answer.h5", like=like)
    words = ["--json", "controversial", lab, "--judge", pairs, "--responses", file, "--out", tmp_path / "verdict"]
    code, printed, errors = stimsynth(capsys, *words)
    assert code == 0, printed + errors
    told = json.loads(printed)
    if winner == "cannot tell":
        assert told["cannot_tell"] >= len(told["sites"]) - 1
    else:
        assert told["together"]["winner"] == winner
        assert told[f"won_by_{winner}"] == len(told["sites"]) > 0
        sign = 1 if winner == "first" else -1
        for row in table(pairs / "pairs.csv"):
            if row["kept"] == "true":
                found, predicted = told["sites"][row["site"]]["difference"], float(row[f"{winner}_prefers"])
                assert sign * found == pytest.approx(predicted, abs=0.05), "in the SDs of the predictions"
    assert json.loads((tmp_path / "verdict" / "duels.json").read_text())["together"] == told["together"]


def test_averages_judge_no_pair(lab: Path, pairs: Path, tmp_path: Path, capsys) -> None:
    file = answer(lab, pairs, tmp_path / "answer.h5", like="encoder")
    with h5py.File(file, "a") as opened:
        opened["trial/averaged_over"] = np.full(len(opened["image_id"]), 4)
    words = ["controversial", lab, "--judge", pairs, "--responses", file, "--out", tmp_path / "verdict"]
    code, printed, errors = stimsynth(capsys, *words)
    assert code == 3
    assert "V53" in printed + errors
    assert "averages over presentations" in printed + errors
    assert not (tmp_path / "verdict").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--against", "LAB"), 3, "twice"),
        (("--sites", "v9_999"), 3, "V41"),
        (("--judge", "LAB"), 2, "belong together"),
        (("--judge", "LAB", "--responses", "nothing.h5"), 3, "V53"),
        (("--against", "nowhere"), 3, "project.toml"),
    ],
)
def test_slips_are_told(lab: Path, tmp_path: Path, capsys, words, code: int, told: str) -> None:
    given = [str(lab) if word == "LAB" else word for word in words]
    found, printed, errors = stimsynth(capsys, "controversial", lab, "--out", tmp_path / "new", *given)
    assert found == code
    assert told in printed + errors
    assert not (tmp_path / "new").exists()


def test_another_project_has_the_same_display(lab: Path, tmp_path: Path, capsys) -> None:
    other = copy(lab, tmp_path / "other")
    text = (other / "project.toml").read_text(encoding="utf-8")
    (other / "project.toml").write_text(text.replace("size_deg = 4.0", "size_deg = 8.0", 1), encoding="utf-8")
    code, printed, errors = stimsynth(capsys, "controversial", lab, "--out", tmp_path / "new", "--against", other)
    assert code == 3
    assert "[display] size_deg = 8.0" in printed + errors
    assert "V51" in printed + errors


def test_triplets_are_written_with_the_photographs_that_they_use(lab: Path, tmp_path: Path, capsys) -> None:
    words = ["--json", "triplets", lab, "--out", tmp_path / "trip", "--per-cell", 2]
    code, printed, errors = stimsynth(capsys, *words)
    assert code == 0, printed + errors
    told, rows = json.loads(printed), table(tmp_path / "trip" / "triplets.csv")
    used = {row[name] for row in rows for name in ("root", "first", "second")}
    assert len(used) == 3 * len(rows) == 3 * told["triplets"] > 0
    assert used == {p.stem for p in (tmp_path / "trip" / "images").glob("*.png")}
    photographs = Project.open(lab).data / "natural"
    for name in used:
        assert (read_png(tmp_path / "trip" / "images" / f"{name}.png") == read_png(photographs / f"{name}.png")).all()
    assert np.sum(told["fill"]) == len(rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--high", "blocks.6"), None),
        (("--high", "blocks.66.0"), "nearest: blocks.6.0"),
        (("--high", "blocks.1.0"), "twice"),
        (("--network", "timm:nothing"), "V50"),
        (("--per-cell", "3"), "even"),
    ],
)
def test_layers_that_are_not_there_are_told(lab: Path, tmp_path: Path, capsys, words, told: str | None) -> None:
    code, printed, errors = stimsynth(capsys, "triplets", lab, "--out", tmp_path / "new", "--per-cell", 2, *words)
    assert code == (0 if told is None else 3), errors
    assert (tmp_path / "new").exists() == (told is None)
    assert told is None or told in printed + errors


@pytest.mark.parametrize("page", ["docs/controversial.md", "docs/triplets.md"])
def test_the_pages(lab: Path, pairs: Path, tmp_path: Path, page: str) -> None:
    copy(lab.parent, tmp_path / "lab")
    (tmp_path / "lab" / "project").rename(tmp_path / "mylab")
    (tmp_path / "lab" / "photographs").rename(tmp_path / "pictures")
    answer(lab, pairs, tmp_path / "answer.h5", like="encoder")
    run_page(page, tmp_path)
