"""A stage reads project.toml once, sees every edit made before it began, and refuses to replace what a round was made with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protocols import DataError, Project, loop
from protocols.disk.files import sha256_file, write_json, write_text
from protocols.disk.png import write_png
from protocols.models import refit as refit_module
from protocols.project import folder as folder_module
from protocols.project.config.config import Config
from protocols.project.config.load import load_config
from protocols.project.config.template import template
from protocols.project.outbox import read_manifest
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.report import page
from protocols.verdict.control_report import ControlReport
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.simulated_rig import answer

LOOP = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for every reading of project.toml."""
    listed: list[object] = []

    def read(path: str | Path) -> Config:
        listed.append(path)
        return load_config(path)

    monkeypatch.setattr(folder_module, "load_config", read)
    return listed


def edit(project: Project, section: str, **values: object) -> None:
    """Save project.toml with other values in one section."""
    config = load_config(project.folder / "project.toml")
    changed = {section: getattr(config, section).model_copy(update=values)}
    write_text(project.folder / "project.toml", template(config.model_copy(update=changed)))


@pytest.fixture
def photographed(project: Project) -> Project:
    """A project with four photographs."""
    rows = []
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 20, 24, 1), dtype=np.uint8)):
        path = project.data / "natural" / f"scene_{i}.png"
        write_png(path, pixels)
        rows.append(NaturalImage(f"scene_{i}", path.name, f"scene_{i}", sha256_file(path), path.name, ""))
    write_photographs(project.data / "natural.csv", rows)
    return project


def test_a_save_in_the_middle_of_a_stage_does_not_mix_two_configurations(
    photographed: Project, monkeypatch: pytest.MonkeyPatch, reads: list[object]
) -> None:
    def saved(project: Project, number: int) -> object:
        edit(photographed, "protocol", on_ms=200.0, baseline_repeats=5)
        return open_round(project, number)

    open_round = loop.open_round
    monkeypatch.setattr(loop, "open_round", saved)
    manifest = read_manifest(loop.export_baseline(photographed))
    assert len(reads) == 1
    assert manifest["config"]["protocol"]["on_ms"] == manifest["timing"]["on_ms"] == 100.0
    assert manifest["config"]["protocol"]["baseline_repeats"] == 8
    assert photographed.config.protocol.on_ms == 200.0


def test_the_loop_reads_the_file_once_per_look_and_once_per_stage(photographed: Project, reads: list[object]) -> None:
    assert loop.run(photographed).waiting_for == "responses"
    assert len(reads) == 3  # look, export, look


def begun(project: Project) -> Path:
    """Round 1 with a record of its fit and an outbox."""
    record = project.fitted / "for_round_01.json"
    write_json(record, {"schema": "fitted/1", "round": 1, "encoder": "enc_old", "validator": "val_old"})
    project.new_round(1, "ses_20261121").outbox.mkdir()
    return record


def with_controllers(project: Project) -> None:
    round_ = project.round(1)
    round_.outbox.rmdir()
    round_.sealed.mkdir()
    round_.controllers_path.touch()


@pytest.mark.parametrize(
    ("change", "cure"),
    [(lambda project: None, "stimsynth refit.*stimsynth init"), (with_controllers, "delete the folder round_01")],
    ids=["outbox", "controllers"],
)
def test_a_fit_does_not_replace_the_encoder_of_a_round_that_was_made(
    project: Project,
    change: Callable[[Project], None],
    cure: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = begun(project)
    change(project)
    before = record.read_bytes()
    monkeypatch.setattr(refit_module, "provide", lambda *_, **__: pytest.fail("nothing may be fitted"))
    with pytest.raises(DataError, match=f"T03.*{cure}"):
        loop.fit(project, 1)
    nothing = project.folder / "nothing"
    code, _, err = stimsynth(capsys, "fit", project.folder, "--images", nothing, "--responses", nothing)
    assert (code, "T03" in err) == (3, True)  # refused before the recording is looked at
    assert record.read_bytes() == before


def test_a_fit_may_be_repeated_before_and_restored_after_the_round_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.report.fits.page.write_fit", lambda *_: None)  # of a record that is none
    monkeypatch.setattr(refit_module, "provide", lambda *_, **__: {"fitted": True})
    record = begun(project)
    record.unlink()  # lost: fitting again replaces nothing
    assert loop.fit(project, 1) == {"fitted": True}
    write_json(record, {"encoder": "enc_old", "validator": "val_old"})
    shutil.rmtree(project.sessions / "ses_20261121")
    assert loop.fit(project, 1) == {"fitted": True}


def test_a_lost_record_is_restored_only_with_the_encoder_that_made_the_images(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.report.fits.page.write_fit", lambda *_: None)  # of a record that is none
    record = begun(project)
    record.unlink()
    (project.round(1).outbox / "manifest.json").touch()
    monkeypatch.setattr(refit_module, "read_manifest", lambda outbox: {"encoder": {"fingerprint": "enc_old"}})
    monkeypatch.setattr(refit_module, "serving", lambda *_: None)

    def fit(encoder: str) -> None:
        made = type("Made", (), {"record": {"encoder": encoder, "validator": "val_old"}})
        monkeypatch.setattr(refit_module, "_fitted", lambda *_, **__: made)
        loop.fit(project, 1)

    with pytest.raises(DataError, match=r"T03.*enc_new, where enc_old made.*restore the record from a backup"):
        fit("enc_new")
    assert not record.exists()
    fit("enc_old")
    assert record.is_file()


class TestOnALoop:
    """What the stages of a real round read; these need a fitted encoder."""

    pytestmark = LOOP

    @pytest.mark.usefixtures("undrawn")
    def test_every_stage_reads_the_file_once(
        self, base: Path, tmp_path: Path, reads: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = copy(base, tmp_path / "counted")
        project = Project.open(folder / "project")
        shutil.rmtree(project.round(1).folder)
        (project.fitted / "for_round_01.json").unlink()
        monkeypatch.setattr(refit_module, "_fitted", self.fit_from(base, project))
        stages = {}
        while (state := loop.look(project)).stage != "finished":
            if state.waiting_for == "responses":
                assert state.round is not None
                answer(folder / "subject", state.round, seed=1)
                continue
            reads.clear()
            loop.step(project, state)
            stages[state.stage] = len(reads)
        assert set(stages) == {"fit", "generate", "export", "ingest", "evaluate", "report"}
        assert all(n == 1 for n in stages.values()), stages

    @staticmethod
    def fit_from(base: Path, project: Project) -> Callable[..., object]:
        """The fit of `base`, taken from its record after the configuration was asked for."""

        def fitted(asked: Project, *_: object, **__: object) -> object:
            assert asked.config.encoder.folds
            record = Project.open(base / "project").fitted / "for_round_01.json"
            return refit_module._Made(
                encoder=None, validator=None, record=json.loads(record.read_text()), data=None, held_out=None
            )

        return fitted

    def test_a_loop_that_waits_sees_an_edit(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = copy(base, tmp_path / "edited")
        project = Project.open(folder / "project")
        monkeypatch.setattr(page, "write_report", lambda _, round_: round_.report_path.touch())

        def sleep(_: float) -> None:
            edit(project, "evaluation", alpha=0.02)
            answer(folder / "subject", project.round(1), seed=1)

        monkeypatch.setattr(loop.time, "sleep", sleep)
        assert loop.run(project, timeout_s=600).stage == "finished"
        assert ControlReport.from_json(project.round(1).evaluation_path).alpha == 0.02
