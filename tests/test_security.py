"""SECURITY.md: every test that it names exists, its numbers are those of the program, and no file names code to be run."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from protocols.disk import archives, foreign, pictures, toml
from protocols.errors import LONGEST
from protocols.importing.containers import mat5_scan
from protocols.libraries.contents import LARGEST
from synth import batch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|scripts|protocols)/[\w/]+\.py)(?::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_every_place_that_the_page_names_exists(file, function):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert not function or function in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def test_every_row_and_point_names_a_test():
    table = [line for line in PAGE.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(table) >= 8
    assert all("`tests/" in line for line in table)
    points = re.split(r"\n- |\n\n", PAGE[PAGE.index("- **No pickle") : PAGE.index("## What is trusted")])
    assert all("`tests/" in point for point in points if point.strip())


def test_the_numbers_of_the_page_are_those_of_the_program():
    assert (foreign.FREE, foreign.RATIO) == (64 << 20, 400) == (batch._FREE, batch._RATIO)
    assert (foreign.MOST_SETTINGS, foreign.MOST_TEXT, foreign.MOST_PICTURE) == (4 << 20, 512 << 20, 512 << 20)
    assert (toml.DEEPEST, toml.LONGEST_KEY, mat5_scan.DEEPEST, LONGEST, LARGEST) == (20, 100, 60, 2000, 64 << 20)
    assert f"{pictures.MOST_PIXELS:,} pixels" in PAGE
    for words in (
        "64 MiB, or to 400 times",
        "| 4 MiB | 20 levels, 100 parts",
        "| 512 MiB |",
        "60 cells",
        "at most 2000",
    ):
        assert words in PAGE, words
    assert archives.MOST_MEMBERS == 1_000_000


@pytest.mark.parametrize(
    "uri", ["python:hostile_module:make", "hostile_module:make", "pickle:x", "file:hostile_module.py"]
)
def test_no_file_names_code_to_be_run(uri, tmp_path, monkeypatch):
    from encoders import backbone

    (tmp_path / "hostile_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"expected|known|one of"):
        backbone(uri, ["x"], weights="random")
    assert "hostile_module" not in sys.modules
