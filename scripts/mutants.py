"""The small faults of mutation testing: made by mutmut's operators in the source of a module, applied in the running process.

`mutation.py` runs the tests against them.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.abc
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst as cst
from libcst import matchers
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault: the function that holds it, the lines of its statement, the node that is replaced and by what."""

    name: str
    module: str
    owner: str
    function: cst.FunctionDef
    lines: tuple[int, int]
    node: cst.CSTNode
    fault: cst.CSTNode

    def source(self) -> str:
        """The function with the fault."""
        return str(cst.Module([self.function.deep_replace(self.node, self.fault)]).code)

    def difference(self) -> str:
        """The changed lines."""
        before, after = cst.Module([self.function]).code.splitlines(), self.source().splitlines()
        lines = difflib.unified_diff(before, after, lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _without_decorators(function: Any, parts: dict[str, Any]) -> Any:
    """Decorated functions are mutated too: their code is replaced beneath the decorator. Empty lines keep the others' numbers."""
    lines = sum(cst.Module([]).code_for_node(d).count("\n") for d in function.decorators)
    empty = [cst.EmptyLine(indent=False)] * lines
    return function.with_changes(decorators=[], leading_lines=[*function.leading_lines, *empty])


def mutants_of(path: str) -> list[Mutant]:
    """All mutants of one module, numbered in the order of its source."""
    text = (ROOT / path).read_text()
    wrapper = MetadataWrapper(matchers.replace(cst.parse_module(text), matchers.FunctionDef(), _without_decorators))
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    wrapper.visit(visitor)
    place = {id(node): where for node, *where in _statements(wrapper)}
    module, found = path.removesuffix(".py").replace("/", "."), []
    counts: Counter[str] = Counter()
    for mutation in visitor.mutations:
        if id(mutation.original_node) not in place:
            continue  # module constants and fields of classes
        owner, function, span = place[id(mutation.original_node)]
        label = f"{module}.{owner + '.' if owner else ''}{function.name.value}"
        counts[label] += 1
        name = f"{label}#{counts[label]}"
        found.append(
            Mutant(
                name=name,
                module=module,
                owner=owner,
                function=function,
                lines=span,
                node=mutation.original_node,
                fault=mutation.mutated_node,
            )
        )
    return found


def _statements(wrapper: MetadataWrapper) -> Iterator[tuple[cst.CSTNode, str, cst.FunctionDef, tuple[int, int]]]:
    """Every node within a function: the class that owns it, the outermost function, first and last line of the statement."""
    module, at = wrapper.module, wrapper.resolve(PositionProvider)

    def walk(node: cst.CSTNode, owner: str, function: cst.FunctionDef, *, span: tuple[int, int]) -> Any:
        if isinstance(node, cst.SimpleStatementLine):
            span = (at[node].start.line, at[node].end.line)
        elif isinstance(node, cst.BaseCompoundStatement | cst.ExceptHandler) and node is not function:
            span = (at[node].start.line, at[node.body].start.line)
        yield node, owner, function, span
        for child in node.children:
            yield from walk(child, owner, function, span=span)

    for owner, body in (
        ("", module.body),
        *((c.name.value, c.body.body) for c in module.body if isinstance(c, cst.ClassDef)),
    ):
        for node in body:
            if isinstance(node, cst.FunctionDef):
                yield from walk(node, owner, node, span=(at[node].start.line, at[node].end.line))


class _Source(importlib.abc.InspectLoader):
    """Loads a module from its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_source(self, fullname: str) -> str:
        return self.text


def apply(mutant: Mutant) -> None:
    """Give the function its faulty code, in place: every name that refers to it sees the fault."""
    module = importlib.import_module(mutant.module)
    source, name = mutant.source(), mutant.function.name.value
    if mutant.owner:
        source = f"class {mutant.owner}:\n" + "".join(f"    {line}\n" for line in source.splitlines())
    copied = types.ModuleType(mutant.module)
    vars(copied).update(vars(module))
    _Source("from __future__ import annotations\n" + source).exec_module(copied)
    holder, faulted = (vars(x) if not mutant.owner else vars(getattr(x, mutant.owner)) for x in (module, copied))
    target, faulty = _function(holder[name]), _function(faulted[name])
    target.__code__, target.__defaults__ = faulty.__code__, faulty.__defaults__
    target.__kwdefaults__ = faulty.__kwdefaults__


def _function(thing: Any) -> types.FunctionType:
    """The plain function beneath property, staticmethod, cache and other decorators."""
    while not isinstance(thing, types.FunctionType) or hasattr(thing, "__wrapped__"):
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", None) or thing.__wrapped__
    return thing
