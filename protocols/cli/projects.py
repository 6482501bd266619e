"""Commands on a whole project, and what needs none: demo, selftest, init, check, status, run, plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import announce, app, chosen_device, chosen_engine, listen, note, open_project, options, progress, show, tell
from .arguments import LABORATORY_NAMES, Aperture, Colour, ProjectFolder, one_of

if TYPE_CHECKING:
    from protocols.progress import Progress
    from protocols.project.folder import Project
    from protocols.state import State


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder to work in; a finished or killed demo there is continued")] = Path(
        "demo"
    ),
    rounds: Annotated[int, typer.Option(min=1, max=9)] = 2,
    sites: Annotated[int, typer.Option(min=2, max=40, help="driven sites of the simulated subject")] = 12,
    steps: Annotated[int, typer.Option(min=1, max=1000)] = 60,
    photographs: Annotated[
        Path | None, typer.Option(help="your own folder of photographs instead of the built-in ones")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="delete an earlier demo in this folder first")] = False,
    browser: Annotated[bool, typer.Option("--open", help="open the report in the browser at the end")] = False,
) -> None:
    """Run a whole closed loop on a simulated subject, on a CPU, offline, and write a report."""
    announce("loading the networks")
    from protocols.demo import DemoSettings, run_demo

    settings = DemoSettings(rounds=rounds, sites=sites, steps=steps, photographs=photographs, seed=seed)
    result = run_demo(out, settings, fresh=fresh, device=chosen_device(), engine=chosen_engine(), progress=progress())
    told = []
    if photographs is not None:
        from protocols.project.photograph_warnings import photograph_report
        from protocols.project.photographs import NaturalImages

        project = result.project
        told = photograph_report(NaturalImages.load(project.data), project.display, shown_elsewhere=False)
    show("\n".join([*told, result.summary()]), result.to_dict() | {"photographs": told})
    if browser:
        from .pages.browser import opened

        if not opened(result.page.resolve().as_uri()):
            note(f"no browser could be opened here: open {result.page.as_posix()} yourself")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="new project folder")],
    width: Annotated[int, typer.Option(help="image width in pixels")] = 256,
    height: Annotated[int | None, typer.Option(help="image height in pixels; default: the width")] = None,
    degrees: Annotated[float | None, typer.Option(help="image width in degrees of visual angle; default: 8")] = None,
    colour: Annotated[Colour | None, typer.Option(help="what the images are; default: grey")] = None,
    background: Annotated[int, typer.Option(min=0, max=255, help="background pixel value")] = 128,
    aperture: Annotated[Aperture, typer.Option(help="circle: images are discs on the background")] = Aperture.NONE,
    template: Annotated[
        str | None,
        typer.Option(
            help="values and questions for a kind of laboratory: electrophysiology, two-photon, fmri or human; "
            "default: the defaults of every key",
            autocompletion=one_of(*LABORATORY_NAMES),
        ),
    ] = None,
) -> None:
    """Make a project folder with a commented project.toml."""
    from protocols.disk.files import make_id
    from protocols.project.config.config import Config
    from protocols.project.config.encoder import EncoderConfig
    from protocols.project.config.laboratories import GIVEN_BY, laboratory
    from protocols.project.config.template import template as written
    from protocols.project.display import Display
    from protocols.project.folder import Project

    try:
        known = None if template is None else laboratory(template)
    except ValueError as error:
        raise typer.BadParameter(f"--template {error}") from error
    if known is not None:
        options_given = {"degrees": degrees, "colour": colour}
        known = known.without({GIVEN_BY[name] for name, value in options_given.items() if value is not None})
    display = Display(
        width_px=width,
        height_px=height or width,
        size_deg=8.0 if degrees is None else degrees,
        colour=(colour or Colour.GREY).value,
        background=background,
        aperture=aperture.value,
    )
    config = Config(display=display, encoder=EncoderConfig(effort="full"))
    text = written(config, name=make_id(folder.name, "project"), laboratory=known)
    project = Project.create(folder, text)
    asked = [] if known is None else [f"[{section}] {key}" for section, key in known.questions]
    read = f"answer its {len(asked)} questions (TODO)" if asked else "read it"
    show(
        f"made {project.folder}/project.toml: {read}, then run `stimsynth export {folder} --baseline IMAGES`",
        {"project": str(project.folder), "template": template, "questions": asked},
    )


@app.command()
def check(folder: ProjectFolder) -> None:
    """Check the configuration, photographs, recordings, encoder, display and disk of a project."""
    from protocols.check import check_project

    project = open_project(folder)
    if project.newest_fit() is not None or (project.data / "natural.csv").is_file():
        announce("opening the networks")
    listen()
    findings = check_project(project, device=chosen_device())
    show(
        "\n".join(f"{f.status:<5} {f.what}: {f.text}" for f in findings), {"findings": [f.to_dict() for f in findings]}
    )
    if any(f.status == "fail" for f in findings):
        raise typer.Exit(3)


@app.command()
def selftest(
    quick: Annotated[bool, typer.Option("--quick", help="without the loop on a simulated subject")] = False,
) -> None:
    """Try this installation: its files, a project of every template, a key, and a small closed loop."""
    import tempfile

    announce("loading the networks")
    from protocols.check.installation import tried

    found = []
    with tempfile.TemporaryDirectory(prefix="stimsynth_selftest_") as folder:
        for finding in tried(Path(folder), quick=quick, progress=progress()):
            tell(f"{finding.status:<5} {finding.what}: {finding.text}")
            found.append(finding)
    failed = [finding.what for finding in found if finding.status == "fail"]
    said = f"{', '.join(failed)} failed" if failed else "this installation works"
    show(said, {"tries": [finding.to_dict() for finding in found], "works": not failed})
    if failed:
        raise typer.Exit(3)


@app.command()
def plan(
    reference: Annotated[float, typer.Option(help="expected response to the best natural image")],
    blank: Annotated[float, typer.Option(help="expected response to the blank")] = 0.0,
    fano: Annotated[float, typer.Option(min=0, help="variance of single trials over their mean")] = 1.3,
    references: Annotated[int, typer.Option(min=1, help="natural images shown again")] = 1,
    spread: Annotated[float, typer.Option(min=0, max=1, help="evoked response lost from each to the next")] = 0.05,
    repeats: Annotated[int, typer.Option(min=2, help="presentations of the controller and of each reference")] = 24,
    presentations: Annotated[
        int, typer.Option(min=0, help="of controller and references together, in place of --repeats")
    ] = 0,
    blocks: Annotated[int, typer.Option(min=1)] = 4,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5)] = 0.01,
    loss: Annotated[float, typer.Option(min=0, max=0.9, help="share of trials lost")] = 0.0,
    gain: Annotated[float, typer.Option(min=0, help="gain to plan for, of the evoked response")] = 0.3,
    power: Annotated[float, typer.Option(min=0.05, max=0.99, help="wanted power")] = 0.8,
) -> None:
    """Say without a project how many repeats a gain takes at one site, and which gain is within reach (stretch)."""
    from protocols.verdict.expected import ExpectedSite, Trials
    from protocols.verdict.power import plan_site

    if presentations:
        repeats = presentations // (1 + references)
        if repeats < max(2, blocks):
            raise typer.BadParameter(f"{presentations} presentations of {1 + references} images in {blocks} blocks")
    levels = [blank + (reference - blank) * max(0.0, 1 - spread * i) for i in range(references)]
    site = ExpectedSite(levels, blank=blank, fano=fano)
    found = plan_site(site, Trials(repeats=repeats, blocks=blocks, alpha=alpha, lost=loss), gain, wanted=power)
    show(found.text(), found.to_dict())


@app.command()
def run(
    folder: ProjectFolder,
    timeout: Annotated[float, typer.Option(help="seconds to wait for responses; 0: do not wait")] = 0.0,
) -> None:
    """Do every stage that can be done now, then say what is waited for; safe to kill and repeat.

    With `[loop] review` it stops before the export of a round. It says first what it is going to do and about how long
    that takes; after a fit it prints the table of the sites, before an export the plan of the round, after the
    evaluation how many sites were controlled.
    """
    from protocols import loop
    from protocols.ahead import ahead, ahead_text
    from protocols.rounds.export_notes import export_notes

    project = open_project(folder)
    state = loop.look(project)
    reporter, how = progress(), f"{chosen_device()} {options['workers'] or ''}".strip()
    if follows := ahead_text(ahead(project.for_stage(), state, how)):
        note(follows)
    if state.stage in ("fit", "generate", "export"):
        from protocols.check.before import warnings_before

        for warning in warnings_before(project):
            tell(warning)
    if state.waiting_for is None and state.stage in ("evolve", "fit", "generate", "export"):
        announce("loading the networks")
    state = loop.run(
        project,
        timeout_s=timeout,
        device=chosen_device(),
        engine=chosen_engine(),
        progress=reporter,
        tell=tell,
        around=partial(told_around, project, reporter=reporter, how=how),
    )
    waits = state.waiting_for not in (None, "review") and any(r.number == state.number for r in project.rounds())
    notes = export_notes(state.round or project.round(state.number)) if waits else []
    show("\n".join([state.summary(), *notes]), state.to_dict() | {"notes": notes})
    if state.waiting_for:
        raise typer.Exit(4)


@contextmanager
def told_around(project: Project, state: State, *, reporter: Progress | None = None, how: str = "") -> Iterator[None]:
    """Time a stage of `run`; print the plan of a round before it is exported, the sites after a fit, what became of a
    refit, the counts of the verdicts, and where the report lies.
    """
    from protocols.ahead import timed

    with timed(project, state, how):
        if state.stage == "export" and state.number > 0:
            from protocols.plan import plan_round

            tell(plan_round(project.for_stage(), state.number, progress=reporter).text())
        yield
    if state.stage == "fit" and (record := project.fitted_for(state.number)):
        from protocols.report.fit import fit_table, page_line

        tell(fit_table(record))
        if state.number > 1:
            from protocols.models.refit import refit_text

            tell(refit_text(record))
        tell(page_line(record))
    if state.stage == "evaluate":
        from protocols.verdict.control_report import ControlReport
        from protocols.verdict.text import objective_lines

        report = ControlReport.from_json(project.round(state.number).evaluation_path)
        tell("\n".join(f"round {state.number}: {objective_lines(s, ())[0]}" for s in report.objectives))
    if state.stage == "report":
        page = project.round(state.number).report_path.relative_to(project.folder).as_posix()
        tell(f"round {state.number}: the verdicts of all sites are in {page}")


@app.command()
def status(
    folder: ProjectFolder,
    learning: Annotated[bool, typer.Option("--learning", help="how the encoder learned, round by round")] = False,
) -> None:
    """Say where a project stands, one line per round, from its files alone."""
    from protocols.status import status_lines, status_of

    project = open_project(folder)
    record = status_of(project)
    text = status_lines(record)
    if learning:
        announce("loading the networks")
        listen()
        from protocols.report.learning import curve_text, learning_curve

        curve = learning_curve(project, device=chosen_device())
        text, record = "\n".join([text, curve_text(curve)]), record | {"learning_curve": curve}
    show(text, record)


@app.command()
def trunk(
    out: Annotated[Path, typer.Argument(help="folder to write the encoder into")],
    folders: Annotated[list[Path], typer.Argument(help="project folders of earlier recordings of the area")],
    passes: Annotated[int, typer.Option(min=1, max=50, help="passes over the photographs of all projects")] = 8,
) -> None:
    """Tune one network on the recordings of several projects, for a new project to begin with (networks_from)."""
    projects = [open_project(folder) for folder in folders]
    announce("loading the networks")
    from protocols.models.trunk import make_trunk, trunk_text

    record = make_trunk(out, projects, passes=passes, device=chosen_device(), progress=progress())
    show(trunk_text(record, out), record)
