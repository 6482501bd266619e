"""The command `preview`: a round's images before they are exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import announce, app, chosen_device, listen, open_project, progress, show
from .arguments import ProjectFolder, RoundNumber

if TYPE_CHECKING:
    from protocols.project.folder import Project


@app.command()
def preview(
    folder: ProjectFolder,
    number: RoundNumber = None,
    out: Annotated[
        Path | None, typer.Option(help="page to write; default: sealed/preview.html in the folder of the round")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan/--no-plan", help="with what the round takes and can find")] = True,
) -> None:
    """Look at a round's images before they are exported: beside the best photographs, with predictions at all sites."""
    project = open_project(folder).for_stage()
    from protocols.state import look

    number = number if number is not None else look(project).number
    round_ = project.round(number)
    announce("loading the networks")
    from protocols.preview.page import diagnosis, keep_preview, write_preview
    from protocols.preview.proposals import gather_preview

    report = progress()
    found = gather_preview(project, round_, device=chosen_device(), progress=report)
    planned = None
    if plan:
        from protocols.plan import plan_round

        planned = plan_round(project, number, progress=report)
    path = write_preview(
        found,
        out or round_.sealed / "preview.html",
        display=project.display,
        plan="" if planned is None else planned.text(),
    )
    keep_preview(found, round_)
    sentences = diagnosis(found)
    place = told_place(project, path)
    record = {
        "page": place,
        "sentences": sentences,
        "plan": None if planned is None else planned.to_dict(),
        "images": found.records(),
    }
    show("\n".join([*sentences, f"page: {place}"]), record)


def told_place(project: Project, path: Path) -> str:
    """A path as it is told: inside the project relative to it, else as it was given."""
    inside, home = path.resolve(), project.folder.resolve()
    return inside.relative_to(home).as_posix() if inside.is_relative_to(home) else str(path)


@app.command()
def page(
    folder: ProjectFolder,
    out: Annotated[Path | None, typer.Option(help="page to write; default: page.html in the project")] = None,
    plan: Annotated[bool, typer.Option("--plan/--no-plan", help="with what other rounds could find")] = True,
) -> None:
    """Write all views of a project as one page that needs no server: gallery, sites, array, responses, plan, rounds."""
    listen()
    project = open_project(folder).for_stage()
    from protocols.pages.frozen import write_frozen

    path = write_frozen(project, out or project.folder / "page.html", plan=plan)
    place = told_place(project, path)
    show(f"page: {place}", {"page": place})
