"""`stimsynth describe`: what the sites of a fitted encoder prefer, in figures and words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder, sites_option


@app.command()
def describe(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option(help="new folder for the page, its figures and tables")],
    batch: Annotated[
        list[Path] | None, typer.Option(help="folder of a batch with controllers (generate --out); may be repeated")
    ] = None,
    sites: Annotated[str, sites_option("site ids, with commas between; default: all")] = "",
    clip: Annotated[
        Path | None,
        typer.Option(help="folder with vectors of photographs and words: images.npz (or a timm model), words.npz"),
    ] = None,
    words: Annotated[Path | None, typer.Option(help="text file, one word per line (with --clip)")] = None,
    earlier: Annotated[
        str | None, typer.Option(help="folder in fitted/ of an encoder whose layers are mapped beside the newest")
    ] = None,
) -> None:
    """Write a page on what each site prefers: images, neighbours, feature space, clusters, layers and words."""
    from protocols.disk.files import check_new

    check_new(out)
    if words is not None and clip is None:
        raise typer.BadParameter("--words needs --clip, the folder with their vectors; see docs/describe.md")
    project = open_project(folder)
    _ = project.config
    from protocols.insilico.describe.asked import check_asked
    from protocols.insilico.sites import site_list

    check_asked(project, tuple(batch or ()), sites=site_list(sites), clip=clip, words=words)
    announce("loading the networks")
    from protocols.insilico.describe.door import describe as look
    from protocols.insilico.describe.door import write_description
    from protocols.insilico.describe.record import summary, to_dict

    found = look(
        project,
        tuple(batch or ()),
        sites=site_list(sites),
        clip=clip,
        words=words,
        earlier=earlier,
        device=chosen_device(),
        progress=progress(),
    )
    write_description(found, out)
    text = f"{summary(found)}\nin {out.name}: index.html, figures, sites.csv, neighbours.csv, describe.json"
    show(text, to_dict(found) | {"folder": out.name})
