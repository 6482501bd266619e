"""What the code says where it raises an error code, read from the source: what was found, the likely cause, the way out.

Errors are `DataError(where, found=, expected=, cause=, fix=, code=)`. Where a helper makes the error, the words come from the calls of
the helper; where a text holds a value, "..." stands for it.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("found", "expected", "cause", "fix")
DEEPEST = 5
"""Helpers that call one another, at most."""


class Refusal(NamedTuple):
    """One way in which a code is raised; "" where its words are made elsewhere."""

    found: str
    expected: str
    cause: str
    fix: str


@dataclass(eq=False)
class Place:
    """A function, or the top of a module, with the texts that its names can be."""

    name: str
    module: str
    parameters: list[str] = field(default_factory=list)
    defaults: dict[str, ast.expr] = field(default_factory=dict)
    texts: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))
    calls: list[ast.Call] = field(default_factory=list)


Chain = tuple[tuple[Place, Mapping[str, ast.expr]], ...]
"""Who called, with which arguments: the nearest caller first."""


class Sources:
    """All functions of `protocols` and their calls."""

    def __init__(self, root: Path = ROOT) -> None:
        self.places: list[Place] = []
        self.imports: dict[str, dict[str, str]] = {}
        self.tops: dict[str, Place] = {}
        for path in sorted((root / "protocols").rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            tree = tree_of(path)
            self.imports[module] = _imported(tree, module)
            self.tops[module] = Place("", module)
            self.places.append(self.tops[module])
            self._collect(tree, self.tops[module])
        self.callers: dict[str, list[tuple[Place, ast.Call]]] = defaultdict(list)
        for place in self.places:
            for call in place.calls:
                self.callers[called(call)].append((place, call))

    def _collect(self, node: ast.AST, place: Place) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                self.places.append(_function(child, place.module))
                self._collect(child, self.places[-1])
                continue
            if isinstance(child, ast.Call):
                place.calls.append(child)
            for name, value in _assigned(child):
                place.texts[name].append(value)
            self._collect(child, place)

    def contexts(self, place: Place, wanted: set[str], depth: int = 0) -> Iterator[Chain]:
        """The chains of calls that give the wanted parameters of a function their values."""
        asked = wanted & set(place.parameters)
        found = False
        if asked and depth < DEEPEST:
            for caller, call in self.callers[place.name]:
                near = caller.module == place.module
                if not near and self.imports[caller.module].get(place.name) != place.module:
                    continue
                arguments = _arguments(call, place.parameters, place.defaults)
                names = {
                    node.id
                    for key in asked
                    if key in arguments
                    for node in ast.walk(arguments[key])
                    if isinstance(node, ast.Name)
                }
                for above in self.contexts(caller, names, depth + 1):
                    found = True
                    yield ((caller, arguments), *above)
        if not found:
            yield ()

    def words(self, node: ast.expr | None, place: Place, chain: Chain, depth: int = 0) -> list[str]:
        """The texts that an expression can be; none where no words stand in it."""
        if node is None or depth > DEEPEST:
            return []
        deeper = depth + 1
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) and node.value else []
        if isinstance(node, ast.JoinedStr):
            pieces = [self._piece(part, place, chain, deeper) for part in node.values]
            return [_filled("".join(choice)) for choice in islice(product(*pieces), 4)]
        if isinstance(node, ast.IfExp):
            return [*self.words(node.body, place, chain, deeper), *self.words(node.orelse, place, chain, deeper)]
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self.words(value, place, chain, deeper)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self.words(side, place, chain, deeper) or ["..."] for side in (node.left, node.right)]
            return [_filled(a + b) for a, b in product(*sides) if (a, b) != ("...", "...")][:4]
        if isinstance(node, ast.Name):
            return self._named(node.id, place, chain, deeper)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("rstrip", "strip")
        ):
            return self.words(node.func.value, place, chain, deeper)
        return []

    def _named(self, name: str, place: Place, chain: Chain, depth: int) -> list[str]:
        if name in place.parameters:
            if chain and name in chain[0][1]:
                return self.words(chain[0][1][name], chain[0][0], chain[1:], depth)
            return []
        values = place.texts.get(name) or self.tops[place.module].texts.get(name)
        home = self.imports[place.module].get(name)
        if not values and home in self.tops:
            return [
                text for value in self.tops[home].texts.get(name, []) for text in self.words(value, self.tops[home], ())
            ]
        return [text for value in (values or [])[:4] for text in self.words(value, place, chain, depth)]

    def _piece(self, node: ast.expr, place: Place, chain: Chain, depth: int) -> list[str]:
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        inside = node.value if isinstance(node, ast.FormattedValue) else node
        plain = isinstance(inside, ast.Constant | ast.IfExp) or (isinstance(inside, ast.Name) and inside.id.isupper())
        return (self.words(inside, place, chain, depth) if plain else []) or ["..."]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module, which nobody changes; read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def called(call: ast.Call) -> str:
    """The name of the function that a call names, without its module or object."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _imported(tree: ast.Module, module: str) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = ".".join(module.split(".")[: -node.level]) if node.level else ""
            home = ".".join(part for part in (above, node.module) if part)
            found.update({alias.asname or alias.name: home for alias in node.names})
    return found


def _function(node: ast.FunctionDef, module: str) -> Place:
    plain, keywords = [*node.args.posonlyargs, *node.args.args], node.args.kwonlyargs
    defaults = dict(zip((a.arg for a in reversed(plain)), reversed(node.args.defaults), strict=False))
    defaults.update({a.arg: d for a, d in zip(keywords, node.args.kw_defaults, strict=True) if d is not None})
    return Place(node.name, module, [a.arg for a in [*plain, *keywords]], defaults)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they become, in plain assignments and in those of several at once."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for one, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(one, ast.Name):
                    yield one.id, value


def _arguments(call: ast.Call, parameters: list[str], defaults: Mapping[str, ast.expr]) -> dict[str, ast.expr]:
    names = parameters[1:] if parameters[:1] in (["self"], ["cls"]) else parameters
    given = dict(zip(names, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    return {**defaults, **given}


def _filled(text: str) -> str:
    """One "..." where several values follow one another."""
    return re.sub(r"\.\.\.(?:[\s,]*\.\.\.)+", "...", text)


def refusals(sources: Sources) -> dict[str, list[Refusal]]:
    """Every code with the ways in which it is raised, in the order of the source, the same words once."""
    found: dict[str, list[Refusal]] = defaultdict(list)
    for place in sources.places:
        for call in place.calls:
            if called(call) not in ("DataError", "cls"):
                continue
            given = _arguments(call, ["where"], {})
            wanted = {n.id for v in given.values() for n in ast.walk(v) if isinstance(n, ast.Name)}
            for chain in sources.contexts(place, wanted):
                said = {part: sources.words(given.get(part), place, chain) for part in PARTS}
                for code in sources.words(given.get("code"), place, chain):
                    for at in range(max(map(len, said.values()), default=0)):
                        one = Refusal(**{part: t[min(at, len(t) - 1)] if t else "" for part, t in said.items()})
                        if one not in found[code]:
                            found[code].append(one)
    return dict(found)


@functools.cache
def of_protocols() -> dict[str, list[Refusal]]:
    """The refusals of the package, read once."""
    return refusals(Sources())
