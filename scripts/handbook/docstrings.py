"""Docstrings as the site shows them: each parameter with the type of its own, formulas as code. An extension of griffe (mkdocs.yml)."""

from __future__ import annotations

from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Give every parameter that a docstring lists together with others its type and default of the signature."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Formulas of reStructuredText become code: the site has no typesetter."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace(":math:`", "`")

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Correct the parameters of every function and class of a package."""
        todo: list[griffe.Object] = [pkg]
        while todo:
            one = todo.pop()
            todo += [member for member in one.members.values() if isinstance(member, griffe.Object)]
            if isinstance(one, griffe.Function | griffe.Class) and one.docstring is not None:
                _correct(one, one.docstring)


def _correct(one: griffe.Function | griffe.Class, docstring: griffe.Docstring) -> None:
    known = {parameter.name.lstrip("*"): parameter for parameter in one.parameters}
    for section in docstring.parsed:
        if isinstance(section, griffe.DocstringSectionParameters):
            for item in section.value:
                if (found := known.get(item.name.lstrip("*"))) is not None:
                    item.annotation = found.annotation
                    item.value = str(found.default) if found.default is not None else None
