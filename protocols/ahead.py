"""What `run` is going to do until it must wait, and how long that takes: from this machine's last times, else from a
reference, and said as an estimate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_json
from protocols.disk.leftovers import machine
from protocols.errors import DataError
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.photographs import read_photographs

from .state import State, evolution_of

__all__ = ["Step", "ahead", "ahead_text", "timed"]

COMPUTED = ("fit", "generate", "export")
"""Stages that take seconds to hours."""
TOLD = {
    "fit": "fit the encoder of round {number}",
    "evolve": "take and make generations of the evolution before round {number}",
    "generate": "make the images of round {number}",
    "export": "export round {number}",
    "look": "look at the blocks of round {number}",
    "ingest": "check the answer to round {number}",
    "evaluate": "evaluate round {number}",
    "report": "write the report of round {number}",
}
REFERENCE = {
    ("fit", "quick"): 4.0e-6,
    ("fit", "full"): 5.0e-5,
    ("generate", "quick"): 1.8e-6,
    ("generate", "full"): 4.5e-6,
    ("export", "quick"): 7.0e-6,
    ("export", "full"): 1.0e-5,
}
"""Seconds per unit of work on one core, measured once on a recording of V4 (docs/fit.md): they miss by a factor of two
to three on another machine."""


ALIKE = 4.0
"""Factor in work within which the last time is scaled: beyond it, what takes the same time always would distort it."""


@dataclass(frozen=True)
class Step:
    """One stage that can be done without waiting.

    Attributes
    ----------
    stage : str
    what : str
        In words.
    seconds : float or None
        Estimated; None where nothing is known.
    measured : bool
        From the last time on this machine, not from the reference.
    """

    stage: str
    what: str
    seconds: float | None = None
    measured: bool = False

    def text(self) -> str:
        """One phrase."""
        if self.seconds is None or self.seconds < 2:
            return self.what
        return f"{self.what} (about {spoken(self.seconds)}{'' if self.measured else '?'})"


def ahead(project: Project, state: State, how: str = "") -> list[Step]:
    """The stages from `state` on until a person or the rig must act; empty where one must act now.

    `how`: what else changes the speed, the device and the number of workers.
    """
    if state.waiting_for is not None or state.stage == "finished":
        return []
    order = ["ingest", "evaluate", "report", "fit", "generate", "export"]
    begin = order.index(state.stage) if state.stage in order else -1
    if begin < 0 or (state.stage == "export" and state.number == 0):
        return [_step(project, state.stage, state.number, how=how)]
    listed = list[Step]()
    for stage in order[begin:]:
        later = begin < order.index("fit") <= order.index(stage)
        number = state.number + later
        if number > project.config.loop.rounds or (number == 0 and stage in ("evaluate", "report")):
            continue
        if stage == _before_evolution(project, number):
            return [*listed, _step(project, "evolve", number, how=how)]
        if stage == "export" and project.config.loop.review:
            return listed
        listed.append(_step(project, stage, number, how=how))
    return listed


def _before_evolution(project: Project, number: int) -> str:
    """The stage that an unfinished evolution of round `number` comes before; "" where there is none."""
    round_ = next((r for r in project.rounds() if r.number == number), None)
    return project.config.evolution.comes_before if evolution_of(project, round_, number) is not None else ""


def ahead_text(steps: list[Step]) -> str:
    """One sentence on what follows; "" where nothing does."""
    if not steps:
        return ""
    text = f"going to {', '.join(step.text() for step in steps)}"
    known = [step for step in steps if step.seconds is not None and step.seconds >= 2]
    if not known:
        return text
    total = spoken(sum(step.seconds or 0.0 for step in known))
    if all(step.measured for step in known):
        return f"{text}; together about {total}, by the last times on this machine"
    return (
        f"{text}; together about {total}: an estimate. Where a ? stands nothing was timed on this machine yet, and it "
        "may take a third or three times as long"
    )


def _step(project: Project, stage: str, number: int, *, how: str) -> Step:
    what = TOLD[stage].format(number=number)
    if stage not in COMPUTED:
        return Step(stage, what)
    work, words = 0.0, ""
    with suppress(DataError, OSError):  # told by the stage itself
        work, words = _work(project, stage, number)
    what = f"{what}{words}"
    before = _times(project).get(_key(project, stage, number, how=how))
    share = work / before["work"] if before and before["work"] and before.get("machine") == machine() else 0.0
    if before and 1 / ALIKE <= share <= ALIKE:
        return Step(stage, what, before["seconds"] * share, True)
    known = _refit(project, number) in ("first", "full") if stage == "fit" else number or stage != "export"
    rate = REFERENCE.get((stage, project.config.encoder.effort)) if known else None
    gradient = stage != "generate" or project.config.synthesis.generator == "gradient"
    return Step(stage, what, work * rate if rate and work and gradient else None)


def _work(project: Project, stage: str, number: int) -> tuple[float, str]:
    """Units of work of a stage, and its numbers in words: pixels times images, and times steps for an ascent."""
    pixels = float(project.display.width_px * project.display.height_px)
    photographs = len(read_photographs(project.data / "natural.csv"))
    if stage == "fit":
        effort = project.config.encoder.effort
        return photographs * pixels, f" on {photographs} photographs with effort {effort}"
    if number == 0:
        return photographs * pixels, f" with {photographs} photographs"
    images = _images(project, number)
    if images is None:
        return 0.0, ""
    steps = project.config.synthesis.steps
    if stage == "generate":
        return images * steps * pixels, f", {images} of {steps} steps each"
    return 6 * images * pixels, ""  # controllers, references, arms and graded images


def _images(project: Project, number: int) -> int | None:
    """How many controllers a round has; before its fit, as many as the last fit has targets for; None: not known."""
    settings = project.config.synthesis
    if settings.targets == "all":
        newest = project.newest_fit()
        fitted = None if newest is None else fitted_for(project.fitted, min(newest, number))
        if fitted is None:
            return None
        targets = sum(site.eligible_target for site in fitted.sites)
    else:
        targets = len(settings.targets)
    return targets * len(settings.objectives) * settings.seeds


@contextmanager
def timed(project: Project, state: State, how: str = "") -> Iterator[None]:
    """Measure a stage that is carried out inside this block, for the next estimate.

    One that fails is not kept, nor the next one: it goes on with what was done.
    """
    if state.stage not in COMPUTED:
        yield
        return
    mark = project.cache / "stage_begun.json"
    key, resumed = _key(project, state.stage, state.number, how=how), False
    with suppress(DataError, OSError, ValueError):
        resumed = mark.is_file() and read_json(mark) == {"stage": key}
    with suppress(DataError, OSError):
        write_json(mark, {"stage": key})
    begun = time.monotonic()
    yield
    with suppress(DataError, OSError):  # an estimate is worth no error
        mark.unlink(missing_ok=True)
        if resumed:
            return
        work, _ = _work(project, state.stage, state.number)
        times = _times(project)
        times[key] = {
            "seconds": round(time.monotonic() - begun, 2),
            "work": work,
            "machine": machine(),
        }
        write_json(_path(project), times)


def _key(project: Project, stage: str, number: int, *, how: str) -> str:
    """What makes a stage comparable with the last one: its kind, and the settings that change its speed."""
    if stage == "fit":
        settings = project.config.encoder.settled()
        what = f"{settings.effort} {settings.preset} {settings.fine_tune} {settings.readout} {_refit(project, number)}"
    else:
        what = project.config.synthesis.generator if stage == "generate" else "" if number else "baseline"
    return f"{stage} {what} {how}".strip()


def _refit(project: Project, number: int) -> str:
    """What the fit of round `number` is: "first", or the mode of the refit where an encoder serves."""
    newest = project.newest_fit()
    return "first" if number <= 1 or newest is None else project.config.refit.mode


def _path(project: Project) -> Path:
    return project.cache / "stage_times.json"


def _times(project: Project) -> dict[str, Any]:
    """The kept times; empty where there are none, or the file is damaged."""
    with suppress(DataError, OSError, ValueError):
        found = read_json(_path(project))
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if _is_time(value)}
    return {}


def _is_time(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), int | float) and value[name] >= 0 for name in ("seconds", "work")
    )


def spoken(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 50:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"
