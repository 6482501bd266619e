"""The commands of docs/sharing.md are run as they stand there, with the facts that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from protocols.project.folder import Project
from tests.protocols.helpers.commands import cli

PAGE = (Path(__file__).parents[3] / "docs" / "sharing.md").read_text(encoding="utf-8")
CODE = re.compile(r"#\s*exit (\d+)\s*$")


def lines() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_commands_of_the_page_run(
    changed: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed.folder.parent
    monkeypatch.chdir(folder)
    (facts,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    day = changed.round(0).session_id
    (folder / "facts.toml").write_text(f'{facts}starts.{day} = "2026-11-20T09:30:00+01:00"\n', encoding="utf-8")
    for line in lines():
        wanted = CODE.search(line)
        code, out, err = cli(monkeypatch, capsys, shlex.split(line.split(" #")[0]))
        assert code == (int(wanted[1]) if wanted else 0), (line, out, err)
    made = {p.name for p in folder.iterdir()} - {"project", "facts.toml"}
    assert made == {"archive_2026", "archive_2026.zip", "nwb", "bids", "brainio"} | {
        f"from_{form}.{ending}" for form in ("nwb", "brainio") for ending in ("h5", "import.json")
    }
    assert len(lines()) == 10


def test_every_code_of_the_page_exists_and_every_code_of_the_room_is_told() -> None:
    from protocols.errors import CODES

    named = set(re.findall(r"\b([A-Z]\d\d)\b", PAGE))
    assert named <= set(CODES)
    told_by_the_command = {"N02", "N06", "N07", "N09", "N12", "N17"}  # slips in the command itself
    assert {c for c in CODES if c.startswith("N")} - named == told_by_the_command
