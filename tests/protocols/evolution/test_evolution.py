"""Evolution on the rig: a hidden optimum is found through outboxes alone, by nothing but what the responses say."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from protocols import loop
from protocols.check.data import sites
from protocols.check.findings import collected
from protocols.check.settings import settings as settings_look
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.evolution.images import Pictures
from protocols.evolution.latent import open_latent
from protocols.evolution.plan import recorded_sites
from protocols.evolution.report import EvolutionReport
from protocols.evolution.scores import read_scores
from protocols.project.folder import Project
from protocols.project.generations.files import Evolution, Generation, evolved_images
from protocols.project.key import read_key
from protocols.recordings import ingest as ingest_module
from protocols.recordings.dataset import Dataset
from protocols.rounds import manifest as manifest_module
from protocols.rounds.decisions.decide import Asked, decide
from protocols.state import look
from protocols.status import status_lines, status_of
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.evolved_project import (
    SITES,
    Subject,
    answer,
    make,
    photographs,
    rewrite,
    settings,
)
from tests.protocols.helpers.pages import run_page

TARGETS = SITES[:2]


@pytest.fixture(scope="module", autouse=True)
def _no_flush() -> Iterator[None]:
    """Disks shared by many tests take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def evolve_to_the_end(project: Project, subject: Subject, *, shuffled: bool = False) -> Evolution:
    """Answer every generation until the evolution is finished."""
    for _ in range(100):
        state = look(project)
        if state.stage != "evolve":
            return Evolution(project.round(1))
        if state.waiting_for:
            assert isinstance(state.round, Generation)
            answer(state.round, subject, shuffled=shuffled)
        loop.evolve(project, 1)
    raise AssertionError("it does not end")


def shown_truth(evolution: Evolution, subject: Subject, number: int, target: str) -> np.ndarray:
    """Expected responses of a target to the images that were evolved for it in one generation."""
    generation = evolution.generation(number)
    rows = [r for r in read_key(generation.key_path).of_role("controller") if r.target == target]
    pixels = np.stack([read_png(generation.image_path(r.image_id)) for r in rows])
    return subject.expected(pixels)[:, SITES.index(target)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two sites evolved from noise for ten generations of eight, with Poisson counts and trials lost; look only."""
    project = make(tmp_path_factory.mktemp("evolved") / "p", settings(generations=10, population=8))
    evolve_to_the_end(project, Subject(lost=0.08))
    return project


def test_evolution_beats_random_images_at_equal_presentations(finished: Project) -> None:
    evolution, subject = Evolution(finished.round(1)), Subject()
    presentations = json.loads(evolution.record_path.read_text())["presentations"] // 2
    pictures = Pictures.of(finished, open_latent(finished))
    rng = np.random.default_rng(3)
    codes = rng.standard_normal((presentations, pictures.latent.size))
    drawn = subject.expected(np.stack([p for c in codes if (p := pictures.pixels(c)) is not None]))
    evolved, by_chance = [], []
    for k, target in enumerate(TARGETS):
        evolved.append(subject.expected(evolved_images(finished, 1)[target].pixels[None])[0, k])
        best = np.argsort(-rng.poisson(drawn[:, k]))[
            :3
        ]  # chosen by their counts, then shown again, as evolved ones are
        by_chance.append(drawn[best, k][np.argmax(rng.poisson(drawn[best, k], (4, 3)).sum(0))])
    assert np.mean(evolved) > 1.1 * np.mean(by_chance)
    assert np.mean(evolved) > 1.1 * subject.expected(photographs())[:, :2].max(0).mean()
    first, last = (np.mean([shown_truth(evolution, subject, n, t).mean() for t in TARGETS]) for n in (1, 10))
    assert last > 2 * first


def test_responses_that_belong_to_other_images_give_nothing(tmp_path: Path) -> None:
    project, subject = make(tmp_path / "p", settings(generations=6, population=8)), Subject()
    evolution = evolve_to_the_end(project, subject, shuffled=True)
    first, last = (np.mean([shown_truth(evolution, subject, n, t).mean() for t in TARGETS]) for n in (1, 6))
    assert last < 1.3 * first


def test_an_image_is_scored_by_its_own_site_above_the_references_beside_it(tmp_path: Path) -> None:
    """Recomputed from the rig's file alone, and the same although all responses of a generation are higher by drift."""
    kept = []
    for name, drift in (("still", 0.0), ("drifting", 0.4)):
        subject = Subject(noise=False, drift=drift)
        project = make(tmp_path / name, settings(generations=1), subject=dataclasses.replace(subject, drift=0.0))
        loop.evolve(project, 1)
        generation = Evolution(project.round(1)).generation(1)
        answer(generation, subject)
        loop.evolve(project, 1)
        key, scores = read_key(generation.key_path), json.loads(generation.scores_path.read_text())
        plan = json.loads((generation.folder.parent / "plan.json").read_text())
        with h5py.File(generation.inbox / "responses.h5") as file:
            ids, values = file["image_id"].asstr()[:], file["responses"][:]
        for k, target in enumerate(TARGETS):
            shown = [r.image_id for r in key.of_role("reference") if r.source_id in plan["references"][target]]
            assert len(shown) == 2
            level = np.mean([values[ids == i, k].mean() for i in shown])
            sd = next(s["natural_sd"] for s in plan["sites"] if s["site_id"] == target)
            for row in key.of_role("controller"):
                if row.target == target:
                    expected = (values[ids == row.image_id, k].mean() - level) / sd
                    assert scores["targets"][target]["scores"][row.source_id] == pytest.approx(expected)
            assert scores["targets"][target]["reference"] == pytest.approx(level)
        kept.append([scores["targets"][t]["reference"] for t in TARGETS])
    assert np.allclose(np.array(kept[1]) / np.array(kept[0]), 1.4, atol=0.15)


def test_every_image_meets_the_display_and_is_the_same_alone(finished: Project) -> None:
    evolution = Evolution(finished.round(1))
    pictures = Pictures.of(finished, open_latent(finished))
    for generation in evolution.generations():
        rows = read_key(generation.key_path).of_role("controller")
        pixels = np.stack([read_png(generation.image_path(r.image_id)) for r in rows])
        assert not any(pictures.broken(pixels))
    codes = np.random.default_rng(0).standard_normal((3, pictures.latent.size))
    assert np.array_equal(pictures.pixels(codes[1]), pictures.pixels(codes[1:2][0]))


def test_a_lost_image_has_no_score_and_the_evolution_goes_on(finished: Project) -> None:
    records = read_scores(Evolution(finished.round(1)))
    scores = [s for r in records for t in TARGETS for s in r["targets"][t]["scores"].values()]
    assert None in scores
    assert all(np.isfinite([s for s in scores if s is not None]))


def test_a_target_evolves_alike_whatever_is_evolved_beside_it(finished: Project, tmp_path: Path) -> None:
    alone = make(tmp_path / "p", settings(generations=10, population=8, targets=SITES[1:2]))
    loop.evolve(alone, 1)
    first = []
    for project in (finished, alone):
        generation = Evolution(project.round(1)).generation(1)
        rows = [r for r in read_key(generation.key_path).of_role("controller") if r.target == SITES[1]]
        first.append({r.source_id: r.sha256 for r in rows})
    assert first[0] == first[1]


def test_a_site_that_is_stopped_gets_no_more_images(tmp_path: Path) -> None:
    """In the plan and in each later generation; its score has a hole, and the others go on."""
    project = make(tmp_path / "p", settings(generations=2, population=4))
    subject = Subject()
    loop.evolve(project, 1)
    evolution = Evolution(project.round(1))
    decide(project, Asked(action="stop", who="ann", reason="electrode lost", sites=(TARGETS[0],)))
    for number in (1, 2):
        answer(evolution.generation(number), subject)
        loop.evolve(project, 1)
    for number in (2, 3):
        rows = read_key(evolution.generation(number).key_path).rows
        assert {r.target for r in rows if r.role == "controller"} == set(TARGETS[1:])
        assert {pair[1] for r in rows for pair in r.reference_for} == set(TARGETS[1:])
    assert read_scores(evolution)[1]["targets"][TARGETS[0]]["mean"] is None
    later = make(tmp_path / "q", settings(generations=2, population=4))
    decide(later, Asked(action="stop", who="ann", reason="electrode lost", sites=(TARGETS[0],)))
    loop.evolve(later, 1)
    rows = read_key(Evolution(later.round(1)).generation(1).key_path).rows
    assert {r.target for r in rows if r.role == "controller"} == set(TARGETS[1:])
    decide(later, Asked(action="stop", who="ann", reason="all lost", sites=tuple(TARGETS[1:])))
    answer(Evolution(later.round(1)).generation(1), subject)
    with pytest.raises(DataError, match=r"O04.*stopped"):
        loop.evolve(later, 1)


@pytest.mark.parametrize("method", ["cma", "genetic"])
def test_it_starts_from_photographs(tmp_path: Path, method: str) -> None:
    config = settings(start="photographs", optimiser=method, population=12, cutoff=8.0, sigma=0.05)
    project, subject = make(tmp_path / "p", config), Subject()
    loop.evolve(project, 1)
    evolution = Evolution(project.round(1))
    generation, natural = evolution.generation(1), photographs().reshape(len(photographs()), -1)
    best = subject.expected(photographs()).argmax(0)
    groups = json.loads(evolution.plan_path.read_text())["groups"]
    assert groups == {t: f"img_{best[k]:03d}" for k, t in enumerate(TARGETS)}
    for k, target in enumerate(TARGETS):
        rows = [r for r in read_key(generation.key_path).of_role("controller") if r.target == target]
        assert {r.started_from for r in rows} == {groups[target]}
        made = np.stack([read_png(generation.image_path(r.image_id)).ravel() for r in rows])
        alike = np.corrcoef(np.vstack([made, natural]))[: len(made), len(made) :]
        assert (alike.argmax(1) == best[k]).all()
        assert len(np.unique(made, axis=0)) == len(made)


# --- killed and repeated
# --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nobody catches it."""


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, so that records can be compared byte by byte."""
    for module in (manifest_module, ingest_module):
        monkeypatch.setattr(module, "utc_now", lambda: "2026-01-01T00:00:00Z")


def renames(monkeypatch: pytest.MonkeyPatch, last: int | None) -> Iterator[int]:
    """Count the renames by which files appear; the process dies before number `last`."""
    counted, real = [0], os.replace

    def replaced(*words: object, **options: object) -> None:
        counted[0] += 1
        if counted[0] == last:
            raise Killed
        real(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replaced)
    yield counted[0]
    monkeypatch.setattr(os, "replace", real)
    yield counted[0]


def contents(project: Project) -> dict[str, bytes]:
    """Every file of the evolution but the logs, which have times."""
    folder = Evolution(project.round(1)).folder
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "log.jsonl"]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.thorough
@pytest.mark.slow
def test_killed_between_any_two_files_it_goes_on_to_the_same_bytes(
    tmp_path: Path, still: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(generations=1, population=4, candidates=2, references=1, reference_repeats=1, targets=SITES[:1])
    made = make(tmp_path / "made", config).folder
    whole = Project(shutil.copytree(made, tmp_path / "whole"))
    counter = renames(monkeypatch, None)
    next(counter)
    evolve_to_the_end(whole, Subject())
    total = next(counter)
    expected = contents(whole)
    assert total > 20
    for last in range(1, total + 1):
        project = Project(shutil.copytree(made, tmp_path / f"killed_{last}"))
        with monkeypatch.context() as patch:
            counter = renames(patch, last)
            next(counter)
            with pytest.raises(Killed):
                evolve_to_the_end(project, Subject())
            next(counter)
        for leftover in project.sessions.rglob("*.tmp-*"):
            assert not leftover.is_dir() or leftover.name.startswith("outbox.tmp-")
        evolve_to_the_end(project, Subject())
        assert contents(project) == expected, f"killed before rename {last}"


# --- what a person sees
# ---------------------------------------------------------------------------------------------


def test_state_status_and_command_name_the_generation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make(tmp_path / "p", settings(generations=1))
    assert look(project).summary() == "round 1: evolve comes next"
    code, out, _ = stimsynth(capsys, "evolve", project.folder)
    assert code == 4
    assert "round 1 (generation 1): waiting for sessions/" in out
    assert "/round_01/evolution/generation_001/inbox/responses.h5" in out
    assert look(project).to_dict()["generation"] == 1
    assert "evolution runs, 0 generations recorded" in status_lines(status_of(project))
    for _ in range(2):
        generation = look(project).round
        assert isinstance(generation, Generation)
        answer(generation, Subject())
        code, out, _ = stimsynth(capsys, "evolve", project.folder)
    assert code == 0
    assert "the trials of the round judge" in out
    assert look(project).stage == "fit"
    assert "evolution ended, 2 generations recorded" in status_lines(status_of(project))
    code, out, _ = stimsynth(capsys, "--json", "evolve", project.folder)
    report = json.loads(out)
    assert code == 0
    assert set(report["chosen"]) == set(TARGETS)
    assert [p["generation"] for p in report["curve"][TARGETS[0]]] == [1]


def test_the_answer_may_come_in_parts_and_twice(tmp_path: Path) -> None:
    project = make(tmp_path / "p", settings(generations=1))
    loop.evolve(project, 1)
    generation = Evolution(project.round(1)).generation(1)
    answer(generation, Subject())
    for ending in ("h5", "h5.done"):
        (generation.inbox / f"responses.{ending}").rename(generation.inbox / f"responses_block_00.{ending}")
    assert look(project).waiting_for is None
    loop.evolve(project, 1)
    assert generation.scored


def test_how_many_images_may_be_lost_is_a_key_of_its_own(tmp_path: Path) -> None:
    """An answer that lost a third of the images is taken by default, and refused by the key, which the refusal names."""
    project = make(tmp_path / "p", settings(generations=1, max_unseen=0.1))
    loop.evolve(project, 1)
    generation = Evolution(project.round(1)).generation(1)
    answer(generation, Subject(lost=0.35))
    with pytest.raises(DataError, match=r"\[evolution\] max_unseen") as caught:
        loop.evolve(project, 1)
    assert caught.value.code == "I12"
    rewrite(project, settings(generations=1))  # it may be changed while an evolution runs
    assert "candidates are shown again" in loop.evolve(project, 1).summary()


def test_fewer_generations_end_it_and_other_settings_are_refused(tmp_path: Path) -> None:
    project = make(tmp_path / "p", settings(generations=5))
    loop.evolve(project, 1)
    generation = Evolution(project.round(1)).generation(1)
    answer(generation, Subject())
    rewrite(project, settings(generations=5, population=11))
    with pytest.raises(DataError) as caught:
        loop.evolve(project, 1)
    assert caught.value.code == "O03"
    assert not generation.scored
    rewrite(project, settings(generations=1))
    assert "candidates are shown again" in loop.evolve(project, 1).summary()


def test_an_altered_answer_is_refused(finished: Project, tmp_path: Path) -> None:
    project = Project(shutil.copytree(finished.folder, tmp_path / "p"))
    evolution = Evolution(project.round(1))
    evolution.record_path.unlink()
    table = evolution.generation(2).responses_path
    table.write_bytes(table.read_bytes() + b"x")
    with pytest.raises(DataError) as caught:
        loop.evolve(project, 1)
    assert caught.value.code == "O07"
    image = next((finished_copy := Evolution(project.round(1))).folder.glob("evolved/*.png"))
    shutil.copy(Evolution(finished.round(1)).record_path, finished_copy.record_path)
    image.write_bytes(image.read_bytes()[:-1])
    with pytest.raises(DataError) as caught:
        evolved_images(project, 1)
    assert caught.value.code == "O02"


def test_a_site_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    project = make(tmp_path / "p", settings(targets=("v4_999",)))
    with pytest.raises(DataError) as caught:
        loop.evolve(project, 1)
    assert caught.value.code == "O04"
    assert "v4_999" in str(caught.value)
    found = {f.code for f in collected("sites", sites, project)}
    assert "C11" in found
    (note,) = collected("settings", settings_look, project)
    assert "generations = 4: about 76 presentations" in note.text


def test_without_an_evolution_the_command_says_what_to_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings()
    arms = config.arms.model_copy(update={"kinds": ()})
    off = config.evolution.model_copy(update={"generations": 0})
    project = make(tmp_path / "p", config.model_copy(update={"arms": arms, "evolution": off}))
    assert look(project).stage == "fit"
    code, _, err = stimsynth(capsys, "evolve", project.folder)
    assert code == 3
    assert "error[O09]" in err


def test_the_outbox_tells_no_role_and_is_shuffled(finished: Project) -> None:
    generation = Evolution(finished.round(1)).generation(1)
    key = read_key(generation.key_path)
    text = (generation.outbox / "order.csv").read_text() + (generation.outbox / "images.csv").read_text()
    assert not any(word in text for word in ("controller", "reference", *TARGETS))
    manifest = (generation.outbox / "manifest.json").read_text()
    assert not any(word in manifest for word in (*TARGETS, "reference_repeats", "source_id", "evo_r01", "img_0"))
    numbers = {
        role: [i for i, r in enumerate(sorted(key.rows, key=lambda r: r.image_id)) if r.role == role]
        for role in ("controller", "reference")
    }
    assert min(numbers["reference"]) < max(numbers["controller"])  # neither role has the first or the last numbers
    assert min(numbers["controller"]) < max(numbers["reference"])
    assert {sha256_file(p) for p in (generation.outbox / "images").glob("*.png")} == {r.sha256 for r in key.rows}


def test_the_report_reads_the_curve(finished: Project) -> None:
    report = EvolutionReport.of(finished, 1)
    assert len(report.curve[TARGETS[0]]) == 10
    assert report.curve[TARGETS[0]][-1]["mean"] > report.curve[TARGETS[0]][0]["mean"] + 1
    assert report.presentations == sum(r["presentations"] for r in read_scores(Evolution(finished.round(1))))


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    make(tmp_path / "p", settings(generations=20))
    first, second = run_page("docs/evolution_rig.md", tmp_path)
    assert "generation 1 of 20 is exported" in first
    assert "evolution runs" in second


def test_the_sd_of_a_site_is_that_of_its_expected_responses_whatever_the_noise() -> None:
    """Few trials under noise of twice the signal: the noise is taken off; a site of noise alone has what every encoder
    takes for its SD; one that was not recorded is left out.
    """
    rng, images, often = np.random.default_rng(4), 600, np.arange(600) % 5 + 1
    index = np.append(np.repeat(np.arange(images), often), [-1] * 50)
    truth = np.column_stack([rng.normal(20, 3, images), np.full(images, 20.0), np.full(images, np.nan)])
    values = np.vstack([truth, truth.mean(0) * 0])[index] + rng.normal(0, 6, (len(index), 3))
    data = Dataset(
        pixels=np.zeros((images, 1, 1, 1), np.uint8),
        source_ids=tuple(map(str, range(images))),
        groups=tuple(map(str, range(images))),
        values=values,
        image_index=index,
        site_ids=SITES,
        unit="zscore",
        natural=images,
        trial_rounds=np.zeros(len(index), int),
    )
    signal, noise = recorded_sites(data)
    assert (signal.site_id, noise.site_id) == SITES[:2]
    assert signal.natural_sd == pytest.approx(3.0, rel=0.1)
    means = np.array([values[index == i, 1].mean() for i in range(images)])
    assert noise.natural_sd == pytest.approx(0.5 * means.std(ddof=1))
    assert signal.natural_mean == pytest.approx(20.0, abs=0.5)


def test_an_answer_is_ingested_by_its_command_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make(tmp_path / "p", settings(generations=1))
    loop.evolve(project, 1)
    generation = Evolution(project.round(1)).generation(1)
    answer(generation, Subject())
    code, out, _ = stimsynth(capsys, "ingest", project.folder, "--drop-extra")
    assert code == 0
    assert "planned trials" in out
    assert generation.ingested
    assert look(project).stage == "evolve"
    assert look(project).waiting_for is None
