"""The rooms of the three packages and who may import whom, read from the imports.

    python scripts/rooms.py            # print the diagram of docs/architecture.md and every import that goes up
    python scripts/rooms.py --write    # put the diagram into docs/architecture.md

A room is a folder of a package, or a module that stands at its top. `LADDER` lists the floors of each package, the lowest first. An
import may only go down: to a lower floor, to the same room, or, on the ground floor of `protocols`, to a neighbour. Lazy imports and
imports for type checkers count. tests/test_rooms.py holds the ladder, and compares the diagram with the page.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by `python scripts/rooms.py --write` -->", "<!-- end of rooms -->"

LADDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "encoders": (
        ("contract", "devices", "info", "splits", "check", "candidate_keys"),
        ("reliability", "gain", "acquisition", "backbones"),
        ("metrics", "readouts", "uncertainty"),
        ("analysis", "solvers", "storage"),
        ("encoder",),
        ("fields", "tuning"),
        ("fitting",),
    ),
    "synth": (
        ("contract", "devices", "steady"),
        ("objectives", "priors"),
        ("probe",),
        ("answers", "constraints", "parameterisations", "rules", "transforms"),
        ("accentuation", "batch", "lucent", "recipes", "starts"),
        ("batches", "graded"),
        ("parts",),
        ("ascent", "diffusion"),
        ("evolution", "search"),
        ("discriminative", "invariance", "simplification", "comparison"),
    ),
    "protocols": (
        ("arrays", "devices", "errors", "memory", "packages", "progress", "disk", "shards", "stats"),
        ("project",),
        ("recordings",),
        ("models", "verdict", "importing", "state", "libraries"),
        ("synthesis", "rounds", "report"),
        (
            "loop",
            "evolution",
            "insilico",
            "preview",
            "pages",
            "serve",
            "check",
            "status",
            "ahead",
            "plan",
            "reproduce",
            "demo",
            "sharing",
        ),
        ("cli",),
    ),
}
BESIDE = {"protocols": ("simulate",)}
"""Rooms that use the ground floor alone and that no other room imports."""
NEIGHBOURS = {"protocols": {"loop", "evolution"}}
"""Rooms that the others of their floor may import."""


class Import(NamedTuple):
    """One import of a module of ours: who imports, in which line, which module, which name of it."""

    path: Path
    line: int
    module: str
    name: str


def modules(package: str, root: Path = ROOT) -> list[Path]:
    """All modules of a package."""
    return sorted((root / package).rglob("*.py"))


def imports(path: Path, root: Path = ROOT) -> Iterator[Import]:
    """Every import of a module of the same package, with relative names resolved."""
    return iter(_imports(path, root, path.read_text(encoding="utf-8")))


@functools.cache
def _imports(path: Path, root: Path, text: str) -> tuple[Import, ...]:
    return tuple(_found(path, root, text))


def _found(path: Path, root: Path, text: str) -> Iterator[Import]:
    inside = path.relative_to(root)
    package = list(inside.parent.parts)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found = [(module, alias.name) for alias in node.names]
        else:
            continue
        yield from (Import(path, node.lineno, m, n) for m, n in found if m.split(".")[0] == inside.parts[0])


def room_of(path: Path, root: Path = ROOT) -> str:
    """The room of a module: the folder below the package, or the module's own name where it stands at the top."""
    return path.relative_to(root).parts[1].removesuffix(".py")


def target_room(found: Import, root: Path = ROOT) -> str:
    """The room that is imported, "" where it is the package itself (its public door)."""
    parts = found.module.split(".")
    if len(parts) > 1:
        return parts[1]
    place = root / parts[0] / found.name
    return found.name if place.is_dir() or place.with_suffix(".py").is_file() else ""


def floors(package: str) -> dict[str, int]:
    """The floor of each room, 0 the lowest."""
    return {room: number for number, rooms in enumerate(LADDER[package]) for room in rooms}


def allowed(package: str, room: str, target: str) -> bool:
    """Whether `room` may import `target`."""
    floor, beside = floors(package), BESIDE.get(package, ())
    if room == target:
        return True
    if target in beside or target not in floor:
        return False
    if room in beside:
        return floor[target] == 0
    if floor[target] < floor[room]:
        return True
    ground = floor[target] == floor[room] == 0 and package == "protocols"
    return ground or (floor[target] == floor[room] and target in NEIGHBOURS.get(package, set()))


def breaches(package: str, root: Path = ROOT) -> list[str]:
    """One line per import that the ladder forbids, and per name with an underscore that is imported from another room."""
    lines = []
    for path in modules(package, root):
        room = room_of(path, root)
        for found in imports(path, root):
            target, where = target_room(found, root), f"{path.relative_to(root).as_posix()}:{found.line}"
            if room in ("__init__", "__main__"):
                continue
            if target == "":
                lines.append(f"{where}: imports the package itself; import {found.name!r} from its module")
            elif not allowed(package, room, target):
                lines.append(f"{where}: {room} must not import {target} ({found.module})")
            elif target != room and found.name.startswith("_"):
                lines.append(f"{where}: {found.name} is private to {target}")
    return lines


def arrows(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Which rooms each room imports."""
    known: dict[str, set[str]] = {}
    for path in modules(package, root):
        room = room_of(path, root)
        if room in ("__init__", "__main__"):
            continue
        targets = known.setdefault(room, set())
        targets |= {t for found in imports(path, root) if (t := target_room(found, root)) not in ("", room)}
    return known


def circle(package: str, root: Path = ROOT) -> list[str]:
    """Modules that import one another in a circle, in order; [] where there is none."""
    graph = {_dotted(path, root): _modules_imported(path, root) for path in modules(package, root)}
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done or module not in graph:
            return []
        for target in sorted(graph[module]):
            if around := visit(target, [*trail, module]):
                return around
        done.add(module)
        return []

    return next((around for module in sorted(graph) if (around := visit(module, []))), [])


def _dotted(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def _modules_imported(path: Path, root: Path) -> set[str]:
    """Modules that a module imports; an `__init__` counts for what is imported from it alone."""
    listed = set()
    for found in imports(path, root):
        inner = f"{found.module}.{found.name}"
        place = root / inner.replace(".", "/")
        listed.add(inner if place.is_dir() or place.with_suffix(".py").is_file() else found.module)
    return listed - {_dotted(path, root)}


def diagram(root: Path = ROOT) -> str:
    """The ladder of each package as text, the highest floor first: every room with the rooms that it imports."""
    blocks = []
    for package in LADDER:
        known, lines = arrows(package, root), []
        rows = [*enumerate(LADDER[package])][::-1]
        width = max(len(room) for room in known)
        for number, rooms in rows:
            for room in rooms:
                targets = ", ".join(sorted(known.get(room, set()))) or "-"
                lines.append(f"{number}  {room:<{width}}  ->  {targets}")
        for room in BESIDE.get(package, ()):
            lines.append(f"*  {room:<{width}}  ->  {', '.join(sorted(known.get(room, set())))}")
        blocks.append(f"{package}/\n" + "\n".join(lines))
    return "```text\n" + "\n\n".join(blocks) + "\n```"


def page_with(text: str, drawn: str) -> str:
    """The page with the diagram between its two marks."""
    if BEGIN not in text or END not in text:
        raise ValueError(
            f"docs/architecture.md lacks the lines {BEGIN!r} and {END!r}; put them where the diagram belongs"
        )
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n{drawn}\n{END}", text, count=1, flags=re.DOTALL)


def main() -> int:
    """Print or write the diagram; returns 1 where an import goes up."""
    parser = argparse.ArgumentParser(description="Rooms and imports of the packages.")
    parser.add_argument("--write", action="store_true", help="put the diagram into docs/architecture.md")
    options = parser.parse_args()
    if options.write:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), diagram()), encoding="utf-8")
    else:
        print(diagram())
    lines = [line for package in LADDER for line in breaches(package)]
    print("\n".join(lines), file=sys.stderr) if lines else None
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
