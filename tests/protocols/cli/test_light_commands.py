"""Commands that open no network answer without loading torch; every device that is not there is refused at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocols.helpers.commands import stimsynth

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "matplotlib", "timm", "torchvision", "diffusers", "scipy.stats")

PROGRAM = """
import contextlib, io, json, sys
from protocols.cli.app import main
def run(*words):
    sys.argv = ["stimsynth", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue() + err.getvalue()
done, commands, heavy = [], json.loads(sys.argv[1]), set(json.loads(sys.argv[2]))
for words in commands:
    code, text = run(*words)
    done.append((words, code, text, sorted(heavy & set(sys.modules))))
print(json.dumps(done))
"""


def run_all(folder: Path, commands: list[list[str]]) -> list[tuple[list[str], int, str, list[str]]]:
    """Words, exit code, text and heavy modules loaded so far of each command, all in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands), json.dumps(HEAVY)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in json.loads(done.stdout)]


def test_no_command_that_opens_no_network_loads_torch(tmp_path: Path) -> None:
    (tmp_path / "typo.toml").write_text('[[objective]]\nkind = "stretsh"\nsites = ["a"]\n')
    (tmp_path / "readouts.toml").write_text('[[candidate]]\nreadot = "ridge"\n')
    (tmp_path / "map.toml").write_text('[responses]\naxs = ["image"]\n')
    (tmp_path / "key.toml").write_text('[[objective]]\nkind = "stretch"\nsite = ["a"]\n')
    wanted = ["generate", "lab", "--out", "batch", "--wanted"]
    commands = [
        (["--help"], 0, "ingest"),
        (["--version"], 0, "stimsynth"),
        (["generate", "--help"], 0, "--wanted"),
        (["init", "lab", "--width", "64"], 0, "made"),
        (["status", "lab"], 0, "waiting for photographs"),
        (["check", "lab"], 0, "none yet"),
        (["run", "lab"], 4, "waiting for photographs"),
        (["ingest", "lab", "--round", "1"], 3, "S04"),
        (["ingest", "nowhere"], 3, "S01"),
        (["status", "nowhere"], 3, "S01"),
        (["fit", "nowhere"], 3, "S01"),
        (["fit", "lab", "--images", "."], 2, "belong together"),
        (["refit", "lab", "--mode", "fulll"], 2, "full or warm"),
        (["generate", "lab", "--wanted", "typo.toml"], 2, "--out"),
        (["generate", "--kinds"], 0, "one_hot"),
        ([*wanted, "typo.toml"], 3, "nearest: stretch"),
        ([*wanted, "key.toml"], 3, "nearest: sites"),
        ([*wanted, "none.toml"], 3, "W01"),
        ([*wanted[:-1], "--generator", "difusion"], 3, "W06"),
        (["generate", "lab", "--seads", "2"], 2, "--seads"),
        (["fit", "lab", "--compare", "readouts.toml"], 3, "nearest: readout"),
        (["import", "typo.toml", "--map", "map.toml"], 3, "did you mean axes"),
        (["report", "lab", "--fit"], 3, "P24"),
        (["evaluate"], 2, "--responses"),
        (["no_such_command"], 2, "No such command"),
        (["plan", "--reference", "20"], 0, "power"),  # the last one: it computes with scipy.stats
    ]
    found = run_all(tmp_path, [words for words, _, _ in commands])
    for (words, code, text), (_, was, said, heavy) in zip(commands, found, strict=True):
        assert (was, text in said) == (code, True), (words, was, said)
        loaded = set(heavy) - ({"scipy.stats"} if words[0] == "plan" else set())
        assert not loaded, f"`stimsynth {' '.join(words)}` loads {', '.join(sorted(loaded))}"
    toml = tmp_path / "lab" / "project.toml"
    toml.write_text(toml.read_text().replace("\nbaseline_repeats = 8", "\nbaseline_repeat = 8"))
    keys = [[name, "lab"] for name in ("status", "check", "run", "ingest", "fit", "refit", "generate", "export")]
    for words, code, said, heavy in run_all(tmp_path, keys):
        assert "did you mean baseline_repeats" in said, (words, said)
        assert (code, heavy) == (3, []), (words, code, heavy)


COMMANDS = ("check", "status", "run", "fit", "refit", "generate", "export")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["cdua", "gpu", "meta", "CPU", "cuda:97", "cuda:-1", "cuda:", "cpu:1", "mps:3", "cuda 0", "0", "none", "xla", "auto"])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8).filter(lambda t: t not in ("cpu", "mps") and not t.startswith(("cuda", "-"))),
    st.sampled_from(COMMANDS),
)  # fmt: skip
def test_a_device_that_is_not_there_is_a_usage_error_of_every_command(lab_folder, name: str, command: str) -> None:
    """Nothing is done before: the project is not even opened."""
    capsys, folder = lab_folder
    code, _, err = stimsynth(capsys, "--device", name, command, folder)
    assert code == 2, err
    assert "cpu" in " ".join(err.split())


@pytest.fixture
def lab_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[pytest.CaptureFixture[str], Path]:
    """A folder that holds no project: a command that looks into it first leaves with 3."""
    return capsys, tmp_path / "no_project"
