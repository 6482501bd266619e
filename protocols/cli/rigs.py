"""Files for presentation software: chosen for one export, or written for a round that is exported already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .app import app, open_project, show
from .arguments import RIGS, ProjectFolder, RoundNumber, one_of


@app.command()
def rig(
    folder: ProjectFolder,
    software: Annotated[
        list[str],
        typer.Option(
            help="psychopy, psychtoolbox, monkeylogic, mworks, presentation or generic; may be repeated",
            autocompletion=one_of(*RIGS),
        ),
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


def with_software(project: Any, names: list[str] | None) -> Any:
    """The project with `names` in place of ``[rig] software``; an invalid project.toml is told here."""
    config = project.config
    if not names:
        return project
    from protocols.project.config.checks import cross_check
    from protocols.rounds.rigs import check_rigs

    check_rigs(names)
    software = tuple(name for name in names if name != "plain")
    config = config.model_copy(update={"rig": config.rig.model_copy(update={"software": software})})
    cross_check(config, str(project.folder / "project.toml"))
    return replace(project, kept=config)
