"""The command that looks at a round before its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import announce, app, open_project, progress, show
from .arguments import ProjectFolder, RoundNumber


@app.command()
def interim(
    folder: ProjectFolder,
    number: RoundNumber = None,
    file: Annotated[
        Path | None, typer.Option(help="the rig's file; default: responses_before_block_NN.h5 in the inbox")
    ] = None,
) -> None:
    """Look at the blocks recorded so far: stop what is decided, write the order of the remaining blocks."""
    project = open_project(folder)
    if number is None:
        from protocols.loop import look

        number = look(project).number
    announce("testing the blocks recorded so far")
    from protocols.rounds.looks.look import make_look

    report = make_look(project, project.round(number), file, progress=progress())
    show(report.summary(), report.to_dict())
