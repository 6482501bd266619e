"""What a view is: a name, a title, and a function from a project to the data that its JavaScript draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["View", "clean", "nothing"]

DIGITS = 5
"""Of the numbers that a view shows."""


@dataclass(frozen=True)
class View:
    """One view of a project.

    Attributes
    ----------
    name : str
        Of the function in JavaScript, ``stimsynth.views[name]``, and of the view in an address.
    title : str
        What its tab says.
    build : callable
        ``build(project, **query)`` gives JSON-able data: numbers are finite or None, and no pixels are among them.
        Values of a query are text; names that a view does not know are passed over. ``pictures`` lists the ids of the
        images that it draws (`protocols.pages.images`), ``nothing`` says why there is nothing (`nothing`).
    freeze : callable, optional
        What a page without a server holds in place of ``build(project)``: data that need no further query.
    """

    name: str
    title: str
    build: Callable[..., dict[str, Any]]
    freeze: Callable[..., dict[str, Any]] | None = None


def nothing(text: str, command: str = "") -> dict[str, Any]:
    """The data of a view that has nothing to show: a sentence, and the command that gives it something."""
    return {"nothing": {"text": text, "command": command}}


def clean(value: Any) -> Any:
    """`value` as JSON has it: numbers with `DIGITS` digits, None where one is not finite; arrays as lists.

    Parameters
    ----------
    value : Any
        Dicts, sequences, numbers, text, arrays of numbers, or None.
    """
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}") if math.isfinite(value) else None
    return value
