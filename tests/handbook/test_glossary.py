"""The glossary holds the words of the field that the program prints, and no others; no printed word is left out."""

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
from tests.handbook.helpers import words

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


def test_no_printed_word_is_without_explanation() -> None:
    found = words.missing()
    assert not found, (
        f"explain them in docs/glossary.md, or add them to tests/handbook/plain_words.txt: {' '.join(found)}"
    )


def test_a_new_word_is_found_in_a_sentence_a_heading_and_a_help_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert words.words_of("a quokka of 3 sites; `code.quokka_x`, a/wombat.py, --numbat, {wallaby}") == {
        "quokka",
        "sites",
    }
    assert [w for w in ("control", "controls", "controlled", "controlling", "planned", "studies", "used", "quokka") if words.known(w, {"control", "plan", "study", "use"})] == [
        "control", "controls", "controlled", "controlling", "planned", "studies", "used",
    ]  # fmt: skip
    texts = list(words.printed())
    for sentence in ("a quokka of the rig", "Quokka"):
        monkeypatch.setattr(words, "printed", lambda more=sentence: [*texts, more])
        assert words.missing() == ["quokka"]


def test_the_words_come_from_messages_headings_pages_help_and_keys() -> None:
    text = "\n".join(words.printed())
    for part in (
        "did you mean",
        "reliability",
        "Presentations of each photograph in the baseline round",
        "open the report in the browser",
    ):
        assert part in text
    assert len(text) > 200_000
