"""Commands run in this process, as a user types them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from protocols.cli.app import main


def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[object]
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def stimsynth(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``stimsynth ARGUMENTS``."""
    with pytest.MonkeyPatch.context() as patch:
        return cli(patch, capsys, ["stimsynth", *arguments])
