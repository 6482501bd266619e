"""The command line: parse, call, print; no logic.

Exit codes: 0 ok, 2 usage, 3 invalid data, 4 waiting or timed out, 5 safety stop, 6 interrupted and resumable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from . import __version__
from ._memory import keep_memory
from .cli_arguments import Colour, ProjectFolder, RoundNumber, Start
from .errors import DataError, SafetyStop
from .progress import Progress

app = typer.Typer(
    help="Closed-loop visual stimulus synthesis: fit an encoder, make controller images, export, ingest, evaluate, refit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
options: dict[str, Any] = {"json": False, "quiet": False, "device": None}


def version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        typer.echo(f"stimsynth {__version__}")
        raise typer.Exit


@app.callback()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, results only")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show the traceback of an error")] = False,
    device: Annotated[
        str | None,
        typer.Option(help="torch device: cpu, cuda, cuda:1; default: cpu, for reproduce the type that was recorded"),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of every command; they stand before its name."""
    options.update(json=as_json, quiet=quiet or as_json, verbose=verbose, device=device)


def progress() -> Progress:
    """The progress reporter that the options ask for."""
    return Progress(quiet=options["quiet"])


def chosen_device() -> str:
    """The device to compute on: the one asked for, else the CPU (`reproduce` alone falls back on the recorded one)."""
    return options["device"] or "cpu"


def show(text: str, value: dict[str, Any]) -> None:
    """Print `text` for people or `value` for scripts."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False) if options["json"] else text)


def open_project(folder: Path) -> Any:
    """Open the project folder."""
    from .session import Project

    return Project.open(folder)


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
) -> None:
    """Run a whole closed loop on a simulated subject, on a CPU, offline, and write a report."""
    from .demo import run_demo

    result = run_demo(
        out,
        rounds=rounds,
        sites=sites,
        steps=steps,
        photographs=photographs,
        seed=seed,
        fresh=fresh,
        device=chosen_device(),
        progress=progress(),
    )
    show(result.summary(), result.to_dict())


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="new project folder")],
    width: Annotated[int, typer.Option(help="image width in pixels")] = 256,
    height: Annotated[int | None, typer.Option(help="image height in pixels; default: the width")] = None,
    degrees: Annotated[float, typer.Option(help="image width in degrees of visual angle")] = 8.0,
    colour: Annotated[Colour, typer.Option(help="what the images are")] = Colour.GREY,
    background: Annotated[int, typer.Option(min=0, max=255, help="background pixel value")] = 128,
) -> None:
    """Make a project folder with a commented project.toml."""
    from .config import template
    from .display import Display
    from .files import make_id
    from .session import Project

    display = Display(
        width_px=width, height_px=height or width, size_deg=degrees, colour=colour.value, background=background
    )
    project = Project.create(folder, template(name=make_id(folder.name, "project"), display=display))
    show(
        f"made {project.folder}/project.toml: read it, then run `stimsynth export {folder} --baseline IMAGES`",
        {"project": str(project.folder)},
    )


@app.command()
def check(folder: ProjectFolder) -> None:
    """Check the configuration, photographs, recordings, encoder, display and disk of a project."""
    from .check import check_project

    findings = check_project(open_project(folder), device=chosen_device())
    show(
        "\n".join(f"{f.status:<5} {f.what}: {f.text}" for f in findings), {"findings": [f.to_dict() for f in findings]}
    )
    if any(f.status == "fail" for f in findings):
        raise typer.Exit(3)


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
) -> None:
    """Fit the encoder and its validator on the baseline recording; `--compare` scores readouts side by side instead."""
    from . import loop
    from .recordings import adopt_recording

    project = open_project(folder)
    if (images is None) != (responses is None):
        raise typer.BadParameter("--images and --responses belong together")
    if images is not None and responses is not None:
        adopt_recording(project, images, responses, progress=progress())
    if compare is not None:
        from .comparison import compare_readouts

        found = compare_readouts(project, compare, device=chosen_device(), progress=progress())
        show(f"{found.table()}\nwritten: fitted/comparison.json, .csv and .png", found.to_dict())
        return
    record = loop.fit(project, 1, device=chosen_device(), progress=progress())
    show(fit_text(record), record)


def fit_text(record: dict[str, Any]) -> str:
    """The fit report as a table."""
    from .report import fit_table

    return fit_table(record)


@app.command()
def refit(
    folder: ProjectFolder,
    mode: Annotated[str, typer.Option(help="full, warm, gain or reuse; default: that of project.toml")] = "",
    force: Annotated[str, typer.Option(help="reason to accept a refit that is worse; it is recorded")] = "",
) -> None:
    """Refit the encoder for the next round; one that predicts held-out photographs worse is refused."""
    from .refit import refit as refit_round
    from .refit import refit_text
    from .rounds_config import RefitConfig

    modes = get_args(RefitConfig.model_fields["mode"].annotation)
    if mode and mode not in modes:
        raise typer.BadParameter(f"mode {mode!r}; expected {' or '.join(modes)}")
    record = refit_round(open_project(folder), mode=mode, force=force, device=chosen_device(), progress=progress())
    show(f"{fit_text(record)}\n\n{refit_text(record)}", record)


@app.command()
def generate(
    folder: Annotated[Path | None, typer.Argument(help="project folder (the one with project.toml)")] = None,
    number: RoundNumber = None,
    wanted: Annotated[
        Path | None, typer.Option(help="TOML file of objectives: a batch of its own, outside the rounds")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="new folder: a batch of its own, outside the rounds")] = None,
    generator: Annotated[
        str | None, typer.Option(help="gradient, diffusion, or both with a comma between: compared (with --out)")
    ] = None,
    match: Annotated[
        str | None, typer.Option(help="what both generators share: contrast, or drive,contrast (with two generators)")
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="natural64, spectral, a file, a folder or a hub id (with --out and diffusion)")
    ] = None,
    strength: Annotated[
        str | None, typer.Option(help="weak, natural, strong, optimum or a number (with --out and diffusion)")
    ] = None,
    prior_steps: Annotated[int | None, typer.Option(min=1, help="noise levels (with --out and diffusion)")] = None,
    noise_schedule: Annotated[
        str | None,
        typer.Option(help="of a network saved without its scheduler: linear, scaled_linear, squaredcos_cap_v2"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="images a row (with --out)")] = None,
    keep_seeds: Annotated[
        int | None, typer.Option(min=1, help="only the best so many after 10 steps climb on (gradient, with --out)")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="gradient steps an image (with --out)")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="so long, then the best so far (gradient, with --out)")
    ] = None,
    start: Annotated[Start | None, typer.Option(help="where the ascent starts (with --out)")] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="ten large steps from photographs, for a first look in seconds (gradient, with --out)"
        ),
    ] = False,
    list_kinds: Annotated[bool, typer.Option("--kinds", help="list the kinds of objective and leave")] = False,
) -> None:
    """Synthesise the controllers of a round, or, with --out, a batch of its own: project.toml's objectives, or those of --wanted."""
    if list_kinds:
        from .wanted import kinds

        show("\n".join(f"{kind:<14}{', '.join(keys)}" for kind, keys in kinds().items()), dict(kinds()))
        return
    if folder is None:
        raise typer.BadParameter("expected the project folder")
    asked = {
        "seeds": seeds,
        "keep_seeds": keep_seeds,
        "steps": steps,
        "seconds": seconds,
        "start": start and start.value,
        "quick": quick or None,
    }
    sampled = {"prior": prior, "strength": strength, "steps": prior_steps, "noise_schedule": noise_schedule}
    given = (wanted, generator, match, *asked.values(), *sampled.values())
    if out is None and any(option is not None for option in given):
        raise typer.BadParameter(
            "--wanted, --generator, --prior, --seeds and the like go with --out; a round takes what project.toml says"
        )
    if out is not None:
        if number is not None:
            raise typer.BadParameter("--out takes no --round: such a batch belongs to no round")
        from .batch_command import make_batch

        project = open_project(folder)
        told = make_batch(
            project, out, wanted, generator, match, sampled, device=chosen_device(), progress=progress(), **asked
        )
        show(*told)
        return
    from . import loop

    project = open_project(folder)
    number = number if number is not None else loop.look(project).number
    batch = loop.generate(project, number, device=chosen_device(), progress=progress())
    path = project.round(number).controllers_path.relative_to(project.folder).as_posix()
    outside = None if batch.outside is None else int(batch.outside.sum())
    beside = "" if outside is None else f"; {outside} of them outside the distribution of the fitted images"
    record = {"round": number, "images": len(batch), "outside": outside, "file": path}
    show(f"{len(batch)} controllers of round {number} in {path}{beside}", record)


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
) -> None:
    """Export a round for the rig: images, trial order, manifest; `--baseline IMAGES` makes round 0."""
    from . import loop
    from .recordings import import_baseline
    from .session_plan import plan_round

    project = open_project(folder)
    if baseline is not None or demo_photographs:
        import_baseline(project, baseline, progress=progress())
        number = 0
    number = number if number is not None else loop.look(project).number
    if dry_run:
        plan = plan_round(project, number, gain=gain, wanted=power, progress=progress())
        show(plan.text(), plan.to_dict())
        return
    outbox = loop.export(project, number, device=chosen_device(), progress=progress())
    place = outbox.relative_to(project.folder).as_posix()
    show(
        f"round {number} is in {place}: copy it to the rig; README.txt there says how to answer",
        {"round": number, "outbox": place},
    )


@app.command()
def plan(
    reference: Annotated[float, typer.Option(help="expected response to the best natural image")],
    blank: Annotated[float, typer.Option(help="expected response to the blank")] = 0.0,
    fano: Annotated[float, typer.Option(min=0, help="variance of single trials over their mean")] = 1.3,
    references: Annotated[int, typer.Option(min=1, help="natural images shown again")] = 5,
    spread: Annotated[float, typer.Option(min=0, max=1, help="evoked response lost from each to the next")] = 0.05,
    repeats: Annotated[int, typer.Option(min=2)] = 24,
    blocks: Annotated[int, typer.Option(min=1)] = 4,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5)] = 0.01,
    loss: Annotated[float, typer.Option(min=0, max=0.9, help="share of trials lost")] = 0.0,
    gain: Annotated[float, typer.Option(min=0, help="gain to plan for, of the evoked response")] = 0.3,
    power: Annotated[float, typer.Option(min=0.05, max=0.99, help="wanted power")] = 0.8,
) -> None:
    """Say without a project how many repeats a gain takes at one site, and which gain is within reach (stretch)."""
    from .planning import ExpectedSite, Trials, plan_site

    levels = [blank + (reference - blank) * max(0.0, 1 - spread * i) for i in range(references)]
    site = ExpectedSite(levels, blank=blank, fano=fano)
    found = plan_site(site, Trials(repeats=repeats, blocks=blocks, alpha=alpha, lost=loss), gain, wanted=power)
    show(found.text(), found.to_dict())


@app.command()
def ingest(
    folder: ProjectFolder,
    file: Annotated[
        Path | None, typer.Option(help="responses file; default: the inbox of the round that waits")
    ] = None,
    number: RoundNumber = None,
) -> None:
    """Check recorded responses and keep them as the round's trial table."""
    from . import loop
    from .ingest import ingest as ingest_file
    from .key import read_key

    project = open_project(folder)
    number = number if number is not None else loop.look(project).number
    round_ = project.round(number)
    report = ingest_file(round_, file, encoder_sites=read_key(round_.key_path).site_ids or None)
    show(report.summary(), report.to_dict())


@app.command()
def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="project folder")] = None,
    number: RoundNumber = None,
    responses: Annotated[Path | None, typer.Option(help="responses file, without a project")] = None,
    key: Annotated[Path | None, typer.Option(help="key.csv, without a project")] = None,
    alpha: Annotated[float, typer.Option(help="level of the test (files given; a project states its own)")] = 0.01,
    out: Annotated[Path | None, typer.Option(help="CSV to write (files given)")] = None,
) -> None:
    """Say whether control succeeded: of a round, or of any responses and key given as files."""
    from . import loop
    from .evaluation import evaluate as evaluate_files
    from .key import read_key
    from .readers.hdf5 import read_responses
    from .report_drift import drift_text
    from .round_drift import RoundDrift

    if folder is None and (responses is None or key is None):
        raise typer.BadParameter("give a project folder, or --responses and --key")
    told, beside = "", {}
    if folder is None:
        assert responses is not None
        assert key is not None
        report = evaluate_files(read_responses(responses), read_key(key), alpha=alpha)
        if out is not None:
            report.to_csv(out)
    else:
        project = open_project(folder)
        done = [r.number for r in project.rounds() if r.number > 0 and r.ingested]
        number = number if number is not None else max(done, default=1)
        report = loop.evaluate_round(project, project.round(number))
        drift, settings = RoundDrift.from_json(project.round(number).drift_path), project.config.drift
        told = drift_text(drift, align=settings.align, exclude=settings.exclude)
        beside = {"drift": None if drift is None else drift.to_dict()}
    show(report.summary() + told, report.to_dict() | beside)


@app.command()
def run(
    folder: ProjectFolder,
    timeout: Annotated[float, typer.Option(help="seconds to wait for responses; 0: do not wait")] = 0.0,
) -> None:
    """Do every stage that can be done now, then say what is waited for; safe to kill and repeat."""
    from . import loop

    state = loop.run(open_project(folder), timeout_s=timeout, device=chosen_device(), progress=progress())
    show(state.summary(), state.to_dict())
    if state.waiting_for:
        raise typer.Exit(4)


@app.command()
def status(
    folder: ProjectFolder,
    learning: Annotated[bool, typer.Option("--learning", help="how the encoder learned, round by round")] = False,
) -> None:
    """Say where a project stands, one line a round, from its files alone."""
    from .status import status_lines, status_of

    project = open_project(folder)
    record = status_of(project)
    text = status_lines(record)
    if learning:
        from .history import curve_text, learning_curve

        curve = learning_curve(project, device=chosen_device())
        text, record = "\n".join([text, curve_text(curve)]), record | {"learning_curve": curve}
    show(text, record)


@app.command()
def report(folder: ProjectFolder, number: RoundNumber = None) -> None:
    """Write the report page of an evaluated round."""
    from .report import write_report

    project = open_project(folder)
    done = [r.number for r in project.rounds() if r.evaluation_path.is_file()]
    path = write_report(project, project.round(number if number is not None else max(done, default=1)))
    place = path.relative_to(project.folder).as_posix()
    show(f"report: {place}", {"report": place})


@app.command()
def reproduce(
    manifest: Annotated[Path, typer.Argument(help="outbox/manifest.json of a round, in its project")],
    verify: Annotated[bool, typer.Option("--verify", help="leave with exit code 3 if anything differs")] = False,
    out: Annotated[
        Path | None, typer.Option(help="new folder for the images; default: reproduced/round_NN in the project")
    ] = None,
) -> None:
    """Make a round's controllers again from what was recorded and compare them with the round, pixel by pixel."""
    from .reproduce import reproduce as replay_round

    found = replay_round(manifest, out, device=options["device"] or "", progress=progress())
    show(found.summary(), found.to_dict())
    if verify and not found.verified:
        raise typer.Exit(3)


def main() -> None:
    """Run the command line and translate errors into exit codes."""
    keep_memory()
    try:
        app(standalone_mode=True)
    except DataError as error:
        fail(error, 3)
    except SafetyStop as error:
        fail(error, 5)
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(6)
    except (ValueError, OSError) as error:
        fail(error, 3)


def fail(error: Exception, code: int) -> None:
    """Print the error for people or scripts and leave with `code`."""
    if options.get("verbose"):
        raise error
    if options["json"]:
        typer.echo(json.dumps({"error": str(error), "code": getattr(error, "code", None)}))
    else:
        text = str(error)
        typer.echo(text if text.startswith("error") else f"error: {text}", err=True)
    sys.exit(code)
