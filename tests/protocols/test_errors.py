"""Every error code is listed once, is used, and is raised by one module alone."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

from protocols.errors import CODES, DataError

PACKAGE = Path(__file__).parents[2] / "protocols"
CODE = re.compile(r"[A-Z]\d{2}|error\[[A-Z]\d{2}\].*", re.DOTALL)  # a text of its own, or the head of a message


@functools.cache
def uses() -> dict[str, set[str]]:
    """Code to the modules whose syntax trees hold it as a text of its own."""
    found = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                found[node.value.removeprefix("error[")[:3]].add(path.relative_to(PACKAGE).as_posix())
    return found


def test_the_codes_used_are_the_codes_listed() -> None:
    assert sorted(uses()) == sorted(CODES)


def test_no_code_has_two_homes() -> None:
    assert {code: sorted(modules) for code, modules in uses().items() if len(modules) > 1} == {}


def test_every_code_has_one_plain_sentence() -> None:
    assert list(CODES) == sorted(CODES)
    assert len(set(CODES.values())) == len(CODES)
    assert all(re.fullmatch(r"[A-Z].*[^.]\.", text) for text in CODES.values())


def test_an_error_says_where_what_why_and_the_way_out() -> None:
    error = DataError("a.csv", found="x", expected="y", cause="z", fix="do", code="K01")
    assert str(error) == "error[K01] a.csv: found x; expected y. Likely cause: z. Fix: do."
    assert (error.where, error.code) == ("a.csv", "K01")


def test_a_way_out_that_is_a_question_ends_as_one() -> None:
    told = {"where": "a", "found": "b", "expected": "c", "cause": "d", "code": "A11"}
    assert str(DataError(told.pop("where"), **told, fix="did you mean e?")).endswith("Fix: did you mean e?")
    assert str(DataError("a", **told, fix="do e")).endswith("Fix: do e.")
