"""Commands that make other images than `generate` stand below its help, one line each."""

from __future__ import annotations

import typer.main
from typer.testing import CliRunner

from protocols.cli import app
from protocols.cli.insilico import SIBLINGS


def test_every_line_names_a_command_and_stands_below_the_help_of_generate() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(SIBLINGS) <= set(commands)
    text = CliRunner().invoke(app, ["generate", "--help"]).output
    for name, words in SIBLINGS.items():
        assert f"{name:<14}{words}" in text, "one line of at most 62 characters"
        assert len(words) <= 62
