"""`stimsynth discriminate`: functional types of sites, one image each, and the types of new sites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder, Start, sites_option


@app.command()
def discriminate(
    folder: ProjectFolder,
    out: Annotated[
        Path | None, typer.Option(help="new folder for the images and tables (with --type: for the table alone)")
    ] = None,
    sites: Annotated[str, sites_option("sites to cluster, with commas between; default: all targets")] = "",
    clusters: Annotated[int, typer.Option(min=1, help="clusters to start with; splits and merges change them")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="random partitions to start from; the validator chooses")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="turns of images and clusters at most")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="gradient steps per turn; the last images take twice as many")] = 50,
    start: Annotated[Start, typer.Option(help="where fresh images start")] = Start.NATURAL,
    changes: Annotated[int, typer.Option(min=0, help="rounds of splits and merges at most; 0: none")] = 6,
    types: Annotated[
        Path | None, typer.Option("--type", help="folder of a set that was shown: type the sites of --responses")
    ] = None,
    responses: Annotated[Path | None, typer.Option(help="recorded responses to that set (responses/1)")] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="of a type (with --type)")] = 0.95,
) -> None:
    """Find types of sites with one image each that drives it and no other; or type new sites by such a set."""
    from protocols.disk.files import check_new
    from protocols.insilico.discriminate.asked import check_asked
    from protocols.insilico.sites import site_list

    if (types is None) != (responses is None):
        raise typer.BadParameter("--type and --responses belong together")
    if types is None and out is None:
        raise typer.BadParameter("expected --out, the new folder for the images")
    if out is not None:
        check_new(out)
    project = open_project(folder)
    _ = project.config
    if types is not None and responses is not None:
        type_new(types, responses, out, confidence=confidence)
        return
    wanted = site_list(sites)
    check_asked(project, wanted, clusters)
    announce("loading the networks")
    from protocols.insilico.discriminate.files import write_types
    from protocols.insilico.discriminate.found import find_types
    from protocols.insilico.opened import open_fitted
    from synth.discriminative import Settings

    opened = open_fitted(project, device=chosen_device())
    found = find_types(
        opened,
        sites=wanted,
        settings=Settings(clusters=clusters, iterations=iterations, changes=changes).of_steps(steps),
        seeds=range(seeds),
        start=start.value,
        progress=progress(),
    )
    assert out is not None
    write_types(found, out)
    files = "images/, types.json, sites.csv, images.csv, batch.h5, types.png, contact_sheet.png"
    show(f"{found.summary()}\nin {out.name}: {files}", found.to_dict() | {"folder": out.name})


def type_new(types: Path, responses: Path, out: Path | None, *, confidence: float) -> None:
    """Type the sites of a responses file by a set of types that was shown, and print them."""
    from protocols.insilico.discriminate.files import read_types
    from protocols.insilico.discriminate.new_sites import type_sites, write_typed

    typed = type_sites(read_types(types), responses, confidence=confidence)
    more: dict[str, Any] = {}
    if out is not None:
        write_typed(typed, out)
        more = {"folder": out.name}
    where = "" if out is None else f"\nin {out.name}: typed.csv, typed.json"
    show(f"{typed.summary()}{where}", typed.to_dict() | more)
