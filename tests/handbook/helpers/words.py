"""The words that the program prints, and those of them that no reader has been told.

python -m tests.handbook.helpers.words --missing     # words that stand neither in the glossary nor among the plain ones
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GLOSSARY = ROOT / "docs" / "glossary.md"
PLAIN = ROOT / "tests" / "handbook" / "plain_words.txt"
MADE = ("docs/commands.md", "docs/settings.md")
"""Pages that are made from help texts and descriptions of keys."""
PRINTING = ("cli", "report", "pages", "preview", "verdict", "check", "serve")
"""Rooms of `protocols` whose one-word texts are headings of tables and labels of figures."""
CODE = re.compile(
    r"`[^`]*`|\{[^{}]*\}|<[^<>]*>|&#?\w+;|https?:\S+|--[\w-]+"  # code, fields, tags, entities, addresses, options
    r"|[\w.-]*[/\\=][\w./\\=-]*|\w+(?:\.\w+)+|\w*_\w*|\.\w+"  # paths, assignments, names of modules, of keys and of files
)
WORD = re.compile(r"[A-Za-z][a-z]{2,}")


def words_of(text: str) -> set[str]:
    """The words of a text of three letters or more in small letters, without what is code in it."""
    return {word.lower() for word in WORD.findall(CODE.sub(" ", text))}


def constants(path: Path) -> Iterator[str]:
    """The texts in a module of Python that are no docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def printed() -> Iterator[str]:
    """Texts that a reader meets: sentences of the code, headings of tables, pages, help texts, keys of project.toml."""
    for path in sorted((ROOT / "protocols").rglob("*.py")):
        room = path.relative_to(ROOT / "protocols").parts[0]
        for text in constants(path):
            if " " in text.strip() or (room in PRINTING and re.fullmatch(r"[A-Za-z][a-z]+", text)):
                yield text
    for path in sorted((ROOT / "protocols").rglob("*.html")):
        yield re.sub(r"<(style|script)\b.*?</\1>|\{%.*?%\}", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path in sorted((ROOT / "protocols").rglob("*.js")):
        for text in re.findall(r"\"([^\"\n]*)\"|`([^`]*)`", path.read_text(encoding="utf-8")):
            yield from (re.sub(r"\$\{[^}]*\}", " ", part) for part in text if " " in part.strip())
    for place in MADE:
        yield (ROOT / place).read_text(encoding="utf-8")


def explained() -> set[str]:
    """The words of the first column of the glossary."""
    rows = re.findall(r"^\| (?!word \|)([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {word.lower() for row in rows for word in WORD.findall(row)}


def plain() -> set[str]:
    """The words that need no entry."""
    lines = PLAIN.read_text(encoding="utf-8").splitlines() if PLAIN.is_file() else []
    return {word for line in lines if not line.startswith("#") for word in line.split()}


def known(word: str, told: set[str]) -> bool:
    """Whether a word is among those told, as it is or in another form (plural, past, -ing)."""
    forms = {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("d"), word.removesuffix("ed")}
    forms |= {word.removesuffix("ing"), f"{word.removesuffix('ing')}e", f"{word.removesuffix('ies')}y", f"{word}s"}
    if re.search(r"(.)\1(ed|ing)$", word):
        forms.add(re.sub(r"(.)\1(ed|ing)$", r"\1", word))
    return bool(forms & told)


def missing() -> list[str]:
    """Printed words that stand in neither list, in order."""
    told = explained() | plain()
    return sorted(word for word in set().union(*map(words_of, printed())) if not known(word, told))


def main() -> None:
    """Print the missing words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", required=True)
    parser.parse_args()
    print("\n".join(missing()))


if __name__ == "__main__":
    main()
