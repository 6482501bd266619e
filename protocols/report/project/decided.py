"""What was decided on the way, from the records of the rounds: looks, replaced answers, forced refits."""

from __future__ import annotations

from collections import Counter

from protocols.project.folder import Project, Round
from protocols.report.section import Section, Table

SENTENCE = (
    "From the log of every round and the record of every fit. What people decided about images before an export stands "
    "with its round."
)


def decided_section(project: Project, rounds: list[Round]) -> Section | None:
    """One line per decision, oldest first; None where nothing was decided."""
    lines = [line for round_ in rounds for line in (*_of_log(round_), *_of_fit(project, round_))]
    if not lines:
        return None
    header = ["round", "when", "decision", "reason"]
    table = Table(header=header, lines=lines, numbers=[True, False, False, False], caption="decisions")
    return Section(title="Decisions on the way", sentences=[SENTENCE], tables=[table])


def _of_log(round_: Round) -> list[list[str]]:
    lines = []
    for event in round_.events():
        when, number = str(event.get("utc", "-")), str(round_.number)
        if event.get("event") == "look":
            decided = Counter(
                str(d.get("decision", "-")) for d in event.get("decisions", ()) if isinstance(d, dict)
            ) or Counter({"-": 1})
            told = ", ".join(f"{name} {count}" for name, count in sorted(decided.items()))
            lines.append([number, when, "interim look", told])
        if event.get("event") == "ingest" and isinstance(event.get("replaced"), dict):
            lines.append([number, when, "answer replaced", str(event["replaced"].get("reason", "-"))])
    return lines


def _of_fit(project: Project, round_: Round) -> list[list[str]]:
    record = project.fitted_for(round_.number) or {}
    check = record.get("refit", {}).get("regression_check", {})
    if check.get("verdict") != "forced":
        return []
    told = str(check.get("reason", "-"))
    return [[str(round_.number), str(record.get("utc", "-")), "refit accepted though worse", told]]
