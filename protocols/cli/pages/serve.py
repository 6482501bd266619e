"""The command `serve`: a local page of a project."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from protocols.cli.app import announce, app, open_project, options, show
from protocols.cli.arguments import ProjectFolder

from .browser import opened
from .decisions import account


@app.command()
def serve(
    folder: ProjectFolder,
    host: Annotated[str, typer.Option(help="address to listen at; default: this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = a free one")] = 0,
    browser: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    allow_decisions: Annotated[
        bool, typer.Option("--allow-decisions", help="let the page veto images, stop sites and choose targets")
    ] = False,
    unblinded: Annotated[
        bool, typer.Option("--unblinded", help="tell images of a round apart before it is evaluated")
    ] = False,
) -> None:
    """Look at a project in the browser: how the round stands, its images, sites, log; with a token, on this machine."""
    project = open_project(folder)
    _ = project.config
    from protocols.serve.start import check_libraries, listen
    from protocols.serve.start import serve as answer

    check_libraries()
    announce("loading the views")
    from protocols.serve.contents import Contents

    contents = Contents(
        project=project,
        decisions=allow_decisions,
        unblinded=unblinded,
        who=account(),
        **views(),
    )
    address = listen(host, port)

    def ready() -> None:
        lines = [f"serving {project.config.project.name} at", address.url, "interrupt with Ctrl-C"]
        if not address.local:
            lines.append(
                "warning: other machines can reach this address. It is not encrypted: use it in a network that you "
                "trust, or through ssh -L"
            )
        if unblinded:
            lines.append("unblinded: keep this page from whoever shows the images")
        show("\n".join(lines), {"url": address.url, "port": address.port, "local": address.local})
        if browser:
            opened(address.url, patience_s=0)

    try:
        answer(contents, address, ready=ready)
    except KeyboardInterrupt:
        if not options["quiet"]:
            typer.echo("stopped", err=True)


def views() -> dict[str, Any]:
    """The views, with what they are drawn with."""
    from protocols.pages.frozen import static
    from protocols.pages.images import image_pixels
    from protocols.pages.views import SCRIPTS, STYLE, VIEWS
    from protocols.status import status_of

    return {
        "views": tuple(VIEWS.values()),
        "pixels": image_pixels,
        "status": status_of,
        "scripts": {name: static(name) for name in SCRIPTS},
        "styles": {STYLE: static(STYLE)},
    }
