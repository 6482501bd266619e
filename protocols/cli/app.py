"""The command line's frame: options of every command, printing, errors into exit codes.

Exit codes: 0 ok, 2 usage, 3 invalid data, 4 waiting or timed out, 5 safety stop, 6 interrupted and resumable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from protocols.devices import checked_device
from protocols.disk.shares import told_error, unread_error
from protocols.errors import DataError, SafetyStop
from protocols.memory import keep_memory
from protocols.packages import version as toolkit_version
from protocols.progress import Progress

app = typer.Typer(
    help=(
        "Closed-loop visual stimulus synthesis: fit an encoder, make controller images, export, ingest, evaluate, "
        "refit."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
options: dict[str, Any] = {"json": False, "quiet": False, "device": None}
reporters: list[Progress] = []
"""Those of the command that runs, for their bars to be removed before an error is printed."""


def version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        typer.echo(f"stimsynth {toolkit_version()}")
        raise typer.Exit


def known_device(value: str | None) -> str | None:
    """Refuse a device that torch cannot use here, before the command does anything."""
    try:
        return None if value is None else checked_device(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.callback()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, results only")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show the traceback of an error")] = False,
    device: Annotated[
        str | None,
        typer.Option(
            callback=known_device,
            help="torch device: cpu, cuda, cuda:1, mps; default: cpu, for reproduce the type that was recorded",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of every command; they stand before its name."""
    options.update(json=as_json, quiet=quiet or as_json, verbose=verbose, device=device)


def progress() -> Progress:
    """The progress reporter that the options ask for."""
    reporters.append(Progress(quiet=options["quiet"]))
    return reporters[-1]


def close_bars() -> None:
    """Remove the progress bars that are still on the terminal."""
    while reporters:
        reporters.pop().close()


def chosen_device() -> str:
    """The device to compute on: the one asked for, else the CPU (`reproduce` alone falls back on the recorded one)."""
    return options["device"] or "cpu"


def announce(what: str) -> None:
    """Say on standard error what begins now, before libraries are imported that take seconds; nothing where quiet."""
    if not options["quiet"]:
        typer.echo(f"  {what} ...", err=True)


def show(text: str, value: dict[str, Any]) -> None:
    """Print `text` for people or `value` for scripts."""
    close_bars()
    typer.echo(json.dumps(value, indent=1, allow_nan=False) if options["json"] else text)


def tell(text: str) -> None:
    """Print `text` for people before a command has ended; a script finds it in the object printed at the end."""
    if not options["json"]:
        close_bars()
        typer.echo(text)


def open_project(folder: Path) -> Any:
    """Open the project folder."""
    from protocols.project.folder import Project

    return Project.open(folder)


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
        close_bars()
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(6)
    except OSError as error:
        fail(told_error(error) or unread_error(error), 3)
    except ValueError as error:
        fail(error, 3)


def fail(error: Exception, code: int) -> None:
    """Print the error for people or scripts and leave with `code`."""
    close_bars()
    if options.get("verbose"):
        raise error
    if options["json"]:
        typer.echo(json.dumps({"error": str(error), "code": getattr(error, "code", None)}))
    else:
        text = str(error)
        typer.echo(text if text.startswith("error") else f"error: {text}", err=True)
    sys.exit(code)
