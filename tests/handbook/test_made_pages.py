"""The pages that are made from the code agree with it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from protocols.errors import CODES
from scripts.handbook import pages, write
from scripts.handbook.refusals import Refusal, Sources, of_protocols, refusals

pytestmark = pytest.mark.xdist_group("handbook")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", write.PAGES)
def test_a_page_is_as_the_code_makes_it(place: str) -> None:
    assert (ROOT / place).read_text(encoding="utf-8") == write.PAGES[place](), "run `python -m scripts.handbook.write`"


def test_every_code_has_its_meaning_and_a_way_out() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert list(parts) == list(CODES)
    assert {code[0] for code in CODES} == set(pages.GROUPS)
    for code, part in parts.items():
        assert part.startswith(CODES[code])
        assert "| likely cause |" in part or "Way out:" in part, code
        assert any(one.fix for one in of_protocols().get(code, [])) or code in pages.ELSEWHERE, code


def test_words_come_from_the_code_that_raises(tmp_path: Path) -> None:
    source = """
CAUSE = "a slip"
def one(path, count):
    raise DataError(str(path), found=f"{count} rows", expected="x", cause=CAUSE, fix="a" if count else "b", code="A01")
def _helper(where, found, *, fix="the default"):
    return DataError(where, found=found, expected="y", cause="z", fix=fix, code="A02")
def two(path):
    raise _helper(path, "nothing", fix="do this")
def three(path):
    what = "too much"
    raise _helper(path, what)
"""
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "m.py").write_text(source, encoding="utf-8")
    (tmp_path / "protocols" / "n.py").write_text(
        "from .m import _helper\ndef _helper_of(a): return _helper(a, 'elsewhere', fix='go')\n", encoding="utf-8"
    )
    found = refusals(Sources(tmp_path))
    assert found["A01"] == [Refusal("... rows", "x", "a slip", "a"), Refusal("... rows", "x", "a slip", "b")]
    assert found["A02"] == [
        Refusal("nothing", "y", "z", "do this"),
        Refusal("too much", "y", "z", "the default"),
        Refusal("elsewhere", "y", "z", "go"),
    ]


def test_a_helper_that_is_not_the_imported_one_lends_no_words(tmp_path: Path) -> None:
    (tmp_path / "protocols").mkdir()
    head = "def _refused(where, fix):\n    return DataError(where, found='f', expected='e', cause='c', fix=fix, code='{}')\n"
    for name, code in (("m", "A01"), ("n", "A02")):
        text = head.format(code) + f"def f(): raise _refused('w', 'way {code}')\n"
        (tmp_path / "protocols" / f"{name}.py").write_text(text, encoding="utf-8")
    found = refusals(Sources(tmp_path))
    assert {code: [one.fix for one in ways] for code, ways in found.items()} == {"A01": ["way A01"], "A02": ["way A02"]}


def test_every_command_and_option_of_the_program_is_on_the_page() -> None:
    from typer.main import get_command

    from protocols.cli.app import app

    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    for name, command in get_command(app).commands.items():
        for parameter in command.params:
            if not getattr(parameter, "hidden", False) and "--help" not in parameter.opts:
                assert parameter.opts[0] in parts[name], (name, parameter.opts)


def test_the_source_of_words_reads_and_never_runs() -> None:
    tree = ast.parse((ROOT / "scripts" / "handbook" / "refusals.py").read_text(encoding="utf-8"))
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}
