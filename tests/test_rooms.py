"""The house has rooms on a ladder: imports go down, folders and modules stay small, functions stay short."""

from __future__ import annotations

import ast
import functools
import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import rooms  # noqa: E402

PACKAGES = tuple(rooms.LADDER)
MODULES = [path for package in PACKAGES for path in rooms.modules(package)]
MOST_MODULES, MOST_LINES, MEDIAN_LINES = 15, 400, 150
MOST_BODY, MEDIAN_BODY, MOST_ARGUMENTS, MOST_POSITIONAL, MOST_BUILT = 50, 8, 8, 3, 4


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_the_ladder(package):
    assert rooms.breaches(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_one_another_in_a_circle(package):
    assert rooms.circle(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_stands_on_the_ladder(package):
    known = {rooms.room_of(path) for path in rooms.modules(package)} - {"__init__", "__main__"}
    assert known == {*rooms.floors(package), *rooms.BESIDE.get(package, ())}


def test_protocols_has_at_most_seven_floors():
    assert len(rooms.LADDER["protocols"]) <= 7


def house(folder: Path, files: dict[str, str]) -> Path:
    """A folder with a small package `protocols`, each file with the given text."""
    for place, text in files.items():
        path = folder / "protocols" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


GROUND = {
    "__init__.py": "",
    "disk/__init__.py": "",
    "disk/files.py": "",
    "project/__init__.py": "",
    "project/key.py": "",
}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("disk/files.py", "from protocols.project.key import Key"),
        ("disk/files.py", "def f():\n    from protocols.project.key import Key"),
        (
            "disk/files.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from protocols.project.key import Key",
        ),
        ("disk/files.py", "import protocols.project.key"),
        ("disk/files.py", "from protocols.project import key"),
        ("disk/files.py", "from protocols import project"),
        ("loop.py", "from protocols.cli import main"),
        ("loop.py", "from .cli import main"),
        ("loop.py", "from protocols.simulate.rig import answer"),
        ("loop.py", "from protocols import run"),
        ("simulate/rig.py", "from protocols.project.key import Key"),
        ("rounds/arms.py", "from protocols.report.page import write"),
        ("loop.py", "from protocols.project.key import _row"),
        ("loop.py", "from protocols.wanted import x"),
    ],
)
def test_the_wall_sees_every_kind_of_breach(place, line, tmp_path):
    root = house(tmp_path, {**GROUND, place: line})
    assert len(rooms.breaches("protocols", root)) == 1


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("project/key.py", "from protocols.disk.files import read"),
        ("disk/files.py", "from protocols.errors import DataError"),
        ("project/key.py", "from .folder import _private"),
        ("check.py", "from protocols import loop"),
        ("simulate/rig.py", "from protocols.disk.files import read"),
        ("__init__.py", "from .project.key import Key"),
    ],
)
def test_the_wall_lets_the_allowed_ones_through(place, line, tmp_path):
    extra = {"errors.py": "", "loop.py": "", "project/folder.py": ""}
    root = house(tmp_path, {**GROUND, **extra, place: line})
    assert rooms.breaches("protocols", root) == []


def test_a_circle_is_seen_through_lazy_imports(tmp_path):
    files = {
        "disk/a.py": "from .b import x",
        "disk/b.py": "def f():\n    from .c import x",
        "disk/c.py": "from .a import x",
    }
    root = house(tmp_path, {**GROUND, **files})
    assert rooms.circle("protocols", root)[0] == "protocols.disk.a"
    assert rooms.circle("protocols", house(tmp_path, {"disk/c.py": ""})) == []


def test_the_diagram_of_the_architecture_page_is_the_one_of_the_imports():
    text = rooms.PAGE.read_text(encoding="utf-8")
    assert rooms.page_with(text, rooms.diagram()) == text, "run `python scripts/rooms.py --write`"


def test_folders_stay_small():
    folders = {path.parent for path in MODULES}
    large = {
        name(f): n for f in folders if (n := len([p for p in f.glob("*.py") if p.stem != "__init__"])) > MOST_MODULES
    }
    assert not large, f"more than {MOST_MODULES} modules: {large}"


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_modules_stay_short():
    long = {name(p): lines_of(p) for p in MODULES if lines_of(p) > MOST_LINES}
    assert not long, f"more than {MOST_LINES} lines: {long}"
    assert statistics.median(map(lines_of, MODULES)) <= MEDIAN_LINES


@functools.cache
def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function as (place, node, whether its first argument is the object)."""
    listed = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        methods = {id(n): c.name for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for n in c.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                owner = methods.get(id(node))
                static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
                place = f"{name(path)}:{owner + '.' if owner else ''}{node.name}"
                listed.append((place, node, owner is not None and not static))
    return listed


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


def test_functions_stay_short():
    lengths = {place: body_lines(node) for place, node, _ in functions()}
    long = {place: n for place, n in lengths.items() if n > MOST_BODY}
    assert not long, f"more than {MOST_BODY} lines: {long}"
    assert statistics.median(lengths.values()) <= MEDIAN_BODY


# Doors to which a user gives many named options, each with a default; all keyword-only after the third.
MANY_OPTIONS = {
    "encoders/analysis/similarity.py:representational_similarity",
    "encoders/analysis/similarity.py:robust_rdm_similarity",
    "encoders/fitting/compare.py:compare",
    "encoders/fitting/few_shot.py:few_shot_encoder",
    "encoders/readouts/attention.py:SemanticTransformerReadout.__init__",
    "encoders/readouts/factorised.py:FactorisedReadout.__init__",
    "encoders/readouts/linear.py:LinearReadout.__init__",
    "encoders/readouts/topographic.py:TopographicReadout.__init__",
    "encoders/solvers/gradient.py:train",
    "encoders/tuning/fine_tune.py:fine_tune",
    "synth/ascent/ascend.py:ascend",
    "synth/constraints/exact.py:exact_statistics",
    "synth/diffusion/guidance.py:guide",
    "synth/evolution/evolve.py:evolve",
    "synth/priors/pretrained.py:pretrained",
}
# Called by position through a contract that is not ours to choose (torch's functions and tensors), or one of four arguments that
# every row of a table has (the terms of an objective: images, standardised responses, columns, settings).
BY_CONTRACT = {
    "encoders/backbones/layout.py:LaidOut.__torch_function__",
    "encoders/backbones/strided.py:_Convolve.forward",
    "synth/constraints/solve.py:Project.forward",
    *(f"synth/objectives/terms.py:{name}" for name in ("stretch", "suppress", "one_hot", "rate_softmax", "margin")),
    *(
        f"synth/objectives/terms.py:{name}"
        for name in ("discriminate", "groups", "level", "pattern", "within", "diverse")
    ),
}
# Commands of the command line: typer makes one option of each argument.
COMMANDS = "protocols/cli/"


def test_functions_take_few_arguments():
    many, positional, listed = {}, {}, set()
    for place, node, bound in functions():
        if place.startswith(COMMANDS):
            continue
        first = len(node.args.posonlyargs) + len(node.args.args) - bound
        if first > MOST_POSITIONAL and place not in BY_CONTRACT:
            positional[place] = first
        if first + len(node.args.kwonlyargs) > MOST_ARGUMENTS:
            listed.add(place)
            if place not in MANY_OPTIONS:
                many[place] = first + len(node.args.kwonlyargs)
    assert not many, f"more than {MOST_ARGUMENTS} arguments: {many}"
    assert not positional, f"more than {MOST_POSITIONAL} positional arguments: {positional}"
    assert listed == MANY_OPTIONS, f"no longer an exception: {MANY_OPTIONS - listed}"


def test_records_are_built_by_keyword():
    """Two of many arguments exchanged by position would pass unseen."""
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) > MOST_BUILT:
                called = ast.unparse(node.func).rpartition(".")[2]
                if called[:1].isupper() and called not in {"Sequential"}:
                    found.append(f"{name(path)}:{node.lineno} {called}")
    assert not found, f"more than {MOST_BUILT} arguments by position: {found}"


def aliases(path: Path) -> list[str]:
    """Names of array and callable types that a module defines at its top level."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Subscript) and ast.unparse(value.value) in {"NDArray", "Callable"}:
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_alias_has_one_home_per_package(package):
    homes: dict[str, list[str]] = {}
    for path in rooms.modules(package):
        for alias in aliases(path):
            homes.setdefault(alias, []).append(name(path))
    assert not {alias: places for alias, places in homes.items() if len(places) > 1}
