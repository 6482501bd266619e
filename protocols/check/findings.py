"""One thing that was looked at, and how a fault is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from protocols.errors import UNUSABLE, DataError
from protocols.project.folder import Project

TOML = "project.toml"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    status : str
        "ok"; "note": not there yet, or worth knowing; "fail": cannot work.
    what : str
        What was looked at, one or two words.
    text : str
        What was found; of a fault also what was expected, the likely cause and the way out.
    code : str
        Of a fault, one of `protocols.errors.CODES`; "" where there is none.
    """

    status: str
    what: str
    text: str
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The finding for scripts."""
        return asdict(self)


Look = Callable[[Project], Iterator[Finding | Exception]]
"""What looks at one subject; faults that it gives or raises are told as "fail"."""


def failed(what: str, error: Exception) -> Finding:
    """The finding of a fault."""
    text = str(error) or type(error).__name__
    return Finding("fail", what, text, error.code if isinstance(error, DataError) else "")


def collected(what: str, look: Look, project: Project) -> list[Finding]:
    """All findings of a look, faults that it raises among them."""
    found: list[Finding] = []
    try:
        for item in look(project):
            found.append(item if isinstance(item, Finding) else failed(what, item))
    except UNUSABLE as error:
        found.append(failed(what, error))
    return found
