"""`demo --open`: the page is opened by a process of its own, and nothing hangs where there is no screen."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.cli.pages.browser import has_screen, opened
from tests.protocols.helpers.commands import stimsynth

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the browsers of these tests are shell scripts")


def browser(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Make `script` the only browser; it is called with the address."""
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", f"{path} %s")
    return path


@pytest.mark.parametrize(
    ("environment", "platform", "there"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
    ],
)
def test_where_a_browser_can_be_opened(environment: dict[str, str], platform: str, there: bool) -> None:
    assert has_screen(environment, platform) is there


def test_the_browser_gets_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser(tmp_path, monkeypatch, f'printf "%s" "$1" > {tmp_path}/seen')
    page = (tmp_path / "a page & more.html").as_uri()
    assert opened(page)
    assert (tmp_path / "seen").read_text(encoding="utf-8") == page


def test_a_browser_that_fails_and_one_that_waits_for_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser(tmp_path, monkeypatch, "exit 3")
    assert not opened("file:///x")
    browser(tmp_path, monkeypatch, f'read line; printf "<%s>" "$line" > {tmp_path}/read; exit 0')
    assert opened("file:///x", patience_s=60)
    assert (tmp_path / "read").read_text(encoding="utf-8") == "<>"  # a terminal is never asked


def test_a_browser_that_runs_on_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    began = time.monotonic()
    assert opened("file:///x", patience_s=0)
    assert time.monotonic() - began < 20
    for _ in range(200):
        if (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    number = int((tmp_path / "pid").read_text(encoding="utf-8"))
    os.kill(number, 15)  # raises where the browser was ended


@pytest.mark.parametrize("screen", [True, False])
def test_demo_opens_its_report_or_says_where_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, screen: bool
) -> None:
    browser(tmp_path, monkeypatch, f'printf "%s" "$1" > {tmp_path}/seen')
    if not screen:
        monkeypatch.delenv("BROWSER")
    page = tmp_path / "demo" / "report.html"
    result = SimpleNamespace(page=page, summary=lambda: "two rounds", to_dict=lambda: {"report": page.as_posix()})
    monkeypatch.setattr("protocols.demo.run_demo", lambda *_, **__: result)
    code, out, err = stimsynth(capsys, "demo", "--out", tmp_path / "demo", "--open")
    assert (code, "two rounds" in out) == (0, True)
    assert (tmp_path / "seen").is_file() is screen
    assert (f"open {page.as_posix()} yourself" in err) is not screen
    if screen:
        assert (tmp_path / "seen").read_text(encoding="utf-8") == page.as_uri()
    (tmp_path / "seen").unlink(missing_ok=True)
    code, _, err = stimsynth(capsys, "demo", "--out", tmp_path / "demo")
    assert (code, (tmp_path / "seen").is_file(), "yourself" in err) == (0, False, False)
