"""Where a project stands: what can be done next, or what is waited for, from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.project.folder import Project, Round
from protocols.project.generations.files import Evolution, Generation
from protocols.recordings.blocks import look_due, poll_blocks
from protocols.recordings.dataset import baseline
from protocols.recordings.ingest import poll_inbox
from protocols.recordings.parts.delivery import Delivery, look_of_parts, survey
from protocols.recordings.recording import refuse_lost_baseline


@dataclass(frozen=True)
class State:
    """Where a project stands.

    Parameters
    ----------
    stage : str
        The stage that comes next ("fit", "evolve", "generate", "export", "look", "ingest", "evaluate", "report"), or
        "finished".
    number : int
        The round that it belongs to.
    waiting_for : str or None
        "photographs", "responses" or "review" where a person or a rig must act first; None otherwise.
    round : Round or None
        The round waited for, or the `Generation` of its evolution.
    delivery : Delivery or None
        The parts of its answer that are there.
    """

    project: Project
    stage: str
    number: int
    waiting_for: str | None = None
    round: Round | None = None
    delivery: Delivery | None = None

    def summary(self) -> str:
        """One sentence on what was reached and what comes next."""
        if self.waiting_for == "photographs" and (self.project.data / "responses.h5").is_file():
            return (
                "a recording made elsewhere was taken in part: give `stimsynth fit --images DIR --responses FILE` again"
            )
        if self.waiting_for == "photographs":
            return (
                "waiting for photographs: run `stimsynth export --baseline IMAGES`, or "
                "`stimsynth fit --images DIR --responses FILE`"
            )
        if self.waiting_for == "responses" and self.round is not None:
            inbox = self.round.inbox.relative_to(self.project.folder).as_posix()
            here = "" if self.delivery is None else f"\n{self.delivery.summary()}"
            due = look_due(self.round)
            of = f" (generation {self.round.generation})" if isinstance(self.round, Generation) else ""
            return f"round {self.number}{of}: waiting for {inbox}/responses.h5 and responses.h5.done{due}{here}"
        if self.waiting_for == "review" and isinstance(self.round, Generation):
            place = self.round.proposed_path.relative_to(self.project.folder).as_posix()
            return (
                f"round {self.number}: the images of generation {self.round.generation} are made and wait to be looked "
                f"at ([loop] review), in {place} and in `stimsynth serve`; veto with `stimsynth decide`; `stimsynth "
                "evolve` exports them"
            )
        if self.waiting_for == "review":
            return (
                f"round {self.number}: the images are made and wait to be looked at ([loop] review): see `stimsynth "
                "preview` or `stimsynth serve`, veto with `stimsynth decide`; `stimsynth export` goes on"
            )
        if self.stage == "finished":
            return f"finished: {self.number} rounds evaluated"
        return f"round {self.number}: {self.stage} comes next"

    def to_dict(self) -> dict[str, Any]:
        """The state for scripts."""
        inbox = None if self.round is None else self.round.inbox.relative_to(self.project.folder).as_posix()
        here: dict[str, Any] = {} if self.delivery is None else {"delivery": self.delivery.to_dict()}
        if isinstance(self.round, Generation):
            here["generation"] = self.round.generation
        return {"stage": self.stage, "round": self.number, "waiting_for": self.waiting_for, "inbox": inbox, **here}


def look(project: Project) -> State:
    """What can be done next, or what is waited for, from the files of the project alone.

    Raises
    ------
    DataError
        B06: rounds were shown, and the recording that they are compared with is gone.
    """
    kept = project.for_stage()
    wanted = kept.config.loop.rounds  # an invalid project.toml is reported before anything else
    if not (project.data / "natural.csv").is_file():
        return State(project, "import", 0, "photographs")
    rounds = {r.number: r for r in project.rounds()}
    if baseline(project) is None:
        if 0 not in rounds:
            refuse_lost_baseline(project)
        return _recording(project, rounds.get(0), 0, kept=kept) or State(
            project=project, stage="ingest", number=0, waiting_for=None, round=rounds[0]
        )
    for number in range(1, wanted + 1):
        round_ = rounds.get(number)
        evolving = evolution_of(kept, round_, number)
        before = kept.config.evolution.comes_before if evolving is not None else ""
        if evolving is not None and before == "fit":
            return evolving
        if project.fitted_for(number) is None:
            return State(project, "fit", number)
        if evolving is not None and before == "generate":
            return evolving
        if round_ is None or not round_.controllers_path.is_file():
            return State(project, "generate", number)
        if evolving is not None:
            return evolving
        if not round_.ingested:
            return _recording(project, round_, number, kept=kept) or State(
                project=project, stage="ingest", number=number, waiting_for=None, round=round_
            )
        for stage, path in (("evaluate", round_.evaluation_path), ("report", round_.report_path)):
            if not path.is_file():
                return State(project=project, stage=stage, number=number, waiting_for=None, round=round_)
    return State(project, "finished", wanted)


def evolution_of(project: Project, round_: Round | None, number: int) -> State | None:
    """What comes next in the evolution before round `number`; None where there is none, or it is finished."""
    settings = project.config.evolution
    if not settings.generations or number not in settings.rounds:
        return None
    if round_ is None:
        return State(project, "evolve", number)
    evolution = Evolution(round_)
    if evolution.done or round_.outbox.is_dir():
        return None
    generation = evolution.open_generation()
    proposed = evolution.proposed()
    if generation is None and proposed is not None and project.config.loop.review:
        return State(project=project, stage="evolve", number=number, waiting_for="review", round=proposed)
    if generation is None or generation.ingested or poll_inbox(generation) is not None:
        return State(project=project, stage="evolve", number=number, round=generation)
    here = delivered(project, generation)
    waiting = None if here is not None and here.complete else "responses"
    return State(project=project, stage="evolve", number=number, waiting_for=waiting, round=generation, delivery=here)


def _recording(project: Project, round_: Round | None, number: int, *, kept: Project) -> State | None:
    """Export, look, or wait; None where an answer is in the inbox, whole or in parts; `kept` has read project.toml."""
    if round_ is None or not round_.outbox.is_dir():
        waiting = "review" if number > 0 and kept.config.loop.review else None
        return State(project=project, stage="export", number=number, waiting_for=waiting, round=round_)
    if poll_inbox(round_) is not None:
        return None
    here = delivered(kept, round_)
    if poll_blocks(round_) is not None or look_of_parts(round_, here) is not None:
        return State(project=project, stage="look", number=number, waiting_for=None, round=round_, delivery=here)
    if here is not None and here.complete:
        return None
    return State(project=project, stage="ingest", number=number, waiting_for="responses", round=round_, delivery=here)


def delivered(project: Project, round_: Round) -> Delivery | None:
    """The parts of the answer to an exported round that are there; None where there are none."""
    settings = project.config.recording
    return survey(round_, max_dropped=settings.max_dropped, drop_extra=settings.extra == "drop")
