"""Progress: one plain line per finished step where nobody looks, a bar on a terminal, nothing where quiet is asked for."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.progress import LISTENER, Progress, counted
from tests.protocols.helpers.commands import stimsynth


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Progress, "REFRESH_S", -1.0)
    return Terminal()


def plain(stream: io.StringIO) -> str:
    """What was written, without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_elsewhere_each_finished_step_is_one_line() -> None:
    stream = io.StringIO()
    report = Progress(stream)
    for done in range(4):
        report("fit members", done, 3)
    report("ascent", 1, 2)
    assert re.fullmatch(r"  fit members {24}3/3  \d+\.\d s\n", stream.getvalue())


def test_quiet_writes_nothing(terminal: Terminal) -> None:
    for stream in (io.StringIO(), terminal):
        Progress(stream, quiet=True)("fit", 1, 1)
        assert stream.getvalue() == ""


def test_a_terminal_shows_a_bar_and_keeps_a_line_per_step(terminal: Terminal) -> None:
    report = Progress(terminal)
    for done in range(4):
        report("fit [members]", done, 3)
    shown = plain(terminal)
    assert "1/3" in shown
    assert re.search(r"fit \[members\] +3/3  \d+\.\d s\n", shown)
    assert report.bars is None
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") > 0  # the cursor is back


def test_steps_within_a_step_are_shown_one_at_a_time(terminal: Terminal) -> None:
    report = Progress(terminal)
    report("outer", 0, 1)
    for done in (0, 1):
        report("inner", done, 1)
    assert report.bars is not None
    report("outer", 1, 1)
    lines = [line for line in plain(terminal).replace("\r", "\n").splitlines() if line.rstrip().endswith(" s")]
    assert [line.split()[0] for line in lines] == ["inner", "outer"]
    assert report.bars is None


def test_a_step_that_is_left_gives_the_terminal_back(terminal: Terminal) -> None:
    report = Progress(terminal)
    report("ascent", 1, 5)
    report.close()
    report.close()
    assert terminal.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.getvalue()
    report("export", 1, 1)
    assert "export" in plain(terminal)


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_lines_fit_into_any_width(columns: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    report = Progress(terminal)
    for done in range(3):
        report("a label that is longer than most of them", done, 2)
    assert all(len(line) <= columns for line in re.split(r"[\r\n]", plain(terminal)))


def test_rich_is_imported_with_the_first_bar_only() -> None:
    code = "import sys, io, protocols.progress as p; p.Progress(io.StringIO())('a', 1, 1); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_long_loop_is_told_and_a_short_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[tuple[str, int, int]]()
    token = LISTENER.set(lambda *step: told.append(step))
    try:
        assert list(counted("abc", "short")) == list("abc")
        assert told == []
        monkeypatch.setattr("protocols.progress.SHORT_S", -1.0)
        assert list(counted([3, 1, 2], "long")) == [3, 1, 2]
        assert told[-1] == ("long", 3, 3)
        assert {label for label, _, _ in told} == {"long"}
    finally:
        LISTENER.reset(token)
    assert list(counted(range(3), "nobody listens")) == [0, 1, 2]
    assert told[-1] == ("long", 3, 3)


def test_nobody_listens_once_a_command_has_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert stimsynth(capsys, "init", tmp_path / "lab", "--width", "32")[0] == 0
    assert stimsynth(capsys, "check", tmp_path / "lab")[0] == 0
    assert LISTENER.get() is None


def test_a_bar_says_how_much_time_is_left(terminal: Terminal) -> None:
    report = Progress(terminal)
    for done in range(3):
        report("ascent", done, 4)
    assert re.search(r"left +(-|[0-9]+):(--|[0-9]{2}):", plain(terminal))
    report.close()
