"""A small but real project with its simulated subject, shared by the tests of the loop and of what works on a fitted project."""

from __future__ import annotations

import shutil
from pathlib import Path

from protocols import Project, Round
from protocols.loop import run
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import EvaluationConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.photograph_import import demo_photographs, import_photographs
from tests.protocols.helpers.simulated_rig import answer, make_subject


def settings() -> Config:
    """Small but real: 64 px, 200 photographs, 6 sites, one round."""
    return Config(
        project=ProjectConfig(name="looptest", species="simulated"),
        display=Display(width_px=64, height_px=64, size_deg=4.0, background=128, colour="rgb"),
        encoder=EncoderConfig(folds=3, validator_backbone="offline:efficientnet_lite0"),
        synthesis=SynthesisConfig(steps=12),
        protocol=ProtocolConfig(
            presentations=1300, blocks=4, natural_images=10, blanks_per_block=6, baseline_repeats=6
        ),
        evaluation=EvaluationConfig(permutations=999),
        loop=LoopConfig(rounds=1),
    )


def some_photographs(folder: Path) -> Path:
    """Every third built-in photograph, with its source photograph as group."""
    folder.mkdir()
    lines = ["filename,group"]
    for photograph in demo_photographs()[::3]:
        (folder / photograph.filename).write_bytes(photograph.data)
        lines.append(f"{photograph.filename},{photograph.group}")
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")
    return folder


def make(folder: Path) -> Path:
    """Fill `folder` with a subject and a project whose round 0 is answered and whose round 1 waits for the rig."""
    project = Project.create(folder / "project", template(settings()))
    import_photographs(some_photographs(folder / "photographs"), project.display, project.data)
    make_subject(folder / "subject", project, 6, seed=0)
    state = run(project)
    assert (state.waiting_for, state.number) == ("responses", 0)
    assert state.round is not None
    answer(folder / "subject", state.round, seed=0)
    state = run(project)
    assert (state.waiting_for, state.number) == ("responses", 1)
    return folder


def copy(source: Path, target: Path) -> Path:
    """A copy of a folder."""
    shutil.copytree(source, target)
    return target


def first_round(folder: Path) -> Round:
    return Project.open(folder / "project").round(1)
