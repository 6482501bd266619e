"""Arguments and choices that commands of the command line share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Start(StrEnum):
    """Where an ascent starts."""

    NATURAL = "natural"
    NOISE = "noise"


class Colour(StrEnum):
    """Colour of the images."""

    GREY = "grey"
    RGB = "rgb"


ProjectFolder = Annotated[Path, typer.Argument(help="project folder (the one with project.toml)")]
RoundNumber = Annotated[
    int | None, typer.Option("--round", "-r", help="round number; default: the one that comes next")
]
Software = Annotated[
    list[str] | None,
    typer.Option(help="presentation software to write files for, in place of [rig] software; may be repeated"),
]
