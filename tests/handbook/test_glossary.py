"""The glossary holds the words of the field that the program prints, and no others."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from protocols.project.key import ROLES
from protocols.project.objectives import OBJECTIVES
from protocols.verdict.records import VERDICTS
from scripts.handbook.refusals import tree_of

pytestmark = pytest.mark.xdist_group("handbook")
ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (?!word \|)([^|]+) \|([^|]+)\|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE
)
TERMS = {term.strip(' "'): meaning.strip() for term, meaning in ROWS}
OPAQUE = """alpha; anchor; arm; Benjamini-Hochberg; blank; ceiling; chance; chroma; confirmatory; controller; distance; drift; FEVE; futile;
generation; graded; group p; held-out; kappa; log S; look; natural SD; noise-corrected r; outside; sealed; prequential; readout; refit;
reference; reliability; RMS contrast; room; selectivity; shard; shortfall; trunk; true control; validator; Wilson"""
"""Words that a reader from the field cannot be expected to know in this meaning."""


def known(word: str) -> bool:
    """Whether the glossary has the word, in one of its spellings or as part of a term."""
    plain = word.lower().replace("-", " ").replace("_", " ")
    return any(plain in term.lower().replace("-", " ").replace("_", " ") for term in TERMS)


@functools.cache
def printed() -> str:
    """All texts of `protocols` but docstrings: messages, tables, pages."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "protocols").rglob("*.html")]
    for path in sorted((ROOT / "protocols").rglob("*.py")):
        nodes = list(ast.walk(tree_of(path)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
        texts += [node.value for node in constants if isinstance(node.value, str)]
    return "\n".join(texts).lower()


@pytest.mark.parametrize("word", [word.strip() for word in OPAQUE.replace("\n", " ").split(";")])
def test_an_opaque_word_that_is_printed_is_explained(word: str) -> None:
    assert word.lower() in printed()
    assert known(word)


@pytest.mark.parametrize("word", [*ROLES, *OBJECTIVES, *VERDICTS])
def test_roles_objectives_and_verdicts_are_explained(word: str) -> None:
    assert known(word)


@pytest.mark.parametrize("term", TERMS)
def test_a_word_of_the_glossary_is_printed(term: str) -> None:
    if term.startswith("score 2.10"):  # a line of output as a whole
        return
    for word in term.split(", "):
        plain = word.lower()
        assert plain in printed() or plain.replace(" ", "_") in printed() or plain.replace(" ", "-") in printed(), word


def test_terms_stand_once_and_in_order() -> None:
    terms = [term.strip(' "').lower() for term, _ in ROWS]
    assert terms == sorted(set(terms))


def test_a_word_that_is_not_there_is_seen() -> None:
    assert not known("quokka")
    assert "quokka" not in printed()
