"""The tables of docs/trust.md: what they promise, and the property tests that the files really hold.

python tests/trust/helpers/page.py --write     # the table of property tests anew
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "trust.md"
BEGIN, END = (
    "<!-- property tests: made by `python tests/trust/helpers/page.py --write` -->",
    "<!-- end of property tests -->",
)
DEFAULT = 100  # examples of a property test that states no number


@dataclass(frozen=True)
class Row:
    """A row of the page: the test (or file), how many runs it has, how many inputs each."""

    test: str
    runs: int
    inputs: int


def rows() -> list[Row]:
    """The rows of all tables of the page; numbers are written "60" or "4 x 550"."""
    if not PAGE.is_file():
        return []
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        test = re.search(r"`(tests/[\w./]+(?:::\w+)?)`", line)
        number = re.search(r"\| *(?:(\d+) x )?([\d,]+) *\|", line)
        if test and number and line.startswith("|"):
            found.append(Row(test.group(1), int(number.group(1) or 1), int(number.group(2).replace(",", ""))))
    return found


def promised(test: str) -> int:
    """How many inputs the page says that one run of `test` ("tests/...::test_...[...]") tries; 0 where it names none."""
    return {row.test: row.inputs for row in rows()}.get(test.partition("[")[0], 0)


def property_tests(path: Path) -> dict[str, int]:
    """Name of each property test of a file to its number of examples."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and any(_is(d, "given") for d in node.decorator_list)
        ):
            stated = [examples for d in node.decorator_list if (examples := _examples(d, tree)) is not None]
            found[node.name] = stated[0] if stated else DEFAULT
    return found


def _is(node: ast.expr, name: str) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    return (isinstance(function, ast.Name) and function.id == name) or (
        isinstance(function, ast.Attribute) and function.attr == name
    )


def _examples(node: ast.expr | None, tree: ast.Module) -> int | None:
    """Examples that a `settings(...)` or the name of one states; None where it states none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return _examples(_assigned(node.id, tree), tree)
    if isinstance(node, ast.Call) and _is(node, "settings"):
        for keyword in node.keywords:
            if keyword.arg == "max_examples":
                return _examples(keyword.value, tree)
        return _examples(node.args[0], tree) if node.args else None
    return None


def _assigned(name: str, tree: ast.Module) -> ast.expr | None:
    """The value of a name at the top of the module, or of the module of the tests that it is imported from."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("tests.")
            and name in {a.name for a in node.names}
        ):
            other = ROOT / f"{str(node.module).replace('.', '/')}.py"
            return _assigned(name, ast.parse(other.read_text(encoding="utf-8"))) if other.is_file() else None
    return None


def property_files() -> dict[str, dict[str, int]]:
    """Every test file with property tests, outside of tests/trust: its tests and their examples."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = {
        p.relative_to(ROOT).as_posix(): property_tests(p) for p in files if "trust" not in p.relative_to(ROOT).parts
    }
    return {name: tests for name, tests in found.items() if tests}


def table() -> str:
    """The table of property tests: what each file says of itself, and how many inputs it generates."""
    lines = ["| what is generated and compared | property tests | inputs | repeat |", "|---|---|---|---|"]
    for name, tests in property_files().items():
        about = (ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        about = " ".join(about.split()).replace("|", "/").rstrip(".")
        lines.append(f"| {about} | {len(tests)} tests | {sum(tests.values()):,} | `{name}` |")
    return "\n".join(lines)


def write() -> None:
    """Put the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    write() if "--write" in sys.argv else print(table())
