"""A folder that holds the files of a layout and its photographs, and the command that imports them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from protocols.importing.assemble import assemble
from protocols.importing.contract import write_table
from protocols.importing.map import read_map
from protocols.project.folder import Project
from protocols.recordings.adopt import examine
from protocols.recordings.readers import read_responses
from protocols.recordings.responses import Responses
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.importing.presets.layouts import LAYOUTS, Layout, pictures


@dataclass(frozen=True)
class Outcome:
    """What the command answered."""

    code: int
    out: str
    err: str
    recording: Path


def laid_out(folder: Path, preset: str) -> Layout:
    """The files of a layout, and a folder `pictures` beside them."""
    made = LAYOUTS[preset](folder)
    pictures(folder / "pictures", made.photographs)
    return made


def imported(capsys: pytest.CaptureFixture[str], folder: Path, made: Layout, *more: object) -> Outcome:
    """``stimsynth import`` of the layout's files with its preset."""
    words = [word for setting in made.settings for word in ("--set", setting)]
    given = [folder / name for name in made.files]
    out = folder / "recording.h5"
    answer = stimsynth(
        capsys, "import", *given, "--preset", made.preset, *words, "--images", folder / "pictures", "--out", out, *more
    )
    return Outcome(*answer, out)


PRESETS = Path(__file__).parents[4] / "protocols/importing/presets"


def door(folder: Path, made: Layout, project: Project) -> Responses:
    """The way of `import` and `fit` without the commands: map, files, one file of responses, and all checks of it."""
    path, out, names = PRESETS / f"{made.preset}.toml", folder / "recording.h5", sorted(made.photographs)
    told = read_map(path, made.settings)
    write_table(out, assemble(told, [folder / name for name in made.files], folder=path.parent, names=names))
    return examine(project, names, out)[0]


def read(outcome: Outcome, made: Layout) -> Responses:
    """The recording as `fit` reads it."""
    return read_responses(outcome.recording, names=sorted(made.photographs))
