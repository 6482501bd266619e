"""The page tells the settings of its round, whatever project.toml says today."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from protocols.disk.files import write_text
from protocols.errors import DataError
from protocols.loop import evaluate_round
from protocols.project.config.config import Config
from protocols.project.config.protocol import ArmsConfig, DriftConfig, ProtocolConfig
from protocols.project.config.synthesis import DiffusionConfig, SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.report.methods import methods_paragraph
from protocols.report.page import write_report
from protocols.report.view import RoundView, drift_settings, round_config
from protocols.rounds.manifest import SCHEMA
from protocols.verdict.control_report import ControlReport
from tests.protocols.helpers.reported_project import DISPLAY, make, settings, write_manifest


def edited(config: Config) -> Config:
    """Other values of everything that the page tells."""
    return config.model_copy(
        update={
            "display": replace(DISPLAY, size_deg=8.0),
            "synthesis": SynthesisConfig(steps=200, generator="diffusion", graded_repeats=3, start="noise", decay=1.0),
            "diffusion": DiffusionConfig(steps=7),
            "protocol": ProtocolConfig(
                repeats=32, blocks=2, on_ms=300.0, off_ms=50.0, references=3, natural_images=9, blanks_per_block=1
            ),
            "arms": ArmsConfig(repeats=2),
            "drift": DriftConfig(align=False, exclude=False),
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose round 1 is evaluated, with a control arm and graded images in its report, and has its settings in the manifest."""
    made = make(tmp_path / "p", settings().to_dict())
    round_ = made.round(1)
    evaluate_round(made, round_)
    report = ControlReport.from_json(round_.evaluation_path)
    summaries = tuple(replace(s, arms={"natural_raised": (3, 2)}, monotonic_tested=3) for s in report.objectives)
    replace(report, objectives=summaries).to_json(round_.evaluation_path)
    return made


def test_page_and_paragraph_stay_when_project_toml_is_edited(project: Project) -> None:
    round_ = project.round(1)
    before = write_report(project, round_).read_bytes()
    view = RoundView.load(project, round_)
    paragraph = methods_paragraph(view.config, view.report)
    for words in (
        "24 times each",
        "(60 steps",
        "100 ms with 100 ms",
        "5 of the best natural",
        "8 presentations each",
        "(4 deg",
    ):
        assert words in paragraph
    write_text(project.folder / "project.toml", template(edited(project.config)))
    assert project.config.protocol.repeats == 32
    assert methods_paragraph(project.config, view.report) != paragraph
    view = RoundView.load(project, round_)
    assert methods_paragraph(view.config, view.report) == paragraph
    assert write_report(project, round_).read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_the_circles_are_drawn_on_the_display_of_the_round(project: Project) -> None:
    write_text(project.folder / "project.toml", template(edited(project.config)))
    page = write_report(project, project.round(1)).read_text(encoding="utf-8")
    assert 'cx="18.0" cy="13.0" r="3.0"' in page  # 24 px on 4 degrees, not on 8


def test_a_manifest_without_keys_of_today_has_their_defaults(project: Project) -> None:
    round_ = project.round(1)
    write_manifest(round_, {"schema": SCHEMA, "display": DISPLAY.to_dict(), "config": {"protocol": {"on_ms": 70.0}}})
    config = round_config(project, round_)
    assert config == Config(display=DISPLAY, protocol=ProtocolConfig(on_ms=70.0))
    write_manifest(round_, {"schema": SCHEMA})
    assert round_config(project, round_) == Config(display=DISPLAY)


def test_where_no_manifest_stands_project_toml_holds_and_an_altered_one_is_refused(project: Project) -> None:
    round_ = project.round(1)
    (round_.outbox / "manifest.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        round_config(project, round_)
    assert caught.value.code == "X07"
    (round_.outbox / "manifest.json").unlink()
    write_text(project.folder / "project.toml", template(edited(project.config)))
    assert round_config(project, round_) == project.config


@pytest.mark.usefixtures("undrawn")
def test_the_drift_settings_are_those_of_the_last_evaluation(project: Project) -> None:
    config = Config(display=Display(width_px=16, height_px=16, size_deg=1.0))
    assert drift_settings([{"event": "evaluate", "stretch_tested": 3}], config) == config.drift  # an older log
    assert drift_settings(project.round(1).events(), config) == DriftConfig()
    write_text(project.folder / "project.toml", template(edited(project.config)))
    evaluate_round(project, project.round(1))
    view = RoundView.load(project, project.round(1))
    assert view.drift_settings == DriftConfig(align=False, exclude=False)
    assert "[drift] align is false" in write_report(project, project.round(1)).read_text(encoding="utf-8")
