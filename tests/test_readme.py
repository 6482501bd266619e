"""The pages: programs are Python and import what exists; every command, file, module and function that is named exists."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]

PYTHON = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "scripts/studies/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# A path of the repository, with the name of a function, a class or a method after a colon where one is meant.
PLACE = re.compile(
    r"(?<![\w./-])((?:encoders|synth|protocols|scripts|tests|docs|\.ci)/[\w./*-]*[\w/*])(?::([A-Za-z_]\w*(?:\.\w+)*))?"
)
DOTTED = re.compile(r"(?<![\w./-])((?:encoders|synth|protocols)(?:\.[A-Za-z_]\w*)+)")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PROGRAMS = [(page, block) for page in PAGES for block in PYTHON.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "block"), PROGRAMS, ids=[f"{name(page)}-{i}" for i, (page, _) in enumerate(PROGRAMS)])
def test_a_program_imports_what_exists(page: Path, block: str) -> None:
    for node in ast.walk(ast.parse(textwrap.dedent(block))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("encoders", "synth", "protocols"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), f"{name(page)}: {block}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_named_exists(page: Path) -> None:
    from protocols.cli.app import app

    known = set(get_command(app).commands)
    named = set(re.findall(r"stimsynth (\w+)", page.read_text(encoding="utf-8"))) - {
        "fits",
        "is",
        "and",
        "wrote",
        "again",
    }
    assert named <= known
    assert named or page.name != "README.md" or page.parent != ROOT


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_linked_exists(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{name(page)} links {missing}"


@cache
def defined(path: Path) -> frozenset[str]:
    """What a module defines at its top, and what its classes define, as `Class.method`."""
    names: set[str] = set()

    def collect(body: list[ast.stmt], above: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(above + node.name)
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{above}{node.name}.")
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            names.update(above + target.id for target in targets if isinstance(target, ast.Name))

    collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(names)


def missing_places(text: str) -> list[str]:
    """Paths that do not exist, and names that their files do not define; a path followed by "(new)" is an example."""
    missing = []
    for match in PLACE.finditer(text):
        path, what = match.groups()
        if re.match(r"`?\s+\(new\)", text[match.end() :]):
            continue
        files = sorted(ROOT.glob(path)) if "*" in path else [ROOT / path]
        if not files or not files[0].exists() or (what and what not in defined(files[0])):
            missing.append(match[0])
    return missing


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = dotted.split(".")
    place = ROOT
    while parts and ((place / parts[0]).is_dir() or (place / f"{parts[0]}.py").is_file()):
        place /= parts.pop(0)
    module: object = importlib.import_module(place.relative_to(ROOT).as_posix().replace("/", "."))
    for part in parts:
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_and_function_named_exists(page: Path) -> None:
    missing = missing_places(page.read_text(encoding="utf-8"))
    assert not missing, f"{name(page)} names {missing}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_dotted_name_exists(page: Path) -> None:
    missing = [dotted for dotted in DOTTED.findall(page.read_text(encoding="utf-8")) if not exists(dotted)]
    assert not missing, f"{name(page)} names {missing}"


def test_wrong_places_are_seen() -> None:
    wrong = [
        "protocols/session.py",
        "protocols/loop.py:walk",
        "synth/batch.py:StimulusBatch.fly",
        "tests/nothing/test_*.py",
    ]
    right = ["protocols/loop.py:run", "synth/batch.py:StimulusBatch.validate", "tests/synth/", "synth/rules.py"]
    assert missing_places(f"`{'`, `'.join([*wrong, *right])}`.") == wrong
    assert missing_places("`protocols/recordings/readers/csv.py` (new), `protocols/x.py` (newer)") == ["protocols/x.py"]
    assert exists("synth.recipes.quick")
    assert exists("protocols.report.learning.learning_curve")
    assert not exists("protocols.report.learning.learning_line")
    assert not exists("protocols.session")
    assert DOTTED.findall("`synth.batch`. See docs/synth.md and protocols.") == ["synth.batch"]


def test_protocols_evaluate_is_the_function_however_it_is_reached() -> None:
    import protocols
    import protocols.loop

    assert callable(protocols.evaluate)
    assert callable(protocols.run)
    assert protocols.evaluate is importlib.import_module("protocols.verdict.evaluate").evaluate


def test_the_module_that_one_brings_runs_as_printed() -> None:
    page = ROOT / "docs" / "programs.md"
    block = next(b for b in PYTHON.findall(page.read_text(encoding="utf-8")) if "check_encoder" in b)
    names: dict[str, object] = {}
    exec(compile(block, name(page), "exec"), names)
    assert len(names["batch"]) == 1  # type: ignore[arg-type]
