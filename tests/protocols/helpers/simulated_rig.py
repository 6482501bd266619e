"""The simulated subject and its rig as the demo starts them, in this process: a process of its own needs seconds to load networks.

Whether the rig's process sees only what it may is tested in `tests/protocols/simulate`, and one round of the shared loop
(fixture `finished`) is answered by a process.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols import Project, Round, demo
from protocols.simulate.command import main


def simulate(*words: object) -> None:
    """``python -m protocols.simulate -q WORDS``, which has to succeed."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["-q", *map(str, words)]) == 0


def answer(subject: Path, round_: Round, *, seed: int, layout: str = "matlab") -> None:
    """See `protocols.demo.answer`."""
    with _in_this_process():
        demo.answer(subject, round_, seed=seed, layout=layout)


def make_subject(folder: Path, project: Project, sites: int, *, seed: int) -> None:
    """See `protocols.demo.make_subject`."""
    with _in_this_process():
        demo.make_subject(folder, project, sites, seed=seed)


@contextlib.contextmanager
def _in_this_process() -> Iterator[None]:
    def call(command: list[str]) -> None:
        assert command[:3] == [sys.executable, "-m", "protocols.simulate"]
        simulate(*command[3:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "call", call)
        yield
