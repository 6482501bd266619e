"""`stimsynth invariance`: what changes an image and not the response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder, one_of, sites_option


@app.command()
def invariance(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option(help="new folder for images, table, record and figure")],
    kind: Annotated[
        str, typer.Option(help="diverse, levels or metamers", autocompletion=one_of("diverse", "levels", "metamers"))
    ] = "diverse",
    sites: Annotated[str | None, sites_option("sites with commas between; default: the best predicted")] = None,
    count: Annotated[int | None, typer.Option(help="images per set, points per path, or starts per photograph")] = None,
    photographs: Annotated[
        str | None, typer.Option(help="ids with commas between, or how many: targets of paths, references of metamers")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="where paths start: photograph (the best), controller, or an id (levels)")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="natural SDs, 0.25 (levels, metamers)")] = None,
    one_sided: Annotated[
        bool | None, typer.Option("--one-sided", help="only a fall of the response is refused (levels)")
    ] = None,
    smooth: Annotated[
        float | None, typer.Option(help="responses are held by changes of 1 / frequency^this, 1.5 (levels)")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="two_sided or balasubramanian2023 (levels)")] = None,
    steps: Annotated[int | None, typer.Option(help="steps per image or path")] = None,
    seed: Annotated[int, typer.Option(help="of the photographs that are drawn")] = 0,
) -> None:
    """Find what leaves predicted responses as they are: diverse sets with their index, level sets, or metamers."""
    from protocols.disk.files import check_new
    from protocols.insilico.invariance.asked import Asked, check_asked
    from protocols.insilico.sites import site_list

    wanted: tuple[str, ...] | int | None = None
    if photographs is not None:
        wanted = int(photographs) if photographs.isdecimal() else site_list(photographs)
    asked = Asked(
        kind=kind,
        sites=() if sites is None else site_list(sites),
        count=count,
        photographs=wanted,
        source=source,
        preset=preset,
        one_sided=one_sided,
        tolerance=tolerance,
        smooth=smooth,
        steps=steps,
        seed=seed,
    )
    check_new(out)
    project = open_project(folder)
    asked = check_asked(project, asked)
    announce("loading the networks")
    from protocols.insilico.invariance.make import make_invariance

    show(*make_invariance(project, out, asked, device=chosen_device(), progress=progress()))
