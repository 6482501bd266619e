"""Progress: one plain line per finished step where nobody looks, a bar on a terminal, nothing where quiet is asked for."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocols import loop
from protocols.disk.png import write_png
from protocols.libraries.contents import list_library
from protocols.pages.frozen import write_frozen
from protocols.progress import LISTENER, Progress, counted
from protocols.project.generations.files import Evolution
from protocols.sharing.exports.facts import read_facts
from protocols.sharing.exports.share import share
from tests.protocols.helpers import evolved_project, finished_project
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.pages import ROOT


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


# --- every long step ----------------------------------------------------------------------------------------------------

ANSWERED_AT_ONCE = {
    "settings", "shards", "cluster", "generate", "decide", "serve", "init", "plan", "rig",
}  # fmt: skip
"""Commands that compute nothing long themselves: `generate` hands over to functions that report; a server runs until it is
stopped; shards write their own log.
"""


def test_every_command_that_computes_lets_its_loops_tell_how_far_they_are() -> None:
    """A new command calls `progress` or `listen`, or is named above with why it need not."""
    silent = set()
    for path in (ROOT / "protocols" / "cli").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any("app." in ast.unparse(d) for d in node.decorator_list):
                text = ast.unparse(node)
                if "progress()" not in text and "listen()" not in text:
                    silent.add(node.name)
    assert silent == ANSWERED_AT_ONCE


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, int]]]:
    """The last report of every step, however short it is."""
    monkeypatch.setattr("protocols.progress.SHORT_S", -1.0)
    found: dict[str, tuple[int, int]] = {}
    token = LISTENER.set(lambda label, done, total: found.update({label: (done, total)}))
    yield found
    LISTENER.reset(token)


def ended(heard: dict[str, tuple[int, int]], *labels: str) -> None:
    for label in labels:
        assert label in heard, (label, sorted(heard))
        done, total = heard[label]
        assert done == total >= 1, (label, done, total)


def test_an_answer_and_a_page_tell_how_far_they_are(tmp_path: Path, heard: dict[str, tuple[int, int]]) -> None:
    project = evolved_project.make(tmp_path / "p", evolved_project.settings(generations=1))
    loop.evolve(project, 1)
    generation = Evolution(project.round(1)).generation(1)
    heard.clear()
    evolved_project.answer(generation, evolved_project.Subject())
    loop.ingest_round(project, generation)
    ended(heard, "check the answer")
    for ending in ("h5", "h5.done"):
        (generation.inbox / f"responses.{ending}").rename(generation.inbox / f"responses_block_00.{ending}")
    generation.ingest_path.unlink()
    loop.ingest_round(project, generation)
    ended(heard, "read parts", "look at parts")
    write_frozen(project, tmp_path / "page.html", plan=False)
    ended(heard, "views")


def test_a_library_tells_how_far_it_is_listed(tmp_path: Path, heard: dict[str, tuple[int, int]]) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(3):
        write_png(folder / f"a{i}.png", np.full((8, 8, 1), 20 * i, np.uint8))
    with tarfile.open(folder / "b.tar", "w") as tar, zipfile.ZipFile(folder / "c.zip", "w") as packed:
        for i in range(3):
            tar.add(folder / f"a{i}.png", f"t{i}.png")
            packed.write(folder / f"a{i}.png", f"z{i}.png")
    assert len(list_library(folder).items) == 9
    ended(heard, "list the library", "list b.tar", "list c.zip")


FORMS = {"bids": "BIDS", "brainio": "BrainIO", "nwb": "NWB"}


@pytest.mark.parametrize(
    "form",
    ["bids", pytest.param("brainio", marks=pytest.mark.thorough), pytest.param("nwb", marks=pytest.mark.thorough)],
)
def test_sharing_tells_how_far_it_is(tmp_path: Path, heard: dict[str, tuple[int, int]], form: str) -> None:
    pytest.importorskip({"bids": "numpy", "brainio": "xarray", "nwb": "pynwb"}[form])
    project = finished_project.make(tmp_path / "p")
    facts = {"subject": "A", "species": "Macaca mulatta", "sex": "F", "age": "P8Y"}
    known = read_facts(None, facts | {"session_start": "2026-11-20T10:00:00+01:00"})
    share(project, tmp_path / "out", form, rounds="1", facts=known, with_photographs=True)
    ended(heard, f"rounds as {FORMS[form]}", "images" if form == "nwb" else "images of round 1")
