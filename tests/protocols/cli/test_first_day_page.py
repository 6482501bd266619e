"""The commands of docs/first_day.md as a reader types them, at small size: new folders, and projects that the rig has answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols.project.config.keys import SECTIONS
from protocols.project.config.laboratories import LABORATORIES, open_questions
from protocols.project.config.template import template
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy, settings
from tests.protocols.helpers.pages import commands

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]
PAGE = "docs/first_day.md"
LARGE, SMALL = "--width 256 --degrees 8 --colour grey", "--width 64 --degrees 4 --colour rgb"
MORE = {"preview": " --no-plan", "generate": " --seeds 1"}
"""What is added to a command so that it takes less time."""


def test_the_commands_run_as_printed(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(base / "photographs", tmp_path / "PHOTOGRAPHS")
    listed = commands(PAGE)
    for at, (words, code) in enumerate(listed):
        name, project = words.split()[1], Path(words.split()[2])
        if name == "fit" or (name == "run" and listed[at - 1][0].split()[1] == "run"):
            # a fit takes too long here, and no rig answers: go on with the same project, fitted, its baseline answered
            project.rename(tmp_path / f"before_{project}")
            copy(base / "project", project)
        again = name == "check" and any(words == before for before, _ in listed[:at])
        if name == "fit" or again or (name == "generate" and "--quick" not in words):
            continue
        found, out, err = stimsynth(capsys, *f"{words.replace(LARGE, SMALL)}{MORE.get(name, '')}".split()[1:])
        assert found == code, f"{words}\n{out}{err}"
        if name == "init" and "--template" in words:
            assert open_questions((project / "project.toml").read_text(encoding="utf-8"))
        elif name == "init":
            assert LARGE in words
            assert (project / "project.toml").is_file()
            (project / "project.toml").write_text(template(settings(), name=str(project)), encoding="utf-8")
        if name == "run":
            assert "waiting" in out + err
    assert list((tmp_path / "look").rglob("*.png"))
    assert {words.split()[1] for words, _ in listed} >= {"init", "check", "fit", "generate", "export", "run", "preview"}


def test_every_template_is_on_the_page() -> None:
    made = [words.split()[-1] for words, _ in commands(PAGE) if "--template" in words]
    assert made == list(LABORATORIES)
    text = Path(__file__).parents[3].joinpath(PAGE).read_text(encoding="utf-8")
    for name, lab in LABORATORIES.items():
        row = re.findall(rf"^\| {name} \|(.*)$", text, flags=re.MULTILINE)
        assert len(row) == 1
        species = lab.changes.get("project", {}).get("species")
        assert species is None or f'`species = "{species}"`' in row[0]
        for key, unit in (("on_ms", "on"), ("off_ms", "off")):
            value = lab.changes.get("protocol", {}).get(key)
            assert value is None or f"{value:g} ms {unit}" in row[0] or f"{value / 1000:g} s {unit}" in row[0]


def test_the_six_keys_are_keys() -> None:
    text = Path(__file__).parents[3].joinpath(PAGE).read_text(encoding="utf-8")
    named = re.findall(r"^\| `\[(\w+)\] (\w+)` \|", text, flags=re.MULTILINE)
    assert len(named) == 6
    for section, key in named:
        kind = SECTIONS[section]
        assert key in getattr(kind, "model_fields", getattr(kind, "__dataclass_fields__", {}))
