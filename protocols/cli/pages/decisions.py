"""The command `decide`: veto or approve an image, stop a site, choose the targets of the next round."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import Annotated

import typer

from protocols.cli.app import app, open_project, show
from protocols.cli.arguments import ProjectFolder

ACTIONS = ("veto", "approve", "stop", "resume", "targets")


def account() -> str:
    """The name of whoever runs the command; "unknown" where the system has none."""
    with suppress(ImportError, KeyError, OSError):
        return getpass.getuser()
    return "unknown"


@app.command()
def decide(
    folder: ProjectFolder,
    action: Annotated[str, typer.Argument(help="veto, approve, stop, resume or targets")] = "",
    names: Annotated[
        list[str] | None, typer.Argument(help="one image for veto and approve; sites for the others")
    ] = None,
    reason: Annotated[str, typer.Option(help="why; it is recorded and stands in the report")] = "",
    who: Annotated[str, typer.Option(help="who decides; default: the user name")] = "",
    number: Annotated[
        int | None, typer.Option("--round", "-r", help="of `targets`, default: the next to make; or of an image")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="print what was decided so far")] = False,
) -> None:
    """Veto an image before its round is exported, stop a site, choose the next targets; recorded and reported."""
    project = open_project(folder)
    if listed or not action:
        from protocols.project.decisions.record import read_decisions

        decisions = read_decisions(project.folder)
        lines = [d.sentence() for d in decisions] or ["nothing was decided yet"]
        show("\n".join(lines), {"decisions": [d.to_dict() for d in decisions]})
        return
    if action not in ACTIONS:
        raise typer.BadParameter(f"action {action!r}; expected {', '.join(ACTIONS)}")
    given = tuple(names or ())
    if action in ("veto", "approve") and len(given) != 1:
        raise typer.BadParameter(f"{action} takes one image")
    from protocols.rounds.decisions.decide import Asked
    from protocols.rounds.decisions.decide import decide as take
    from protocols.rounds.decisions.follows import what_follows

    image = given[0] if action in ("veto", "approve") else ""
    asked = Asked(
        action=action,
        who=who or account(),
        reason=reason,
        image=image,
        sites=() if image else given,
        round=number,
    )
    made = take(project, asked)
    follows = what_follows(project, made)
    show("\n".join([made.sentence(), *([follows] if follows else [])]), made.to_dict() | {"follows": follows})
