"""Commands on what the rig hands in: interim, ingest, evolve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import announce, app, chosen_device, listen, open_project, progress, show
from .arguments import ProjectFolder, RoundNumber


@app.command()
def interim(
    folder: ProjectFolder,
    number: RoundNumber = None,
    file: Annotated[
        Path | None,
        typer.Option(help="the rig's file; default: responses_before_block_NN.h5, or parts in the inbox"),
    ] = None,
) -> None:
    """Look at the blocks recorded so far: stop what is decided, write the order of the remaining blocks."""
    project = open_project(folder)
    if number is None:
        from protocols.state import look

        number = look(project).number
    announce("testing the blocks recorded so far")
    from protocols.rounds.looks.look import make_look

    report = make_look(project, project.round(number), file, progress=progress())
    show(report.summary(), report.to_dict())


@app.command()
def ingest(
    folder: ProjectFolder,
    file: Annotated[
        Path | None, typer.Option(help="responses file; default: the inbox of the round that waits")
    ] = None,
    number: RoundNumber = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="the parts in the inbox are the answer: no more will come")
    ] = False,
    replace: Annotated[
        str, typer.Option(help="reason to take another file than the one ingested before; it is recorded")
    ] = "",
    max_dropped: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="largest part of the rows marked invalid; default: that of project.toml"),
    ] = None,
    max_unseen: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="largest part of the images without a trial; default: that of project.toml"),
    ] = None,
    drop_extra: Annotated[
        bool, typer.Option("--drop-extra", help="leave out presentations beyond the planned number, the last ones")
    ] = False,
    other_subject: Annotated[
        str, typer.Option(help="reason to take another subject than in earlier recordings; it is recorded")
    ] = "",
    other_window: Annotated[
        str, typer.Option(help="reason to take another response window than the baseline's; it is recorded")
    ] = "",
) -> None:
    """Check recorded responses and keep them as the round's trial table."""
    if parts and file is not None:
        raise typer.BadParameter("--file is a whole answer, --parts are those in the inbox")
    from protocols import loop

    project = open_project(folder)
    listen()
    reasons = {"other_subject": other_subject, "other_window": other_window}
    report = loop.ingest_round(
        project,
        round_of_answer(project, number, replace),
        file,
        parts=parts,
        replace=replace,
        accept={name: reason for name, reason in reasons.items() if reason},
        max_dropped=max_dropped,
        max_unseen=max_unseen,
        drop_extra=drop_extra or None,
    )
    show(report.summary(), report.to_dict())


def round_of_answer(project: Any, number: int | None, replace: str) -> Any:
    """Round `number`, or the one that waits; where an answer is to be replaced, the newest that has one. While images
    are evolved for that round, the generation that waits.
    """
    from protocols import loop

    answered = [r.number for r in project.rounds() if r.ingested]
    state = loop.look(project)
    if state.stage == "evolve" and state.round is not None and number in (None, state.number):
        return state.round
    if number is None:
        number = max(answered) if replace and answered and state.stage != "ingest" else state.number
    return project.round(number)


@app.command()
def evolve(folder: ProjectFolder, number: RoundNumber = None) -> None:
    """Evolve images on the rig: take and score the answer that is there, export the next generation."""
    from protocols.evolution.report import EvolutionReport, refuse_other_stage
    from protocols.state import look

    project = open_project(folder)
    state = look(project)
    number = state.number if number is None else number
    told, finished = list[str](), False
    if state.stage != "evolve" or state.number != number:
        refuse_other_stage(project, number, state.summary())
        finished = True
    elif state.waiting_for in (None, "review"):
        announce("making the images of the next generation")
        from protocols import loop

        done = loop.evolve(project, number, device=chosen_device(), progress=progress())
        told, finished, state = done.lines, done.finished, look(project)
    report = EvolutionReport.of(project, number)
    lines = [*told, report.text()] if finished else [*told, state.summary()]
    show("\n".join(lines), {"done": told, "finished": finished, "state": state.to_dict(), **report.to_dict()})
    if state.stage == "evolve" and state.waiting_for:
        raise typer.Exit(4)
