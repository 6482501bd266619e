"""The command `triplets`: images whose similarity two layers see differently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder


@app.command()
def triplets(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option(help="new folder for the triplets")],
    images: Annotated[
        Path | None, typer.Option(help="another folder of photographs; default: those of the project")
    ] = None,
    network: Annotated[
        str, typer.Option(help="offline:efficientnet_lite0, ..._lite2, timm:NAME or torchvision:NAME")
    ] = "offline:efficientnet_lite0",
    high: Annotated[str, typer.Option(help="layer whose differences count as high-level")] = "blocks.6.0",
    low: Annotated[str, typer.Option(help="layer whose differences count as low-level")] = "blocks.1.0",
    per_cell: Annotated[int, typer.Option(min=1, help="triplets looked for per cell of the 10 x 10 table")] = 20,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
) -> None:
    """Find triplets of photographs in which high- and low-level similarity are decoupled."""
    from protocols.disk.files import check_new

    project = open_project(folder)
    check_new(out)
    announce("loading the network")
    from protocols.insilico.triplets import TripletOptions, find_in_photographs, write_triplets

    options = TripletOptions(network=network, high=high, low=low, per_cell=per_cell, seed=seed)
    found = find_in_photographs(project, options, images=images, device=chosen_device(), progress=progress())
    write_triplets(found, out)
    show(
        f"{found.summary()}\nin {out.name}: triplets.csv, triplets.json, images/, triplets.png",
        found.to_dict() | {"folder": out.name},
    )
