"""The page of the commands, made from the command line itself: the one program outside of it that imports it, to read its words."""

from __future__ import annotations

import re
from typing import Any

from .pages import MADE, cell, table


def commands_page() -> str:
    """Every command with its arguments and options, as `--help` says them."""
    import typer

    from protocols.cli.app import app

    group = typer.main.get_command(app)
    context = group.make_context("stimsynth", [], resilient_parsing=True)
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "`--help` behind the name of a command prints the same. Exit codes: 0 ok, 2 usage, 3 invalid data ([by code](errors.md)), 4 waiting or timed out, 5 safety",
        "stop, 6 interrupted and resumable.",
        "",
        "## Options of every command",
        "",
        "They stand before the name of the command or after it.",
        "",
        *_options(group, context),
        "",
    ]
    commands = getattr(group, "commands", {})
    for name in sorted(commands):
        command = commands[name]
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        words = " ".join(piece.strip("{}") for piece in command.collect_usage_pieces(inner) if piece != "[OPTIONS]")
        lines += [f"## {name}", "", f"`stimsynth {name} {words}`".replace(" `", "`"), ""]
        lines += [*(cell(part) + "\n" for part in re.split(r"\n\s*\n", command.help or ""))]
        lines += [*_options(command, inner), ""]
    return "\n".join(lines).rstrip() + "\n"


def _options(command: Any, context: Any) -> list[str]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            rows.append([f"`{record[0]}`".replace("|", "\\|"), cell(record[1])])
    return table(["argument or option", "meaning"], rows) if rows else []
