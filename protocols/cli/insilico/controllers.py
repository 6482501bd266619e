"""Commands on finished controllers: tuning, simplify; and photographs at graded levels: accentuate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder, sites_option

Out = Annotated[Path, typer.Option(help="new folder")]
Batch = Annotated[
    Path | None,
    typer.Option(help="folder of a `generate --out`: the best image of each row; left out: made for the purpose"),
]
Sites = Annotated[str | None, sites_option("sites, with commas between; left out: all")]


@app.command()
def tuning(folder: ProjectFolder, out: Out, batch: Batch = None, sites: Sites = None) -> None:
    """Show controllers at graded contrasts, scales, places and angles: images, and the curves that are predicted."""
    from protocols.insilico.controllers.checks import check_asked
    from protocols.insilico.sites import site_list

    project, names = open_project(folder), site_list(sites)
    check_asked(project, out, batch=batch, sites=names)
    announce("loading the networks")
    from protocols.insilico.controllers.given import given
    from protocols.insilico.controllers.tuning import tuning_series, write_tuning
    from protocols.insilico.opened import open_fitted

    opened, bar = open_fitted(project, device=chosen_device()), progress()
    found = tuning_series(opened, given(opened, batch, names, progress=bar), progress=bar)
    write_tuning(found, out)
    text = f"{found.summary()}\nin {out.name}: images/, batch.h5, steps.csv, tuning.csv, tuning.json, tuning.png"
    show(text, found.to_dict() | {"folder": out.name})


@app.command()
def simplify(
    folder: ProjectFolder,
    out: Out,
    batch: Batch = None,
    sites: Sites = None,
    hold: Annotated[float, typer.Option(min=0.01, max=1, help="share of the predicted response that is held")] = 0.95,
    same_contrast: Annotated[
        bool, typer.Option("--same-contrast", help="keep the display's contrast: what is left is shown stronger")
    ] = False,
) -> None:
    """Take away all of a controller that its response does not need: area, Fourier coefficients, grey levels."""
    from protocols.insilico.controllers.checks import check_asked
    from protocols.insilico.sites import site_list

    project, names = open_project(folder), site_list(sites)
    check_asked(project, out, batch=batch, sites=names)
    announce("loading the networks")
    from protocols.insilico.controllers.given import given
    from protocols.insilico.controllers.simplify import simplified, write_simple
    from protocols.insilico.opened import open_fitted

    opened, bar = open_fitted(project, device=chosen_device()), progress()
    controllers = given(opened, batch, names, progress=bar)
    found = simplified(opened, controllers, hold=hold, same_contrast=same_contrast, progress=bar)
    write_simple(found, out)
    text = f"{found.summary()}\nin {out.name}: images/, batch.h5, simple.csv, path.csv, simple.json, simple.png"
    show(text, found.to_dict() | {"folder": out.name})


@app.command()
def accentuate(
    folder: ProjectFolder,
    out: Out,
    sites: Sites = None,
    levels: Annotated[int, typer.Option(min=2, max=50, help="from 25 % below to 50 % above the natural range")] = 8,
    photographs: Annotated[int, typer.Option(min=1, max=50, help="seed photographs per site")] = 3,
    steps: Annotated[int | None, typer.Option(min=1, help="gradient steps; default: the project's")] = None,
    tolerance: Annotated[float, typer.Option(min=0.001, max=1, help="share of the levels' span")] = 0.05,
) -> None:
    """Change photographs until a site's predicted response is at graded levels, and tell how many reached them."""
    from protocols.insilico.controllers.checks import check_asked
    from protocols.insilico.sites import site_list

    project, names = open_project(folder), site_list(sites)
    check_asked(project, out, batch=None, sites=names)
    announce("loading the networks")
    from protocols.insilico.controllers.accentuate import accentuated, write_accentuated
    from protocols.insilico.opened import open_fitted

    found = accentuated(
        open_fitted(project, device=chosen_device()),
        names,
        levels=levels,
        photographs=photographs,
        steps=steps,
        tolerance=tolerance,
        progress=progress(),
    )
    write_accentuated(found, out)
    text = f"{found.summary()}\nin {out.name}: images/, batch.h5, levels.csv, sites.csv, levels.json, levels.png"
    show(text, found.to_dict() | {"folder": out.name})
