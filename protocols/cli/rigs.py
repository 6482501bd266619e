"""The command that writes files for presentation software of a round that is exported already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app, open_project, show
from .arguments import ProjectFolder, RoundNumber


@app.command()
def rig(
    folder: ProjectFolder,
    software: Annotated[
        list[str],
        typer.Option(help="psychopy, psychtoolbox, monkeylogic, mworks, presentation or generic; may be repeated"),
    ],
    out: Annotated[Path, typer.Option(help="new folder: a copy of the outbox with the files of that software")],
    number: RoundNumber = None,
    from_block: Annotated[int, typer.Option(min=0, help="first block to show, such as after an interim look")] = 0,
    refresh_hz: Annotated[
        float | None, typer.Option(min=1, max=1000, help="of the screen, where the exported round does not state it")
    ] = None,
) -> None:
    """Write files for presentation software of an exported round, in the order that is in force."""
    from protocols.loop import look
    from protocols.rounds.rigs.beside import write_beside

    project = open_project(folder)
    number = number if number is not None else look(project).number
    round_ = project.round(number)
    written, trials = write_beside(round_, out, software, from_block=from_block, refresh_hz=refresh_hz)
    names = [path.relative_to(out).as_posix() for path in written]
    show(
        f"round {number}: {trials} presentations from block {from_block} on, in {out}: {', '.join(names)}",
        {"round": number, "trials": trials, "from_block": from_block, "files": names},
    )
