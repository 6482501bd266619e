"""Text files that leave this machine: none may tell where its files were."""

from __future__ import annotations

import os
import re
from pathlib import Path

from protocols.errors import DataError

ROOTS = (
    "home|root|Users|mnt|media|data|tmp|work|Volumes|scratch|opt|srv|var|nfs|private|gpfs|lustre|usr|etc|run|content"
)
PATH = re.compile(
    r"(?:^|(?<=[\s\"'=(\[,:]))"
    rf"(?:file:/+|~/[\w.]|/(?:{ROOTS})/|[A-Za-z]:\\{{1,2}}\w|\\{{2,4}}[\w.$-]+\\)[^\s\"'<>]*",
    re.MULTILINE,
)
"""A path of one machine: below a usual root, a home folder, a drive or a share."""
TEXTS = frozenset({".csv", ".json", ".jsonl", ".toml", ".html", ".txt", ".md", ".cff"})
ENCODED = re.compile(r"data:[\w/+.;-]+,[A-Za-z0-9+/=%]*")


def machine_path(text: str, *, known: tuple[Path, ...] = ()) -> str:
    """The first path of one machine in `text`, or the first of the folders `known`; "" where there is none."""
    plain = ENCODED.sub("", text)
    for folder in known:
        name = os.path.abspath(folder)
        if len(Path(name).parts) > 2 and name in plain:
            return name
    found = PATH.search(plain)
    return found[0] if found else ""


def refuse_link(name: str, source: Path, project: Path) -> None:
    """Refuse a file of a project that is a link to a place outside of it: what it holds was not meant to be passed on.

    Raises
    ------
    DataError
        N08
    """
    if source.is_symlink() and not source.resolve().is_relative_to(project.resolve()):
        raise DataError(
            name,
            found="a link to a file outside the project",
            expected="the files of the project themselves",
            cause="the file was moved to another place, or somebody put the link there",
            fix="put the file itself in the place of the link, or give --partial, which leaves such a file out",
            code="N08",
        )


def refuse_machine_path(name: str, text: str, *, known: tuple[Path, ...] = ()) -> None:
    """Refuse a text that holds a path of one machine.

    Raises
    ------
    DataError
        N08
    """
    if path := machine_path(text, known=known):
        line = next((n for n, words in enumerate(text.splitlines(), start=1) if path in words), 1)
        raise DataError(
            name,
            found=f"the path {path[:120]!r} in line {line}",
            expected="no path of one machine in what is passed on",
            cause="a comment, a name or a reason that was typed with a path",
            fix="take it out of the file, or give --partial, which leaves such a file out",
            code="N08",
        )
