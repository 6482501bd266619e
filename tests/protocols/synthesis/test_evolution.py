"""Evolution from the command line: files that agree, options that do not go together, and the page's commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from protocols import Project
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.synthesis.evolution import EvolutionOptions, open_latent
from synth import StimulusBatch
from tests.protocols.helpers.commands import cli, stimsynth
from tests.protocols.helpers.pages import run_page

TEXT = '[[objective]]\nkind = "stretch"\nsites = ["{a}"]\n[[objective]]\nkind = "one_hot"\nsites = ["{b}"]\n'
FAST = ("--generations", 3, "--population", 12)


@pytest.fixture(scope="module")
def wanted(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder, _ = load_pair(Project.open(looped / "project"), 1)
    path = tmp_path_factory.mktemp("wanted") / "wanted.toml"
    path.write_text(TEXT.format(a=encoder.target_ids[0], b=encoder.target_ids[1]))
    return path


@pytest.mark.slow
@pytest.mark.xdist_group("loop")
def test_the_command_writes_what_the_encoder_answers_to_the_files(
    looped: Path, wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evolved"
    words = ["stimsynth", "--json", "generate", looped / "project", "--wanted", wanted, "--out", out]
    code, printed, _ = cli(monkeypatch, capsys, [*words, "--generator", "evolution", *FAST, "--seeds", 2])
    assert code == 0
    told = json.loads(printed)
    assert (told["images"], told["evaluations"], told["latent"]) == (4, 36, "fourier")
    assert {p.name for p in out.iterdir()} == {"batch.h5", "images.csv", "images", "contact_sheet.png", "evolution.png"}
    batch = StimulusBatch.load(out / "batch.h5")
    pixels = np.stack([read_png(p) for p in sorted((out / "images").glob("*.png"))])
    np.testing.assert_array_equal(pixels, batch.images)
    project = Project.open(looped / "project")
    encoder, _ = load_pair(project, 1)
    shown = torch.from_numpy(pixels).movedim(-1, 1).float() / 255
    with torch.no_grad():
        np.testing.assert_allclose(encoder(shown).mean(0).numpy(), batch.predicted, atol=1e-4)
    found = project.display.constraints()[-1].statistics(shown)
    assert float(found["rms"].max() - found["rms"].min()) < 1 / 255
    assert float(found["mean"].max() - found["mean"].min()) < 1 / 255
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["stretch", "stretch", "one_hot", "one_hot"]
    assert batch.settings["optimiser"]["method"] == "cma"


@pytest.mark.slow
@pytest.mark.xdist_group("loop")
def test_the_commands_of_the_page_run(looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With three generations of twelve in place of 75 of 40."""
    for name, value in {"generations": 3, "population": 12}.items():
        monkeypatch.setitem(EvolutionOptions.__init__.__kwdefaults__, name, value)
    target = tmp_path / "mylab"
    target.symlink_to(looped / "project")
    encoder, _ = load_pair(Project.open(looped / "project"), 1)
    (tmp_path / "wanted.toml").write_text(f'[[objective]]\nkind = "stretch"\nsites = ["{encoder.target_ids[0]}"]\n')
    save_file(
        {"mean": torch.full((3, 8, 8), 0.5), "basis": 0.05 * torch.randn(6, 3, 8, 8)},
        tmp_path / "components.safetensors",
    )
    printed = run_page("docs/evolution.md", tmp_path)
    assert len(printed) == 4
    assert all("3 generations each (36 images scored)" in text for text in printed)
    bred, hybrid, linear = (StimulusBatch.load(tmp_path / n / "batch.h5") for n in ("bred", "hybrid", "components"))
    assert bred.settings["optimiser"]["method"] == "genetic"
    assert hybrid.start_ids == (f"gradient {hybrid.row_names[0]}, seed 0",)
    assert hybrid.settings["optimiser"]["sigma"] == 0.5
    assert hybrid.scores[0] > bred.scores[0]
    assert linear.settings["latent"]["name"] == "decoder"


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--steps", "5"], "--steps"),
        (["--prior", "spectral"], "--prior"),
        (["--match", "contrast"], "--match"),
        (["--cutoff", "8", "--latent", "prior"], "--cutoff"),
        (["--latent", "no_such_file.pt"], "--latent"),
        (["--optimiser", "genetic", "--population", "10"], "--population"),
    ],
)
def test_options_that_do_not_go_together_are_told_before_anything_is_loaded(
    words: list[str], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["generate", tmp_path, "--out", tmp_path / "new", "--generator", "evolution"]
    code, _, told = stimsynth(capsys, *common, *words)
    assert code == 3
    assert f"error[W06] {where}" in told
    assert not (tmp_path / "new").exists()


def test_options_of_evolution_without_it_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--latent", "prior"], ["--hybrid"], ["--generator", "gradient", "--population", "20"]):
        code, _, told = stimsynth(capsys, "generate", tmp_path, "--out", tmp_path / "new", *words)
        assert code == 2
        assert "go with --generator evolution" in " ".join(told.split())


@pytest.mark.slow
@pytest.mark.xdist_group("loop")
def test_a_latent_that_cannot_serve_is_refused_by_name(looped: Path, tmp_path: Path) -> None:
    project = Project.open(looped / "project")
    wrong = tmp_path / "wrong.safetensors"
    save_file({"weight": torch.zeros(2)}, wrong)
    for options in (
        EvolutionOptions(latent=str(wrong)),
        EvolutionOptions(cutoff=60.0),
        EvolutionOptions(latent="prior", hybrid=True),
    ):
        with pytest.raises(DataError) as refused:
            open_latent(project, options)
        assert refused.value.code == "V10"
        assert ("--cutoff" in refused.value.fix) == (options.cutoff == 60.0), "a way out that exists"
