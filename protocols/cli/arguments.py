"""Arguments and choices that commands of the command line share, and what a shell completes of them.

Completions come from names of files and the record of the fit alone, so that no library is loaded.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Start(StrEnum):
    """Where an ascent starts."""

    NATURAL = "natural"
    NOISE = "noise"


class Aperture(StrEnum):
    """What part of the images is shown."""

    NONE = "none"
    CIRCLE = "circle"


class Colour(StrEnum):
    """Colour of the images."""

    GREY = "grey"
    RGB = "rgb"


MOST_RECORD = 64 << 20
"""Bytes of a record of a fit that is read for its sites."""


def harmless(names: Iterable[str]) -> list[str]:
    """Those of `names` that no shell takes for more than text: shells put completions into the line, and zsh evaluates
    them.
    """
    return [name for name in names if re.fullmatch(r"[\w.,:/+@%=-]+", name)]


def projects_named(incomplete: str) -> list[str]:
    """Project folders whose path begins so; none lets the shell complete folders."""
    given = Path(incomplete)
    home = given if incomplete.endswith("/") else given.parent
    with suppress(OSError):
        found = (place for place in home.iterdir() if (place / "project.toml").is_file())
        return sorted(harmless(text for text in map(str, found) if text.startswith(incomplete.removeprefix("./"))))
    return []


def _folder(ctx: typer.Context) -> Path | None:
    """The project folder among the words typed so far; an option that waits for its value hides it from the parser."""
    given = ctx.params.get("folder")
    words = f"{os.environ.get('COMP_WORDS', '')} {os.environ.get('_TYPER_COMPLETE_ARGS', '')}"
    with suppress(ValueError, OSError):
        typed = shlex.split(words)
        return Path(given) if given else next((Path(w) for w in typed if (Path(w) / "project.toml").is_file()), None)
    return None


def rounds_of(ctx: typer.Context, incomplete: str) -> list[str]:
    """Numbers of the rounds of the project that stands in the command line."""
    folder = _folder(ctx)
    names = [] if folder is None else [p.name for p in Path(folder).glob("sessions/*/round_*")]
    numbers = sorted({int(name[6:]) for name in names if re.fullmatch(r"round_[0-9]+", name)})
    return [text for text in map(str, numbers) if text.startswith(incomplete)]


def sites_of(ctx: typer.Context, incomplete: str) -> list[str]:
    """Sites of the newest fit of the project that stands in the command line, behind those already listed."""
    from protocols.disk.foreign import read_bytes

    folder = _folder(ctx)
    records = [] if folder is None else sorted(Path(folder).glob("fitted/for_round_*.json"))
    listed, _, begun = incomplete.rpartition(",")
    before, taken = (f"{listed}," if listed else ""), set(listed.split(","))
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        sites = json.loads(read_bytes(records[-1], most=MOST_RECORD))["report"]["sites"]
        known = [str(site["site_id"]) for site in sites if site["eligible_fit"]]
        return harmless(f"{before}{site}" for site in known if site.startswith(begun) and site not in taken)
    return []


def one_of(*names: str) -> Callable[[str], list[str]]:
    """What completes one of these names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def sites_option(help: str) -> Any:
    """An option that takes site ids with commas between."""
    return typer.Option("--sites", help=help, autocompletion=sites_of)


ProjectFolder = Annotated[
    Path, typer.Argument(help="project folder (the one with project.toml)", autocompletion=projects_named)
]
RoundNumber = Annotated[
    int | None,
    typer.Option("--round", "-r", help="round number; default: the one that comes next", autocompletion=rounds_of),
]
LABORATORY_NAMES = ("electrophysiology", "two-photon", "fmri", "human")
RIGS = ("psychopy", "psychtoolbox", "monkeylogic", "mworks", "presentation", "generic")
Software = Annotated[
    list[str] | None,
    typer.Option(
        help="presentation software to write files for, in place of [rig] software; may be repeated",
        autocompletion=one_of(*RIGS),
    ),
]
