"""Batches outside the rounds: any objective on a fitted project, from the command line, with files that agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols import Project
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.project.photographs import NaturalImages
from protocols.synthesis.batch import free_batch, write_batch
from protocols.synthesis.objectives_file import read_wanted
from protocols.synthesis.request import natural_luminance
from protocols.synthesis.starts import measured_z, natural_ranges, starts_for
from synth import StimulusBatch, ascend, diverse, one_hot, pattern, pixels, stretch
from tests.protocols.helpers.commands import cli
from tests.protocols.helpers.looped_project import copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]

TEXT = """
[[objective]]
kind = "pattern"
fractions = {{ {a} = 1.0, {b} = 0.2 }}
[[objective]]
kind = "stretch"
sites = ["{b}"]
plus = [{{ kind = "within", sites = ["{a}"], low = -1.0, high = 1.0 }}]
[[objective]]
kind = "diverse"
sites = ["{a}"]
"""


@pytest.fixture(scope="module")
def wanted(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder, _ = load_pair(Project.open(looped / "project"), 1)
    path = tmp_path_factory.mktemp("wanted") / "wanted.toml"
    path.write_text(TEXT.format(a=encoder.target_ids[0], b=encoder.target_ids[1]))
    return path


def test_the_command_writes_files_that_agree_with_each_other_and_the_encoder(
    looped: Path, wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(looped, tmp_path / "lab") / "project"
    before = sorted(p.relative_to(folder) for p in (folder / "sessions").rglob("*"))
    out = tmp_path / "tomorrow"
    words = [
        "stimsynth",
        "--json",
        "generate",
        folder,
        "--wanted",
        wanted,
        "--out",
        out,
        "--seeds",
        2,
        "--steps",
        6,
        "--seconds",
        500,
    ]
    code, printed, _ = cli(monkeypatch, capsys, words)
    assert code == 0
    told = json.loads(printed)
    assert sorted(p.relative_to(folder) for p in (folder / "sessions").rglob("*")) == before  # it belongs to no round
    batch = StimulusBatch.load(out / "batch.h5")
    assert batch.settings["budget_s"] == 500
    assert (told["images"], len(told["rows"])) == (len(batch), 4) == (8, 4)
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [p.stem for p in sorted((out / "images").glob("*.png"))]
    assert sum(r["best"] == "true" for r in rows) == 4
    pixels = np.stack([read_png(out / "images" / f"{r['image']}.png") for r in rows])
    np.testing.assert_array_equal(pixels, batch.images)
    project = Project.open(folder)
    encoder, validator = load_pair(project, 1)
    with torch.no_grad():
        shown = torch.from_numpy(pixels).movedim(-1, 1).float() / 255
        answers, judged = encoder(shown).mean(0).numpy(), validator(shown).numpy()
    for i, row in enumerate(rows):
        column = batch.site_ids.index(row["target"].split("+")[0])
        assert float(row["predicted"]) == pytest.approx(answers[i, column], abs=2e-3)
        assert float(row["unrounded_predicted"]) == pytest.approx(batch.unrounded_predicted[i, column], abs=1e-3)
        assert float(row["validator_predicted"]) == pytest.approx(
            (judged if judged.ndim == 2 else judged.mean(0))[i, column], abs=2e-3
        )
    found = project.display.constraints()[-1].statistics(shown)  # the exact display law, at project.toml's statistics
    assert found["rms"].max() - found["rms"].min() < 1 / 255
    assert found["mean"].max() - found["mean"].min() < 1 / 255
    code, printed, _ = cli(monkeypatch, capsys, ["stimsynth", "--json", "generate", "--kinds"])
    assert code == 0
    assert "wanted" in json.loads(printed)["pattern"]


def test_a_folder_that_is_there_is_left_alone(
    looped: Path, wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "there"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    words = ["stimsynth", "generate", looped / "project", "--wanted", wanted, "--out", out]
    code, _, told = cli(monkeypatch, capsys, words)
    assert code == 3
    assert "W05" in told
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "words", [["--wanted", "a.toml"], ["--wanted", "a.toml", "--out", "b", "--round", "1"], ["--steps", "5"]]
)
def test_options_that_do_not_go_together_are_usage(
    looped: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(monkeypatch, capsys, ["stimsynth", "generate", looped / "project", *words])[0] == 2


def test_an_ascent_starts_from_the_photographs_that_measured_best(looped: Path, wanted: Path) -> None:
    project = Project.open(looped / "project")
    encoder, _ = load_pair(project, 1)
    z = measured_z(project, encoder)
    ids = list(encoder.site_ids)
    a, b = encoder.target_ids[:2]
    low, high = natural_ranges(ids, z)[a]
    assert low < np.median(z[:, ids.index(a)]) < high
    goal = np.array([high, 0.0])
    objective = stretch([a]) | one_hot([b]) | pattern({a: high, b: 0.0}) | diverse([a], count=3)
    rows = starts_for(objective, ids, z, seeds=2)
    pair = z[:, [ids.index(a), ids.index(b)]]
    softmax = z[:, ids.index(b)] - np.log(np.exp(z).sum(1))
    order = [
        np.argsort(-z[:, ids.index(a)], kind="stable"),
        np.argsort(-softmax),
        np.argsort(((pair - goal) ** 2).mean(1)),
    ]
    assert [r[0] for r in rows[:3]] == [int(o[0]) for o in order]
    assert rows[0] == order[0][:2].tolist()
    assert [i for row in rows[3:] for i in row] == order[0][:6].tolist()  # a set starts from different photographs


@pytest.mark.thorough
def test_noise_starts_and_their_own_steps(looped: Path, wanted: Path, tmp_path: Path) -> None:
    project = Project.open(looped / "project")
    batch = free_batch(project, wanted, seeds=1, steps=2, start="noise")
    assert batch.settings["steps"] == 2
    assert set(batch.start_ids) == {""}
    natural = free_batch(project, wanted, seeds=1, steps=2)
    assert set(natural.start_ids) <= set(NaturalImages.load(project.data).source_ids)
    short = free_batch(project, wanted, seeds=1, steps=4000, seconds=1.0)
    assert 0 < short.settings["steps"] < 4000
    kept = free_batch(project, wanted, seeds=3, keep_seeds=1, steps=12)
    assert len(kept) == len(batch)  # of one seed
    assert kept.settings["dropping"] == {"after": 10, "kept": 1}
    out = write_batch(batch, tmp_path / "deep" / "folder")
    assert (out / "contact_sheet.png").is_file()
    with pytest.raises(DataError, match="W05"):
        write_batch(batch, out)
    assert [p.name for p in out.parent.iterdir()] == ["folder"]  # no temporary folder is left


@pytest.mark.thorough
def test_quick_images_are_better_than_their_photographs_after_ten_steps(
    looped: Path, wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = looped / "project", tmp_path / "tomorrow"
    words = ["stimsynth", "--json", "generate", folder, "--wanted", wanted, "--out", out, "--quick", "--seeds", 1]
    code, printed, _ = cli(monkeypatch, capsys, words)
    assert code == 0
    batch = StimulusBatch.load(out / "batch.h5")
    assert len(json.loads(printed)["rows"]) == len(batch)
    assert batch.settings["steps"] == 10
    assert batch.settings["rule"]["name"] == "quick"
    assert batch.settings["transforms"] == []
    assert "" not in batch.start_ids
    project = Project.open(folder)
    photographs = NaturalImages.load(project.data)
    held = project.display.constraints(**natural_luminance(project.display, photographs.pixels()))
    rows = [photographs.source_ids.index(s) for s in batch.start_ids]
    shown = torch.from_numpy(photographs.pixels()[rows]).movedim(-1, 1).float() / 255
    for constraint in held:
        shown = constraint(shown)
    encoder, _ = load_pair(project, 1)
    objective = read_wanted(
        wanted, tuple(encoder.site_ids), natural_ranges(encoder.site_ids, measured_z(project, encoder))
    )
    as_started = ascend(
        encoder,
        objective,
        pixels(project.display.shape),
        constraints=held,
        steps=1,
        snapshots=(0,),
        start=shown[:, None],
        start_ids=[[s] for s in batch.start_ids],
    )
    assert as_started.graded is not None
    np.testing.assert_array_less(as_started.graded.scores, batch.scores)
    longer = free_batch(project, wanted, seeds=1, quick=True, steps=400, seconds=1.0)
    assert longer.settings["rule"]["name"] == "quick"
    assert 0 < longer.settings["steps"] < 400
    with pytest.raises(ValueError, match="quick with generator 'diffusion'; expected 'gradient'"):
        free_batch(project, wanted, seeds=1, quick=True, generator="diffusion")
    shown = torch.from_numpy(batch.images).movedim(-1, 1).float() / 255
    found = project.display.constraints()[-1].statistics(shown)
    assert found["rms"].max() - found["rms"].min() < 1 / 255
    assert set(free_batch(project, wanted, seeds=1, quick=True, start="noise").start_ids) == {""}
    assert len(free_batch(project, wanted, seeds=3, keep_seeds=1, quick=True, steps=12)) == len(batch)


def test_what_else_belongs_to_a_batch_is_written_once_after_its_files(looped: Path, tmp_path: Path) -> None:
    project = Project.open(looped / "project")
    encoder, _ = load_pair(project, 1)
    shape = project.display.shape
    made = ascend(encoder, stretch([encoder.target_ids[0]]), pixels(shape), transforms=(), steps=1)
    seen: list[list[str]] = []
    write_batch(made, tmp_path / "made", lambda folder: seen.append(sorted(p.name for p in folder.iterdir())))
    assert seen == [["batch.h5", "contact_sheet.png", "images", "images.csv"]]
