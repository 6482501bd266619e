"""The demo: a whole closed loop on a simulated subject that the toolkit knows only through the files of a rig."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from encoders import DEFAULT_BACKBONE
from protocols.disk.files import is_litter
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import LoopConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.photograph_import import import_photographs
from protocols.shards.engines import Engine
from protocols.verdict.control_report import ControlReport

from .errors import DataError
from .loop import run
from .progress import Reporter

MARKER = "made_by_stimsynth_demo"


@dataclass(frozen=True)
class DemoResult:
    """What a demo reached: the project, its evaluated rounds and the page to open."""

    project: Project
    reports: dict[int, ControlReport]
    page: Path
    seconds: float

    def summary(self) -> str:
        """Verdict counts per round, chance levels, and where the report lies."""
        lines = [f"round {number}\n{report.summary()}" for number, report in self.reports.items()]
        config = self.project.config
        repeats = config.protocol.repeats
        often = f"{repeats} repeats" if repeats is not None else "presentations divided by the planner"
        synthesis, display = config.synthesis, config.display
        lines.append(
            f"{len(self.reports)} rounds in {self.seconds:.0f} s: {' and '.join(synthesis.objectives)}, "
            f"{synthesis.seeds} seed, {synthesis.steps} steps, {display.width_px} x {display.height_px} px "
            f"{display.colour}, {often}; "
            "simulated subject, labelled easy transfer (a network of the encoder's family)"
        )
        lines.append(f"report: {self.page.as_posix()}")
        return "\n\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The result for scripts."""
        counts = {str(number): report.counts() for number, report in self.reports.items()}
        return {"report": self.page.as_posix(), "rounds": counts, "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class DemoSettings:
    """What a demo does.

    Attributes
    ----------
    rounds : int
        Closed-loop rounds after the baseline.
    sites : int
        Driven sites of the simulated subject.
    steps : int
        Gradient steps per image.
    photographs : Path or None
        Folder of photographs; None: the built-in ones.
    seed : int
        Seed of the subject and its rig.
    """

    rounds: int = 2
    sites: int = 12
    steps: int = 60
    photographs: Path | None = None
    seed: int = 0


def run_demo(
    out: Path,
    settings: DemoSettings | None = None,
    *,
    fresh: bool = False,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> DemoResult:
    """Make a project and a simulated subject in `out`, then run the rounds of `settings`; a demo that was killed
    continues where it stopped.

    The subject's truth lies in ``out/subject``, beside the project; only the rig's process reads it.
    """
    begun, settings = time.monotonic(), settings or DemoSettings()
    seed = settings.seed
    claim(out, fresh)
    folder = out / "project"
    if not (folder / "project.toml").is_file():
        Project.create(folder, project_toml(settings))
    project = Project.open(folder)
    if not (project.data / "natural.csv").is_file():
        import_photographs(settings.photographs, project.display, project.data, progress=progress)
    if not (out / "subject" / "subject.json").is_file():
        announce(
            progress, "simulated subject", lambda: make_subject(out / "subject", project, settings.sites, seed=seed)
        )
    while (state := run(project, device=device, engine=engine, progress=progress)).waiting_for:
        if state.round is None:
            raise RuntimeError(f"the demo waits for {state.waiting_for}")
        rig = partial(answer, out / "subject", state.round, seed=seed + state.number)
        announce(progress, f"simulated rig, round {state.number}", rig)
    done = {r.number: ControlReport.from_json(r.evaluation_path) for r in project.evaluated()}
    return DemoResult(project, done, project.rounds()[-1].report_path, time.monotonic() - begun)


def announce(progress: Reporter | None, label: str, act: Callable[[], None]) -> None:
    """Call `act` and report its beginning and end as one step of progress."""
    if progress is not None:
        progress(label, 0, 1)
    act()
    if progress is not None:
        progress(label, 1, 1)


def claim(out: Path, fresh: bool) -> None:
    """Make `out`, or make sure that an earlier demo made it; `fresh` empties it first."""
    if out.exists() and any(not is_litter(p.name) for p in out.iterdir()) and not (out / MARKER).is_file():
        raise DataError(
            str(out),
            found="a folder with other files",
            expected="a new folder, or one that an earlier demo made",
            cause="--out names a folder that is in use",
            fix="give another folder with --out",
            code="M01",
        )
    if fresh and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def project_toml(settings: DemoSettings) -> str:
    """project.toml of the demo: 128 px colour images, the defaults of everything else.

    The validator is of the encoder's own network: the default, another network, is the one that the subject is made of.
    """
    return template(
        config=Config(
            project=ProjectConfig(name="demo", species="simulated"),
            display=Display(width_px=128, height_px=128, size_deg=8.0, background=128, colour="rgb"),
            encoder=EncoderConfig(validator_backbone=DEFAULT_BACKBONE),
            synthesis=SynthesisConfig(steps=settings.steps),
            loop=LoopConfig(rounds=settings.rounds),
        )
    )


def make_subject(folder: Path, project: Project, sites: int, *, seed: int) -> None:
    """Make the simulated subject, in a process of its own, on the project's photographs."""
    command = [
        sys.executable,
        "-m",
        "protocols.simulate",
        "lite2",
        "--subject",
        str(folder),
        "--images",
        str(project.data),
    ]
    call([*command, "--sites", str(sites), "--seed", str(seed)])


def answer(subject: Path, round_: Round, *, seed: int, layout: str = "matlab") -> None:
    """Let the simulated rig show a round's outbox to `subject` and write its answer into the inbox, as a lab would."""
    folders = ["--subject", str(subject), "--outbox", str(round_.outbox), "--inbox", str(round_.inbox)]
    call(
        [
            sys.executable,
            "-m",
            "protocols.simulate",
            "rig",
            *folders,
            "--layout",
            layout,
            "--permute-sites",
            "--seed",
            str(seed),
        ]
    )


def call(command: list[str]) -> None:
    """Run `command`; where it fails, raise with what it printed."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(
            f"{' '.join(command[1:4])} failed with exit code {finished.returncode}:\n{finished.stderr[-2000:]}"
        )
