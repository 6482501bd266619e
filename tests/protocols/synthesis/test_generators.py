"""Images sampled from priors through a project: by the command line, compared with gradient ascent, in a round and replayed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from protocols import Project
from protocols.errors import DataError
from protocols.loop import export, generate
from protocols.models.pair import load_pair
from protocols.plan import plan_round
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.key import read_key
from protocols.project.photographs import NaturalImages
from protocols.report.methods import synthesis_sentence
from protocols.reproduce import reproduce
from protocols.synthesis.batch import BatchOptions, plan_batch
from protocols.synthesis.compare import best_of, compare_generators, iterates, nearest, summarise
from protocols.synthesis.comparison import TOLERANCE, GeneratorImages
from protocols.synthesis.image_statistics import image_statistics
from protocols.synthesis.priors import open_prior, scaled, solver, trained_size
from protocols.synthesis.shards import make
from synth import StimulusBatch, diverse, one_hot, stretch
from tests.protocols.helpers.commands import cli
from tests.protocols.helpers.looped_project import copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture(scope="module")
def wanted(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder, _ = load_pair(Project.open(looped / "project"), 1)
    path = tmp_path_factory.mktemp("wanted") / "wanted.toml"
    a, b = encoder.target_ids[:2]
    path.write_text(f'[[objective]]\nkind = "stretch"\nsites = ["{a}", "{b}"]\n')
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Diffusers models as diffusers saves them (by another process: `tests/synth/priors/test_pretrained.py`)."""
    diffusers = pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("saved")
    small = {"sample_size": 16, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    small |= {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        diffusers.UNet2DModel(**small).save_pretrained(folder / "alone")
        pipeline = diffusers.DDPMPipeline(diffusers.UNet2DModel(**small), diffusers.DDPMScheduler())
    pipeline.save_pretrained(folder / "pipeline")
    return folder


def test_both_generators_by_one_command(
    looped: Path, wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["stimsynth", "--json", "generate", looped / "project", "--wanted", wanted, "--out", tmp_path / "both"]
    words += [
        "--generator",
        "gradient,diffusion",
        "--match",
        "drive,contrast",
        "--prior",
        "spectral",
        "--strength",
        0.2,
    ]
    code, printed, told = cli(monkeypatch, capsys, [*words, "--prior-steps", 12, "--seeds", 2, "--steps", 10])
    assert code == 0, told
    record = json.loads(printed)
    out = tmp_path / "both"
    assert json.loads((out / "comparison.json").read_text()) == {k: v for k, v in record.items() if k != "folder"}
    arms = {name: StimulusBatch.load(out / name / "batch.h5") for name in record["summary"]}
    assert list(arms) == ["gradient", "gradient_matched", "diffusion", "unguided"]
    project = Project.open(looped / "project")
    statistics = []
    for batch in arms.values():  # the same rows and seeds, under the same exact law
        assert batch.row_names == arms["gradient"].row_names
        assert batch.seeds.tolist() == [0, 1, 0, 1]
        statistics.append(
            project.display.constraints()[-1].statistics(torch.from_numpy(batch.images).movedim(-1, 1) / 255)
        )
    for name in ("mean", "rms"):
        values = torch.cat([s[name] for s in statistics])
        assert float(values.max() - values.min()) < 1 / 255
    scores = {name: batch.scores for name, batch in arms.items()}
    assert (scores["diffusion"] > scores["unguided"]).all()
    apart = np.abs(scores["gradient_matched"] - scores["diffusion"])
    assert (apart <= np.abs(scores["gradient"] - scores["diffusion"])).all()
    with open(out / "comparison.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    matched = [r["drive_matched"] == "True" for r in rows[4:8]]
    told = record["summary"]["gradient_matched"]["drive"]["stretch"]
    assert told["drive_matched"] == np.mean(matched)
    assert told["score"] == pytest.approx(float(np.median(scores["gradient_matched"])))
    assert (apart[matched] < TOLERANCE * 10).all()  # of spans of a few natural SDs
    encoder, validator = load_pair(project, 1)
    with torch.no_grad():  # what the table says of an image is what the encoders say of its pixels
        for row in rows:
            batch = arms[row["generator"]]
            shown = (
                torch.from_numpy(batch.images[int(row["image"][4:]) - 1 : int(row["image"][4:])]).movedim(-1, 1) / 255
            )
            column = encoder.site_ids.index(row["target"])
            answers = (encoder(shown)[:, 0, column] - encoder.natural_mean[column]) / encoder.natural_sd[column]
            assert float(row["score"]) == pytest.approx(float(answers.mean() - 0.5 * answers.std()), abs=5e-3)
    one = image_statistics(arms["diffusion"].images[2:3])
    assert float(rows[10]["slope"]) == pytest.approx(one.slope(), abs=1e-6)
    photographs = NaturalImages.load(project.data).pixels()
    shown = torch.from_numpy(photographs).movedim(-1, 1).float() / 255
    column = validator.site_ids.index(rows[0]["target"])
    with torch.no_grad():
        answers = torch.cat([validator(part) for part in shown.split(32)], 1)[..., column]
    z = (answers - validator.natural_mean[column]) / validator.natural_sd[column]  # one column a member
    best = (z.mean(0) - 0.5 * z.std(0)).max()
    assert float(rows[0]["best_natural_by_validator"]) == pytest.approx(float(best), abs=5e-3)
    with Image.open(out / "comparison.png") as picture:
        assert picture.size[0] > 800
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both"]


@pytest.mark.parametrize("name", ["pipeline", "alone"])
def test_a_model_saved_by_somebody_else_is_guided_by_the_command_alone(
    looped: Path, wanted: Path, saved: Path, name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, free = tmp_path / "guided", tmp_path / "free"
    words = ["stimsynth", "--quiet", "generate", looped / "project", "--wanted", wanted, "--generator", "diffusion"]
    words += ["--prior", saved / name, "--prior-steps", 8]
    if name == "alone":
        code, _, told = cli(monkeypatch, capsys, [*words, "--out", out])
        assert (code, "G01" in told, "--noise-schedule" in told) == (3, True, True)
        words += ["--noise-schedule", "linear"]
    monkeypatch.chdir(saved)  # a path is relative to the working folder
    words[words.index(saved / name)] = name
    assert cli(monkeypatch, capsys, [*words, "--out", out, "--strength", "strong"])[0] == 0
    assert cli(monkeypatch, capsys, [*words, "--out", free, "--strength", "0"])[0] == 0
    guided, unguided = (StimulusBatch.load(f / "batch.h5") for f in (out, free))
    assert guided.images.shape == (2, 64, 64, 3)
    assert guided.settings["prior"]["network"] == "UNet2DModel"
    assert guided.settings["prior"]["source"] == name  # and no folder of this machine
    assert str(saved) not in json.dumps(guided.settings)
    assert guided.settings["diffusion"]["prior"] == name
    assert (guided.scores > unguided.scores).all()
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        assert [float(r["score"]) for r in csv.DictReader(file)] == pytest.approx(guided.scores.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--generator", "annealing", "--out", "x"], 3, "gradient,diffusion"),
        (["--generator", "gradient,gradient", "--out", "x"], 3, "gradient,diffusion"),
        (["--match", "drive", "--generator", "gradient,diffusion", "--out", "x"], 3, "always have the same contrast"),
        (["--match", "drive,contrast", "--out", "x"], 3, "two generators"),
        (["--prior", "spectral", "--out", "x"], 3, "diffusion"),
        (["--generator", "diffusion", "--steps", "9", "--out", "x"], 3, "--prior-steps"),
        (["--generator", "diffusion", "--keep-seeds", "1", "--out", "x"], 3, "--keep-seeds goes with"),
        (["--generator", "gradient,diffusion", "--seeds", "3", "--keep-seeds", "1", "--out", "x"], 3, "seed by seed"),
        (["--keep-seeds", "1"], 2, "go with --out"),
        (["--keep-seeds", "1", "--seconds", "9", "--out", "x"], 3, "without --seconds"),
        (["--keep-seeds", "5", "--seeds", "3", "--out", "x"], 3, "--seeds sets how many"),
        (["--keep-seeds", "1", "--seeds", "3", "--steps", "8", "--out", "x"], 3, "at least 10 with --keep-seeds"),
        (["--generator", "diffusion", "--quick", "--out", "x"], 3, "--quick goes with"),
        (["--generator", "gradient,diffusion", "--quick", "--out", "x"], 3, "gradient alone with --quick"),
        (["--quick"], 2, "go with --out"),
        (["--quick", "--keep-seeds", "1", "--seeds", "3", "--out", "x"], 3, "--steps above 10 too, with --quick"),
        (["--quick", "--keep-seeds", "1", "--seeds", "3", "--steps", "10", "--out", "x"], 3, "--steps above 10 too"),
        (["--generator", "diffusion", "--start", "noise", "--out", "x"], 3, "--start"),
        (
            ["--generator", "diffusion", "--noise-schedule", "linear", "--prior", "spectral", "--out", "x"],
            3,
            "leave out",
        ),
        (["--generator", "gradient"], 2, ""),
        (["--match", "contrast"], 2, ""),
        (["--generator", "diffusion", "--prior", "natural65", "--out", "x"], 3, "natural64"),
        (["--generator", "diffusion", "--strength", "mild", "--out", "x"], 3, "--strength"),
        (["--generator", "diffusion", "--strength", "-1", "--out", "x"], 3, "--strength"),
        (["--generator", "diffusion", "--noise-schedule", "cosine", "--out", "x"], 3, "squaredcos_cap_v2"),
        (["--generator", "diffusion"], 2, ""),
        (["--prior", "spectral"], 2, ""),
    ],
)
def test_words_that_are_not_known_are_told(
    looped: Path, words: list[str], code: int, says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, _, told = cli(monkeypatch, capsys, ["stimsynth", "generate", looped / "project", *words])
    assert found == code
    assert says in told
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_prior_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    (tmp_path / "empty").mkdir()
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "nothing.safetensors", {"prior": "{}"})
    save_file(
        {"a": torch.zeros(1)}, tmp_path / "odd.safetensors", {"prior": '{"config": {"widths": [8], "colour": 1}}'}
    )
    for name in ("broken.safetensors", "empty", "other.pt", "missing.pt", "nothing.safetensors", "odd.safetensors"):
        with pytest.raises(DataError, match="G01"):
            open_prior(DiffusionConfig(prior=name), (3, 64, 64), tmp_path)


def test_models_sample_the_proportions_of_the_display(saved: Path) -> None:
    prior = open_prior(DiffusionConfig(prior="pipeline"), (3, 32, 48), saved)
    assert prior.shape == (3, 16, 24)
    assert open_prior(DiffusionConfig(prior="pipeline"), (3, 48, 48), saved).shape == (3, 16, 16)
    assert open_prior(DiffusionConfig(prior="pipeline", size_px=20), (3, 48, 48), saved).shape == (3, 24, 24)


def test_memory_is_saved_and_a_prompt_refused_where_there_is_no_text(saved: Path) -> None:
    prior = open_prior(DiffusionConfig(prior="pipeline", dtype="bfloat16", save_memory=True), (3, 48, 48), saved)
    assert prior.describe()["dtype"] == "bfloat16"
    assert prior.network.is_gradient_checkpointing
    with pytest.raises(DataError, match="takes no text"):
        open_prior(DiffusionConfig(prior="pipeline", prompt="a cat"), (3, 48, 48), saved)


def test_sizes_and_solvers_suit_the_prior(tmp_path: Path) -> None:
    assert scaled(112, 150, None) == (112, 150)
    assert scaled(256, 512, 64) == (64, 128)
    assert trained_size(112, 112, None) == (112, 112)
    assert trained_size(100, 100, None) == (112, 112)
    assert trained_size(512, 1024, None) == (128, 256)
    assert trained_size(224, 224, 64) == (64, 64)
    prior = open_prior(DiffusionConfig(prior="spectral", size_px=48), (1, 96, 96), tmp_path)
    assert prior.shape == (1, 48, 48)
    assert solver("", prior).describe()["eta"] == 1
    assert solver("ddim", prior).describe()["eta"] == 0

    class Blind:
        blind = True

    assert solver("", Blind()).describe()["name"] == "coarse_to_fine"


def test_iterates_are_steps_of_the_ascent() -> None:
    for steps in (1, 2, 12, 60, 400):
        found = iterates(steps)
        assert (found[0], found[-1]) == (0, steps)
        assert list(found) == sorted(set(found))
    assert {0, 1, 2, 3} <= set(iterates(60))


def test_the_best_photograph_of_rows_and_of_sets(looped: Path) -> None:
    project = Project.open(looped / "project")
    encoder, _ = load_pair(project, 1)
    a = encoder.target_ids[0]
    photographs = NaturalImages.load(project.data).pixels()[:20]
    best = best_of((stretch([a]) | diverse([a])).repeat(2), encoder, photographs, project=project, device="cpu")
    with torch.no_grad():
        answers = encoder(torch.from_numpy(photographs).movedim(-1, 1).float() / 255).mean(0)
    column = encoder.site_ids.index(a)
    expected = ((answers[:, column] - encoder.natural_mean[column]) / encoder.natural_sd[column]).max()
    np.testing.assert_allclose(best[:2], float(expected), rtol=1e-3)
    assert np.isnan(best[2:]).all()


def test_statistics_keep_to_what_the_aperture_shows(looped: Path) -> None:
    project = Project.open(looped / "project")
    display = project.display.__class__(width_px=64, height_px=64, size_deg=4.0, colour="rgb", aperture="circle")
    pixels = NaturalImages.load(project.data).pixels()[:12]
    side = int(64 * 0.9 / np.sqrt(2))
    top = (64 - side) // 2
    inner = image_statistics(np.ascontiguousarray(pixels[:, top : top + side, top : top + side]))
    pooled, each = summarise(pixels, display)
    assert pooled["slope"]["value"] == pytest.approx(inner.slope())
    assert each[3]["kurtosis_8"] == pytest.approx(inner.kurtosis(8, [3]))
    small, none = summarise(pixels[:, :20, :20], project.display)
    assert small["slope"] is None
    assert none[0]["slope"] is None


def test_the_ascent_is_matched_from_below_and_above(looped: Path, wanted: Path) -> None:
    """At strength 0 the prior drives nothing, so that the starting noise of the ascent is nearest or near."""
    project = Project.open(looped / "project")
    weak = DiffusionConfig(prior="spectral", strength=0.05, steps=6)
    plan = plan_batch(project, wanted, options=BatchOptions(seeds=1, steps=8, start="noise", diffusion=weak))
    assert list(plan.request.seeds) == [0]
    found = compare_generators(
        project, (plan.encoder, plan.validator), plan.objective, request=plan.request, match_drive=True
    )
    arms = {a.name: a for a in found.generators}
    matched, full = arms["gradient_matched"], arms["gradient"]
    assert (matched.batch.scores < full.batch.scores).all()
    with torch.no_grad():
        shown = torch.from_numpy(matched.batch.images).movedim(-1, 1).float() / 255
        np.testing.assert_allclose(plan.encoder(shown).mean(0).numpy(), matched.batch.predicted, atol=2e-3)
    assert matched.batch.settings["matched_to"]["generator"] == "guide"
    assert full.batch.graded is None
    assert "photographs" in found.text()


def test_images_of_a_set_are_matched_at_one_step(looped: Path) -> None:
    project = Project.open(looped / "project")
    encoder, _ = load_pair(project, 1)
    weak = DiffusionConfig(prior="spectral", strength=0.05, steps=4)
    plan = plan_batch(project, options=BatchOptions(seeds=1, steps=6, start="noise", diffusion=weak))
    rows = diverse([encoder.target_ids[0]], count=2) | stretch([encoder.target_ids[1]])
    guided = make("diffusion", project, encoder, objective=rows, request=plan.request)
    climbed = make(
        "gradient",
        project,
        encoder,
        objective=rows,
        request=replace(plan.request, start=None, start_ids=None, snapshots=iterates(6)),
    )
    found = nearest(GeneratorImages("gradient", climbed, 0.0), GeneratorImages("diffusion", guided, 0.0)).batch
    with torch.no_grad():
        shown = torch.from_numpy(found.images).movedim(-1, 1).float() / 255
        bound = rows.bind(tuple(encoder.site_ids), encoder.natural_mean, encoder.natural_sd)
        np.testing.assert_allclose(
            bound(shown, encoder(shown)).numpy(), found.scores, atol=5e-3
        )  # judged together, as they stand
    assert climbed.graded is not None
    sums = {
        int(s): climbed.graded.scores[(climbed.graded.steps == s) & (climbed.graded.parents < 2)]
        for s in climbed.graded.steps
    }
    gaps = [np.abs(scores - guided.scores[:2]).sum() for scores in [*sums.values(), climbed.scores[:2]]]
    assert np.abs(found.scores[:2] - guided.scores[:2]).sum() == pytest.approx(min(gaps), abs=1e-5)


def test_kinds_of_objective_are_summed_up_apart(looped: Path) -> None:
    """Medians over z of stretch and log shares of one-hot together would say nothing."""
    project = Project.open(looped / "project")
    plan = plan_batch(
        project,
        options=BatchOptions(seeds=1, steps=3, start="noise", diffusion=DiffusionConfig(prior="spectral", steps=3)),
    )
    a = plan.encoder.target_ids[0]
    found = compare_generators(
        project,
        (plan.encoder, plan.validator),
        stretch([a]) | one_hot([a]),
        request=replace(plan.request, start=None, start_ids=None),
    )
    for arm in found.generators:
        drive = found.summary[arm.name]["drive"]
        assert {k: v["score"] for k, v in drive.items()} == dict(
            zip(("stretch", "one_hot"), arm.batch.scores.tolist(), strict=True)
        )
        assert [v["images"] for v in drive.values()] == [1, 1]
    assert found.text().count("validator") >= 2


def test_a_round_of_guided_samples_is_exported_and_replayed(looped: Path, tmp_path: Path) -> None:
    folder = copy(looped, tmp_path / "lab") / "project"
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    text = (folder / "project.toml").read_text()
    text = text.replace('generator = "gradient"', 'generator = "diffusion"').replace(
        'prior = "natural64"', 'prior = "spectral"'
    )
    text = text.replace("\nsteps = 50", "\nsteps = 6").replace("rounds = 1", "rounds = 2")
    (folder / "project.toml").write_text(text)
    project = Project.open(folder)
    assert project.config.synthesis.generator == "diffusion"
    session = project.round(1).folder
    for name in ("outbox", "sealed"):
        for path in sorted((session / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (session / name).rmdir()
    batch = generate(project, 1)
    assert batch.settings["generator"] == "guide"
    assert batch.settings["prior"]["name"] == "spectral"
    outbox = export(project, 1)
    key = read_key(project.round(1).key_path)
    assert {r.generator for r in key.of_role("controller")} == {"diffusion"}
    assert not key.of_role("graded")
    (folder / "project.toml").write_text(
        text.replace('strength = "natural"', "strength = 0.9")
    )  # the record holds, not this
    found = reproduce(outbox / "manifest.json")
    assert found.verified, found.problems
    assert found.identical == len(batch)
    assert "sampled from the diffusion prior spectral in 6 noise levels" in synthesis_sentence(project.config)
    assert plan_round(project, 1).images.get("graded", 0) == 0
    other = replace(batch, settings={**batch.settings, "prior": {"name": "another"}})
    other.save(project.round(1).controllers_path)
    assert any("the prior is" in p for p in reproduce(outbox / "manifest.json", tmp_path / "again").problems)
    nameless = replace(batch, settings={k: v for k, v in batch.settings.items() if k != "diffusion"})
    nameless.save(project.round(1).controllers_path)
    with pytest.raises(DataError, match="U05"):
        reproduce(outbox / "manifest.json", tmp_path / "third")
