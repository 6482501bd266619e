"""Commands on one round or one batch: fit, refit, generate, export, evaluate, report, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .app import announce, app, chosen_device, chosen_engine, listen, open_project, options, progress, show, tell
from .arguments import ProjectFolder, RoundNumber, Software, one_of, projects_named
from .rigs import with_software


@app.command()
def fit(
    folder: ProjectFolder,
    images: Annotated[Path | None, typer.Option(help="photographs of a recording made elsewhere")] = None,
    responses: Annotated[
        Path | None, typer.Option(help="responses.h5 (schema responses/1) to these photographs")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="readouts.toml: score its candidates side by side, fit nothing")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check photographs and responses, fit and write nothing")
    ] = False,
) -> None:
    """Fit the encoder and its validator on the baseline recording; `--compare` scores readouts side by side instead."""
    project = open_project(folder)
    if (images is None) != (responses is None):
        raise typer.BadParameter("--images and --responses belong together")
    if dry_run and images is None:
        raise typer.BadParameter("--dry-run checks the files of --images and --responses")
    _ = project.config  # an invalid project.toml is told before the libraries are loaded
    if compare is not None:
        from protocols.models.candidates_file import read_candidate_table

        read_candidate_table(compare)
    announce("loading the networks")
    from protocols import loop
    from protocols.models.refit import refuse_shown
    from protocols.recordings.quality.earlier import other_window_notes, window_notes

    if compare is None:
        refuse_shown(project, 1)  # before a recording is adopted
    beside: dict[str, Any] = {}
    if images is not None and responses is not None:
        beside = {"recording": bring_along(project, images, responses, dry_run=dry_run)}
    if dry_run:
        taken = beside["recording"]
        notes = other_window_notes(project, taken["file"], taken["window_ms"])
        told = ["the photographs and the responses can be used; nothing was written", *notes]
        show("\n".join(told), beside | ({"notes": notes} if notes else {}))
        return
    if compare is not None:
        from protocols.models.compare import compare_readouts

        found = compare_readouts(project, compare, device=chosen_device(), engine=chosen_engine(), progress=progress())
        show(f"{found.table()}\nwritten: fitted/comparison.json, .csv and .png", found.to_dict() | beside)
        return
    for note in window_notes(project):
        tell(note)
        beside.setdefault("notes", []).append(note)
    from protocols.report.fit import page_line

    record = loop.fit(project, 1, device=chosen_device(), progress=progress())
    show(f"{fit_text(record)}\n{page_line(record)}", record | beside)


def bring_along(project: Any, images: Path, responses: Path, *, dry_run: bool) -> dict[str, Any]:
    """Take a recording made elsewhere, or only check it, print what was found, and return its record."""
    from protocols.recordings.adopt import take_recording

    record = take_recording(project, images, responses, progress=progress(), dry_run=dry_run)[1]
    tell(record.summary())
    return record.to_dict()


def fit_text(record: dict[str, Any]) -> str:
    """The fit report as a table."""
    from protocols.report.fit import fit_table

    return fit_table(record)


@app.command()
def refit(
    folder: ProjectFolder,
    mode: Annotated[
        str,
        typer.Option(
            help="full, warm, gain or reuse; default: that of project.toml",
            autocompletion=one_of("full", "warm", "gain", "reuse"),
        ),
    ] = "",
    force: Annotated[str, typer.Option(help="reason to accept a refit that is worse; it is recorded")] = "",
) -> None:
    """Refit the encoder for the next round; one that predicts held-out photographs worse is refused."""
    from protocols.project.config.protocol import RefitConfig

    modes = get_args(RefitConfig.model_fields["mode"].annotation)
    if mode and mode not in modes:
        raise typer.BadParameter(f"mode {mode!r}; expected {' or '.join(modes)}")
    project = open_project(folder)
    _ = project.config
    announce("loading the networks")
    from protocols.models.refit import refit as refit_round
    from protocols.models.refit import refit_text
    from protocols.report.fit import page_line
    from protocols.report.fits.page import write_fit

    record = refit_round(project, mode=mode, force=force, device=chosen_device(), progress=progress())
    write_fit(project, record["round"])
    show(f"{fit_text(record)}\n\n{refit_text(record)}\n{page_line(record)}", record)


@app.command()
def export(
    folder: ProjectFolder,
    number: RoundNumber = None,
    baseline: Annotated[Path | None, typer.Option(help="folder of photographs: import them and export round 0")] = None,
    demo_photographs: Annotated[
        bool, typer.Option("--demo-photographs", help="round 0 from the built-in photographs")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print presentations, hours and power, write nothing")
    ] = False,
    gain: Annotated[float, typer.Option(min=0, help="gain to plan for (with --dry-run)")] = 0.3,
    power: Annotated[float, typer.Option(min=0.05, max=0.99, help="wanted power (with --dry-run)")] = 0.8,
    rig: Software = None,
) -> None:
    """Export a round for the rig: images, trial order, manifest; `--baseline IMAGES` makes round 0."""
    from protocols import loop
    from protocols.check.before import warnings_before
    from protocols.rounds.export_notes import export_notes

    project = with_software(open_project(folder), rig)
    if dry_run and (baseline is not None or demo_photographs):
        from protocols.plan import plan_round

        with project.trial_copy() as copy:
            told = import_told(copy, baseline)
            plan = plan_round(copy.for_stage(), 0, gain=gain, wanted=power, progress=progress())
        show("\n".join([*told, plan.text()]), plan.to_dict() | {"photographs": told})
        return
    told = import_told(project, baseline) if baseline is not None or demo_photographs else []
    number = 0 if told else number if number is not None else loop.look(project).number
    if number > 0:
        announce("loading the networks")
    if dry_run:
        from protocols.plan import plan_round

        plan = plan_round(project.for_stage(), number, gain=gain, wanted=power, progress=progress())
        show(plan.text(), plan.to_dict())
        return
    warnings = warnings_before(project) if not told else []  # an import tells them itself
    for warning in warnings:
        tell(warning)
    outbox = loop.export(project, number, device=chosen_device(), progress=progress())
    place = outbox.relative_to(project.folder).as_posix()
    notes = export_notes(project.round(number))
    show(
        "\n".join(
            [*told, f"round {number} is in {place}: copy it to the rig; README.txt there says how to answer", *notes]
        ),
        {"round": number, "outbox": place, "photographs": told, "notes": notes, "warnings": warnings},
    )


def import_told(project: Any, images: Path | None) -> list[str]:
    """Import the photographs of round 0, and say what was done, what was left out, and what is hardly meant."""
    from protocols.project.photograph_warnings import photograph_report
    from protocols.recordings.adopt import import_baseline

    natural = import_baseline(project, images, progress=progress())
    return photograph_report(natural, project.display, shown_elsewhere=False)


@app.command()
def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="project folder", autocompletion=projects_named)] = None,
    number: RoundNumber = None,
    responses: Annotated[Path | None, typer.Option(help="responses file, without a project")] = None,
    key: Annotated[Path | None, typer.Option(help="key.csv, without a project")] = None,
    alpha: Annotated[float, typer.Option(help="level of the test (files given; a project states its own)")] = 0.01,
    max_dropped: Annotated[float, typer.Option(min=0, max=1, help="most rows marked invalid (files given)")] = 0.3,
    out: Annotated[Path | None, typer.Option(help="CSV to write (files given)")] = None,
) -> None:
    """Say whether control succeeded: of a round, or of any responses and key given as files."""
    if folder is None and (responses is None or key is None):
        raise typer.BadParameter("give a project folder, or --responses and --key")
    from protocols import loop
    from protocols.recordings.drift import RoundDrift
    from protocols.recordings.loose import read_loose
    from protocols.report.drift import drift_text
    from protocols.verdict.checks import read_key_to_judge
    from protocols.verdict.evaluate import Rules, evaluate_shared

    drift_lines, beside = "", {}
    listen()
    if folder is None:
        assert responses is not None
        assert key is not None
        table = read_loose(responses, max_dropped=max_dropped)
        report = evaluate_shared(table, read_key_to_judge(key), Rules(alpha=alpha), engine=chosen_engine())
        if out is not None:
            report.to_csv(out)
    else:
        project = open_project(folder).for_stage()
        done = [r.number for r in project.rounds() if r.number > 0 and r.ingested]
        number = number if number is not None else max(done, default=1)
        report = loop.evaluate_round(project, project.round(number), engine=chosen_engine())
        drift, settings = RoundDrift.from_json(project.round(number).drift_path), project.config.drift
        drift_lines = drift_text(drift, align=settings.align, exclude=settings.exclude)
        beside = {"drift": None if drift is None else drift.to_dict()}
    show(report.summary() + drift_lines, report.to_dict() | beside)


@app.command()
def report(
    folder: ProjectFolder,
    number: RoundNumber = None,
    every: Annotated[bool, typer.Option("--all", help="one page over all rounds: report.html in the project")] = False,
    figures: Annotated[
        Path | None, typer.Option(help="folder: every figure of the page also as SVG and PDF, with captions")
    ] = None,
    of_fit: Annotated[bool, typer.Option("--fit", help="write the page and the table of a fit instead")] = False,
) -> None:
    """Write the report page of an evaluated round, with --all of the whole project, with --fit of a fit."""
    if of_fit:
        from protocols.report.fits.page import write_fit

        if every or figures is not None:
            raise typer.BadParameter("--fit stands alone, or with --round")
        project = open_project(folder)
        page = write_fit(project.for_stage(), number).relative_to(project.folder)
        show(f"page: {page.as_posix()}", {"page": page.as_posix(), "table": page.with_name("sites.csv").as_posix()})
        return
    from protocols.report.page import write_report
    from protocols.report.project.page import write_project_report

    if every and number is not None:
        raise typer.BadParameter("--all takes every round; leave --round out")
    listen()
    project = open_project(folder).for_stage()
    if every:
        path = write_project_report(project, figures=figures)
    else:
        done = [r.number for r in project.evaluated()]
        path = write_report(
            project, project.round(number if number is not None else max(done, default=1)), figures=figures
        )
    place = path.relative_to(project.folder).as_posix()
    text = f"report: {place}" + ("" if figures is None else f"\nfigures: {figures}")
    show(text, {"report": place} | ({} if figures is None else {"figures": str(figures)}))


@app.command()
def reproduce(
    manifest: Annotated[Path, typer.Argument(help="outbox/manifest.json of a round, in its project")],
    verify: Annotated[bool, typer.Option("--verify", help="leave with exit code 3 if anything differs")] = False,
    out: Annotated[
        Path | None, typer.Option(help="new folder for the images; default: reproduced/round_NN in the project")
    ] = None,
) -> None:
    """Make a round's controllers again from what was recorded and compare them with the round, pixel by pixel."""
    announce("loading the networks")
    from protocols.reproduce import reproduce as replay_round

    found = replay_round(manifest, out, device=options["device"] or "", progress=progress())
    show(found.summary(), found.to_dict())
    if verify and not found.verified:
        raise typer.Exit(3)
