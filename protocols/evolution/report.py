"""How far an evolution is, or what it reached: for people, and as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.generations.files import RECORD, Evolution, evolution_before, read_record

from .scores import curve_of, read_scores


@dataclass(frozen=True)
class EvolutionReport:
    """The evolution before a round.

    Attributes
    ----------
    round : int
        The round that it was made for.
    presentations : int
        Usable trials of all generations so far.
    curve : dict of target to list of dict
        Mean and best score, and the level of the references, of each generation.
    chosen : dict of target to dict
        The images that enter the round; empty before the end.
    left_out : dict of target to str
    """

    round: int
    presentations: int
    curve: dict[str, list[dict[str, Any]]]
    chosen: dict[str, Any]
    left_out: dict[str, str]

    @classmethod
    def of(cls, project: Project, number: int) -> EvolutionReport:
        """The evolution whose images round `number` shows; an empty one where none has begun."""
        here = [Evolution(r) for r in project.rounds() if r.number == number and Evolution(r).plan_path.is_file()]
        found = here[0] if here else evolution_before(project, number)
        if found is None:
            return cls(number, 0, {}, {}, {})
        records = read_scores(found)
        ended = read_record(found.record_path, RECORD) if found.done else {}
        targets = list(records[0]["targets"]) if records else []
        return cls(
            round=found.round.number,
            presentations=sum(r["presentations"] for r in records),
            curve={t: curve_of(records, t) for t in targets},
            chosen=ended.get("chosen", {}),
            left_out=ended.get("left_out", {}),
        )

    def text(self) -> str:
        """One line per target, and what the scores are worth."""
        lines = [f"evolution of round {self.round}: {self.presentations} presentations"]
        for target, points in self.curve.items():
            means = [p["mean"] for p in points if p["mean"] is not None]
            course = f"mean score {means[0]:+.2f} to {means[-1]:+.2f}" if means else "no valid trial"
            if target in self.chosen:
                course += f"; the image of the round was shown again with {self.chosen[target]['score']:+.2f}"
            lines.append(f"{target}: {course}")
        lines += [f"{target}: no image enters the round ({why})" for target, why in self.left_out.items()]
        if self.chosen:
            lines.append(
                "in natural SDs above the references; chosen as the highest, so too high: the trials of the round judge"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "round": self.round,
            "presentations": self.presentations,
            "curve": self.curve,
            "chosen": self.chosen,
            "left_out": self.left_out,
        }


def refuse_other_stage(project: Project, number: int, stands: str) -> None:
    """Refuse to evolve where no evolution is asked for, or it is not its turn; a finished one is no refusal.

    Raises
    ------
    DataError
        O09
    """
    settings = project.config.evolution
    if evolution_before(project, number) is not None:
        return
    asked = settings.generations > 0 and number in settings.rounds
    raise DataError(
        "project.toml [evolution]",
        found=stands if asked else f"generations = {settings.generations}, rounds = {list(settings.rounds)}",
        expected=f"the evolution of round {number} to come next",
        cause="another stage comes first" if asked else "no evolution was asked for before this round",
        fix="run `stimsynth run`, which does every stage in its turn"
        if asked
        else f'set generations, such as 20, name {number} in rounds, and add "evolved" to [arms] kinds',
        code="O09",
    )


def refuse_unfinished(project: Project, number: int) -> None:
    """Refuse to export a round before the evolution that is asked for has ended: its images would not be shown.

    Raises
    ------
    DataError
        O10
    """
    settings = project.config.evolution
    if not settings.generations or number not in settings.rounds:
        return
    evolution = Evolution(project.round(number))
    if not evolution.done:
        raise DataError(
            f"round {number}",
            found=f"an evolution of which {evolution.scored()} generations are scored",
            expected="one that has ended: the round shows its images",
            cause="the round was exported by hand while images are evolved for it",
            fix="run `stimsynth evolve` until it has ended (a lower generations in [evolution] ends it sooner); to go "
            'on without it, set generations to 0 and take "evolved" out of [arms] kinds',
            code="O10",
        )
