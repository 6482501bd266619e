"""What was decided on the way, from the records of the rounds: looks, replaced answers, forced refits."""

from __future__ import annotations

from protocols.project.folder import Project, Round
from protocols.report.section import Section, Table

SENTENCE = (
    "From the log of every round and the record of every fit. What people decided about images before an export stands "
    "with its round."
)


def decided_section(project: Project) -> Section | None:
    """One line per decision, oldest first; None where nothing was decided."""
    lines = [line for round_ in project.rounds() for line in _of_log(round_)]
    lines += [line for number in range(1, (project.newest_fit() or 0) + 1) for line in _of_fit(project, number)]
    lines.sort(key=lambda line: (line[1] == "-", line[1]))  # what has no time comes last
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
            told = ", ".join(f"{name} {event[name]}" for name in ("success", "futile", "undecided") if event.get(name))
            lines.append([number, when, "interim look", told or "-"])
        if event.get("event") == "ingest" and isinstance(event.get("replaced"), dict):
            lines.append([number, when, "answer replaced", str(event["replaced"].get("reason", "-"))])
    return lines


def _of_fit(project: Project, number: int) -> list[list[str]]:
    record = project.fitted_for(number) or {}
    check = record.get("refit", {}).get("regression_check", {})
    if check.get("verdict") != "forced":
        return []
    told = str(check.get("reason", "-"))
    return [[str(number), str(record.get("utc", "-")), "refit accepted though worse", told]]
