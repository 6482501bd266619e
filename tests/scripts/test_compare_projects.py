"""Two project folders side by side: the same, one byte changed, one file missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "scripts" / "compare_projects.py"
FILES = {
    "outbox/images/r01_0001_aaaa.png": b"\x89PNG one",
    "outbox/images/r01_0002_bbbb.png": b"\x89PNG two",
    "outbox/order.csv": b"trial,image_id\n",
    "sealed/key.csv": b"image_id,role\n",
    "evaluation.json": b"{}",
    "log.jsonl": b"never compared\n",
}


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("compare_projects", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def project(folder: Path, day: str = "ses_20261121", rounds: tuple[str, ...] = ("round_00", "round_01")) -> Path:
    for number in rounds:
        for name, data in FILES.items():
            path = folder / "sessions" / day / number / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return project(tmp_path / "before")


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return project(tmp_path / "after", day="ses_20261122")


def test_the_same_on_another_day(script: Any, before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (after / "sessions/ses_20261122/round_01/log.jsonl").write_bytes(b"other times\n")
    assert script.main([str(before), str(after)]) == 0
    assert capsys.readouterr().out == "10 files of 2 rounds compared, 0 differ\n"


@pytest.mark.parametrize("name", [name for name in FILES if name != "log.jsonl"])
def test_a_changed_byte_is_listed(
    script: Any, before: Path, after: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = after / "sessions/ses_20261122/round_01" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert script.main([str(before), str(after)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"round_01/{name} differs",
        "10 files of 2 rounds compared, 1 differ",
    ]


@pytest.mark.parametrize("name", ["outbox/images/r01_0002_bbbb.png", "evaluation.json"])
def test_a_missing_file_is_listed_with_the_side_that_has_it(
    script: Any, before: Path, after: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (after / "sessions/ses_20261122/round_00" / name).unlink()
    assert script.main([str(before), str(after)]) == 1
    assert f"round_00/{name} exists before only" in capsys.readouterr().out
    assert script.main([str(after), str(before)]) == 1
    assert f"round_00/{name} exists after only" in capsys.readouterr().out


def test_other_rounds_or_none_are_a_difference(
    script: Any, before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = project(tmp_path / "shorter", rounds=("round_00",))
    assert script.main([str(before), str(shorter)]) == 1
    assert "['round_00', 'round_01'] before, ['round_00'] after" in capsys.readouterr().err
    assert script.main([str(tmp_path / "nothing"), str(tmp_path / "nothing")]) == 1


def test_two_folders_are_asked_for(script: Any, before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([str(before)]) == 2
    assert "BEFORE AFTER" in capsys.readouterr().err
