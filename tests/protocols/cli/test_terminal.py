"""What a terminal shows: the commands by their day, completions in every shell, nothing heavy loaded for either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.cli.arguments import one_of, projects_named, rounds_of, sites_of
from protocols.cli.days import DAYS
from tests.protocols.helpers.pages import run_page

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys, json
sys.argv = ["stimsynth", *sys.argv[1:]]
from protocols.cli.app import main
try:
    main()
finally:
    print("LOADED", json.dumps(sorted({"torch", "numpy", "scipy", "h5py", "pandas", "rich"} & set(sys.modules))), file=sys.stderr)
"""


def fresh(folder: Path, *words: str, **environment: str) -> tuple[list[str], list[str]]:
    """Lines of standard output of a command in a new process, and the heavy modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "LOADED" in done.stderr, done.stderr
    return done.stdout.splitlines(), json.loads(done.stderr.rpartition("LOADED")[2])


def test_help_lists_every_command_once_under_its_day(tmp_path: Path) -> None:
    lines, loaded = fresh(tmp_path, "--help")
    assert loaded == []
    heads = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert [head for head in heads if head in DAYS] == list(DAYS)
    below = lines[lines.index("Before the day:") :]
    listed = [line.split()[0] for line in below if line.startswith("  ")]
    assert listed == [name for commands in DAYS.values() for name in commands]
    assert all(len(line) <= 80 for line in below)
    assert any(line.split()[0] == "--install-completion" for line in lines if line.strip())


def test_every_command_has_a_day_and_one_line() -> None:
    from typer.main import get_command

    from protocols.cli import app

    named = [name for commands in DAYS.values() for name in commands]
    assert len(named) == len(set(named))
    assert set(named) == set(get_command(app).commands)  # type: ignore[attr-defined]
    assert all(0 < len(line) <= 56 for commands in DAYS.values() for line in commands.values())


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    for name in ("fitted", "sessions/ses_a/round_00", "sessions/ses_b/round_01", "sessions/ses_b/round_x"):
        (folder / name).mkdir(parents=True)
    (folder / "project.toml").write_text("")
    sites = [{"site_id": f"v4_{i:03d}", "eligible_fit": i != 2} for i in range(12)]
    (folder / "fitted" / "for_round_01.json").write_text(json.dumps({"report": {"sites": sites}}))
    (tmp_path / "labels").mkdir()
    return folder


class Words:
    """The part of typer's context that completions look at."""

    def __init__(self, folder: Path | None) -> None:
        self.params = {"folder": folder}


def test_completions_come_from_the_files_of_the_project(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.parent)
    monkeypatch.delenv("COMP_WORDS", raising=False)
    monkeypatch.delenv("_TYPER_COMPLETE_ARGS", raising=False)
    here, nowhere = Words(lab), Words(None)
    assert projects_named("la") == ["lab"]
    assert projects_named("lab/") == projects_named("x") == projects_named("no/such/") == []
    assert rounds_of(here, "") == ["0", "1"]
    assert rounds_of(here, "1") == ["1"]
    assert sites_of(here, "v4_01") == ["v4_010", "v4_011"]
    assert sites_of(here, "v4_010,v4_01") == ["v4_010,v4_011"]
    assert "v4_002" not in sites_of(here, "v4_00")
    assert rounds_of(nowhere, "") == sites_of(nowhere, "") == []
    assert one_of("full", "warm")("w") == ["warm"]
    monkeypatch.setenv("COMP_WORDS", "stimsynth describe lab --sites ")
    assert sites_of(nowhere, "v4_011") == ["v4_011"]
    for damage in (b"", b"[1]", b'{"report": {"sites": [{}]}}', b"\xff"):
        (lab / "fitted" / "for_round_02.json").write_bytes(damage)
        assert sites_of(here, "v4") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_is_told_the_sites(lab: Path, shell: str) -> None:
    words = "stimsynth describe lab --sites v4_01"
    told, loaded = fresh(
        lab.parent, _STIMSYNTH_COMPLETE=f"complete_{shell}", COMP_WORDS=words, COMP_CWORD="4", _TYPER_COMPLETE_ARGS=words,
        _TYPER_COMPLETE_FISH_ACTION="get-args", _TYPER_COMPLETE_WORD_TO_COMPLETE="v4_01",
    )  # fmt: skip
    assert "torch" not in loaded
    assert all(site in "\n".join(told) for site in ("v4_010", "v4_011"))
    assert "v4_001" not in "\n".join(told)


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    helped, made, status, check = run_page("docs/terminal.md", tmp_path)
    assert "Before the day:" in helped
    assert "made" in made
    assert "waiting for photographs" in status
    assert "ok    configuration" in check


def test_a_run_prints_the_sites_after_a_fit_and_the_plan_before_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from protocols.cli.projects import init, told_around
    from protocols.project.fitted import write_fitted
    from protocols.project.folder import Project
    from protocols.state import State

    init(tmp_path / "lab", width=32)
    project = Project.open(tmp_path / "lab")
    site = {"site_id": "v4_001", "held_out_r": 0.5, "held_out_r_nc": 0.6, "held_out_feve": 0.3, "validator_r": 0.4}
    fit = {"encoder": "enc_a", "validator": "enc_b", "rounds": [0], "n_images": 9, "n_trials": 90, "round": 1}

    class Plan:
        def text(self) -> str:
            return "THE PLAN"

    monkeypatch.setattr("protocols.plan.plan_round", lambda *_, **__: Plan())
    capsys.readouterr()
    with told_around(project, State(project, "export", 1)):
        assert "THE PLAN" in capsys.readouterr().out
    with told_around(project, State(project, "export", 0)):
        assert capsys.readouterr().out == ""
    with told_around(project, State(project, "fit", 1)):
        write_fitted(project.fitted, 1, fit | {"report": {"sites": [site]}})
        assert capsys.readouterr().out == ""
    printed = capsys.readouterr().out
    assert "v4_001" in printed
    assert "fitted/for_round_01/fit.html" in printed
    with told_around(project, State(project, "fit", 2)):
        write_fitted(project.fitted, 2, fit | {"round": 2, "report": {"sites": [site]}, "refit": {"mode": "reuse"}})
    assert "reused: enc_a serves again" in capsys.readouterr().out


def test_a_run_prints_the_counts_of_the_verdicts_and_where_the_report_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from protocols.cli.projects import init, told_around
    from protocols.project.folder import Project
    from protocols.state import State
    from protocols.verdict.control_report import ControlReport
    from protocols.verdict.records import ObjectiveSummary

    init(tmp_path / "lab", width=32)
    project = Project.open(tmp_path / "lab")
    counts = {"tested": 6, "successes": 4, "low": 0.3, "high": 0.9, "chance": 0.01, "group_p": 0.0001, "listed": 4}
    none = ("empirical_tested", "empirical_successes", "suppressed", "suppression_tested", "not_testable", "excluded")
    summary = ObjectiveSummary(
        objective="stretch", **counts, **dict.fromkeys(none, 0), empirical_low=0, empirical_high=1, strict=3, strict_tested=6
    )  # fmt: skip
    read: list[Path] = []
    monkeypatch.setattr(
        ControlReport, "from_json", lambda path: read.append(path) or SimpleNamespace(objectives=[summary])
    )
    round_ = SimpleNamespace(evaluation_path=Path("e.json"), report_path=project.folder / "sessions" / "report.html")
    monkeypatch.setattr(Project, "round", lambda *_: round_)
    capsys.readouterr()
    with told_around(project, State(project, "evaluate", 1)):
        assert capsys.readouterr().out == ""
    assert capsys.readouterr().out.startswith("round 1: stretch: 4 of 6 sites controlled")
    assert read == [Path("e.json")]
    with told_around(project, State(project, "report", 1)):
        assert capsys.readouterr().out == ""
    assert capsys.readouterr().out == "round 1: the verdicts of all sites are in sessions/report.html\n"


def test_the_words_that_are_completed_are_those_that_are_taken() -> None:
    from typing import get_args

    from protocols.cli.arguments import RIGS
    from protocols.project.config.rig import RigName

    assert set(RIGS) == set(get_args(RigName))


@pytest.mark.parametrize(
    "bad", ["x\\$(touch ran)", "`id`", "a;b", "a b", "a'b", 'a"b', "a\nb", "${x}", "a|b", "a&b", "*"]
)
def test_no_name_that_a_shell_could_run_is_completed(bad: str) -> None:
    from protocols.cli.arguments import harmless

    assert harmless(["v4_001", bad, "my.lab/p-1"]) == ["v4_001", "my.lab/p-1"]
