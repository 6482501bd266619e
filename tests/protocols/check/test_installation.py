"""`stimsynth selftest`: what it says of an installation that is whole, and of one that is not."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from protocols.check import installation
from protocols.check.installation import Failed, Try, packed, tried
from tests.protocols.helpers.commands import stimsynth


class Package:
    """An installation whose record holds these files of a folder."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        from importlib.metadata import PathDistribution

        info = folder / "stimsynth-1.dist-info"
        info.mkdir()
        lines = []
        for name in names:
            sum_ = urlsafe_b64encode(hashlib.sha256((folder / name).read_bytes()).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={sum_},1")
        (info / "RECORD").write_text("\n".join([*lines, "protocols/b.pyc,,"]), encoding="utf-8")
        (info / "METADATA").write_text("Name: stimsynth\nVersion: 1\n", encoding="utf-8")
        self.distribution = PathDistribution(info)


def test_a_file_that_is_missing_or_changed_is_named(tmp_path: Path) -> None:
    for name in ("protocols/a.py", "synth/b.bin", "bin/stimsynth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    package = Package(tmp_path, ["protocols/a.py", "synth/b.bin", "bin/stimsynth"]).distribution
    assert packed(package) == (2, [])
    (tmp_path / "bin" / "stimsynth").write_text("pip writes another first line", encoding="utf-8")
    assert packed(package) == (2, [])
    (tmp_path / "protocols" / "a.py").write_text("x", encoding="utf-8")
    (tmp_path / "synth" / "b.bin").unlink()
    assert packed(package) == (2, ["protocols/a.py was changed", "synth/b.bin is missing"])


def test_a_key_gets_its_verdicts_and_other_verdicts_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "site_1: control, site_2: no control" in installation.key(tmp_path)
    monkeypatch.setattr(installation, "MEANS", {**installation.MEANS, "made_a": (5, 5)})
    with pytest.raises(Failed, match="expected"):
        installation.key(tmp_path)


def test_a_command_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"exit code 3.*S01"):
        installation.stimsynth(tmp_path, "check", "nowhere")


def test_the_command_says_what_failed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path) -> str:
        raise Failed("three files are missing")

    good = Try("files", lambda folder: "12 files")
    monkeypatch.setattr(installation, "TRIES", (good, good))
    code, out, _ = stimsynth(capsys, "selftest")
    assert (code, out.splitlines()[-1]) == (0, "this installation works")
    monkeypatch.setattr(installation, "TRIES", (good, Try("loop", broken)))
    code, out, _ = stimsynth(capsys, "--json", "selftest")
    told = json.loads(out)
    assert (code, told["works"]) == (3, False)
    assert [(t["what"], t["status"]) for t in told["tries"]] == [("files", "ok"), ("loop", "fail")]
    assert "three files are missing" in told["tries"][1]["text"]
    assert stimsynth(capsys, "selftest", "--quick")[0] == 0  # the loop is the last one


@pytest.mark.thorough
def test_everything_is_tried(tmp_path: Path) -> None:
    found = list(tried(tmp_path))
    assert [f.what for f in found] == ["files", "templates", "key", "loop"]
    assert {f.status for f in found} == {"ok"}, found
