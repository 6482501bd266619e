"""The command `controversial`: images that tell two encoders apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder, sites_option


@app.command()
def controversial(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option(help="new folder for the pairs, or for the verdicts")],
    against: Annotated[
        str, typer.Option(help='"validator", or the folder of another project with an encoder of the same sites')
    ] = "validator",
    sites: Annotated[str, sites_option("site ids, with commas between; default: all targets of both")] = "",
    apart: Annotated[float, typer.Option(min=0.0, help="natural SDs by which both must disagree to keep a pair")] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="gradient steps per image")] = None,
    judge: Annotated[Path | None, typer.Option(help="folder of pairs that were shown, with --responses")] = None,
    responses: Annotated[Path | None, typer.Option(help="what the rig recorded of them, with --judge")] = None,
) -> None:
    """Make pairs of images that two encoders order differently; with --judge, say whose order a recording shows."""
    if (judge is None) != (responses is None):
        raise typer.BadParameter("--judge and --responses belong together")
    from protocols.disk.files import check_new
    from protocols.insilico.sites import check_sites, site_list, targets_of

    project = open_project(folder)
    check_new(out)
    if judge is not None and responses is not None:
        from protocols.insilico.judged import judge_pairs, write_judged

        verdicts = judge_pairs(judge, responses)
        write_judged(verdicts, out)
        show(f"{verdicts.summary()}\nin {out.name}: duels.csv, duels.json", verdicts.to_dict() | {"folder": out.name})
        return
    named = site_list(sites)
    if known := [site.site_id for site in targets_of(project)]:
        check_sites(named, known)
    announce("loading the networks")
    from protocols.insilico.controversial import PairOptions, make_pairs, open_other, write_pairs
    from protocols.insilico.opened import open_fitted

    opened = open_fitted(project, device=chosen_device())
    other = open_other(opened, against, device=chosen_device())
    options = PairOptions(sites=named or None, apart=apart, steps=steps)
    found = make_pairs(opened, other, options, device=chosen_device(), progress=progress())
    write_pairs(found, out)
    files = "pairs.csv, pairs.json, pairs.png, images/, images.csv, batch.h5, contact_sheet.png"
    show(f"{found.summary()}\nin {out.name}: {files}", found.to_dict() | {"folder": out.name})
