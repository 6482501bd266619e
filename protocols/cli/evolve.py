"""Command on evolution on the rig: evolve."""

from __future__ import annotations

import typer

from .app import announce, app, chosen_device, open_project, progress, show
from .arguments import ProjectFolder, RoundNumber


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
    elif state.waiting_for is None:
        announce("making the images of the next generation")
        from protocols import loop

        done = loop.evolve(project, number, device=chosen_device(), progress=progress())
        told, finished, state = done.lines, done.finished, look(project)
    report = EvolutionReport.of(project, number)
    lines = [*told, report.text()] if finished else [*told, state.summary()]
    show("\n".join(lines), {"done": told, "finished": finished, "state": state.to_dict(), **report.to_dict()})
    if state.stage == "evolve" and state.waiting_for:
        raise typer.Exit(4)
