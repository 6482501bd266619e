"""One step after the other of an evolution on the rig: take the answer, score it, export the next generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from protocols.disk.files import write_json
from protocols.progress import Reporter
from protocols.project.folder import Project, Round
from protocols.project.generations.files import Evolution, Generation

from .candidates import candidates_of, choose
from .images import Pictures
from .latent import open_latent
from .outbox import export_images, images_again, looked_at, next_images, optimiser_of, propose
from .plan import open_plan
from .scores import read_scores, score_generation

Ingest = Callable[[Generation], Any]
"""Takes the answer of an exported generation (`protocols.loop.ingest_round`), or raises."""


@dataclass(frozen=True)
class Step:
    """What was done in an evolution, one sentence each, and whether it is finished."""

    round: int
    finished: bool
    lines: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The sentences."""
        return "\n".join(self.lines)

    def to_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {"round": self.round, "finished": self.finished, "done": self.lines}


def advance(
    project: Project,
    round_: Round,
    *,
    ingest: Ingest,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Step:
    """Do what can be done now: take and score the answer that is there, then export what comes next or end.

    With ``[loop] review`` the images of what comes next are first only made, and exported by the call after that.

    May be killed anywhere and repeated: every file is written whole, the record of a stage last, and what comes next
    follows from the plan and the scores of all generations so far, so that the same images are made again.

    Parameters
    ----------
    project : Project
        With its project.toml read once (`Project.for_stage`).
    round_ : Round
        The round that the images are evolved for.
    ingest : callable
        Called for a generation that was exported and whose answer is not taken yet.

    Raises
    ------
    DataError
        O01 to O08, and those of `ingest`, of an export and of the encoder where the evolution needs it.
    """
    evolution, lines = Evolution(round_), list[str]()
    if evolution.done:
        return Step(round_.number, True, ["the evolution is finished"])
    pictures = Pictures.of(project, open_latent(project, device=device))
    plan = open_plan(evolution, project, pictures, device=device)
    records = read_scores(evolution)
    waiting = evolution.open_generation()
    if waiting is not None:
        if not waiting.ingested:
            lines.append(f"generation {waiting.generation}: {ingest(waiting).summary()}")
        records.append(score_generation(waiting, plan, records))
        round_.log("evolve", generation=waiting.generation, presentations=records[-1]["presentations"])
        write_json(waiting.scores_path, records[-1])
        lines += told(records[-1])
    done = sum(not r["again"] for r in records)
    if records and records[-1]["again"]:
        record = choose(evolution, plan, records)
        lines.append(f"{len(record['chosen'])} of {len(plan.targets)} images enter the round as the arm evolved")
        return Step(round_.number, True, lines)
    settings, generation = project.config.evolution, evolution.generation(len(records) + 1)
    if done >= max(1, settings.generations):
        centres = {t: optimiser_of(plan, round_.number, t, records=records).best() for t in plan.targets}
        shown = candidates_of(evolution, plan, pictures, centres=centres, records=records, count=settings.candidates)
        stimuli, often = images_again(project, plan, shown), settings.candidate_repeats
        told_next = f"{len(stimuli)} candidates are shown again, as generation {generation.generation}"
    else:
        stimuli = next_images(project, evolution, plan, pictures=pictures, records=records, progress=progress)
        often, told_next = plan.settings.repeats, f"generation {done + 1} of {settings.generations} is exported"
    seen = looked_at(generation, stimuli)
    if project.config.loop.review and not seen:
        propose(generation, stimuli)
        lines.append(f"{len(stimuli)} images of generation {generation.generation} are made and wait to be looked at")
        return Step(round_.number, False, lines)
    export_images(project, generation, plan, pictures=pictures, stimuli=seen or stimuli, often=often, progress=progress)
    return Step(round_.number, False, [*lines, told_next])


def told(record: dict[str, Any]) -> list[str]:
    """The scores of a generation in words, one line per target."""
    what = "shown again" if record["again"] else "scores"
    lines = []
    for target, found in record["targets"].items():
        if found["mean"] is None:
            lines.append(f"{target}: no image has a valid trial")
            continue
        note = "" if found["reference_from"] == "this generation" else f" (level from {found['reference_from']})"
        lines.append(
            f"{target}: {what} {found['mean']:+.2f} on average, {found['best']:+.2f} at most, in natural SDs above the "
            f"references{note}"
        )
    return lines
