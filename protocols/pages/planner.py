"""The planner's view: minutes, targets and gains against what a round can be expected to find."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from protocols.disk.files import read_json, sha256_file, write_json
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.objectives import OBJECTIVES
from protocols.state import look

from .view import clean, nothing

__all__ = ["frozen_planner", "planner"]

SCHEMA = "what_if/1"
NOTE = (
    "Expected numbers of the planner (docs/planning.md): every controller and one reference each are shown equally "
    "often, what stands beside the tests takes its share first. `stimsynth export --dry-run` prints the division of "
    "the configured round, which may show numbers that differ between sites, and more references. Fewer targets: those "
    "sites at which the configured round is expected to find most."
)
ASK = "The plan opens the networks and predicts all photographs; that takes up to a minute, and once per fit."


def planner(project: Project, *, compute: str = "", **_: str) -> dict[str, Any]:
    """What other rounds could find; without `compute` = "yes" only where it was computed before."""
    newest = project.newest_fit()
    if newest is None:
        return nothing("No encoder is fitted yet: nothing can be planned.", "stimsynth fit")
    number = look(project).number
    if project.fitted_for(number) is None:
        number = newest
    stamp = _stamp(project, number)
    known = _kept(project, stamp)
    if known is None and compute != "yes":
        return {"ask": ASK, "round": number}
    if known is None:
        try:
            known = _computed(project, number)
        except DataError as error:
            return nothing(str(error), f"stimsynth export --round {number} --dry-run")
        with suppress(OSError, DataError):  # a cache that cannot be written is no error
            write_json(_path(project), {"schema": SCHEMA, "stamp": stamp, "plan": known})
    return dict(clean({**known, "round": number}))


def frozen_planner(project: Project) -> dict[str, Any]:
    """The plan, computed where it is not known yet."""
    return planner(project, compute="yes")


def _path(project: Project) -> Any:
    return project.cache / "what_if.json"


def _kept(project: Project, stamp: str) -> dict[str, Any] | None:
    """What was computed for the project as it is now; None where nothing was."""
    path = _path(project)
    if not path.is_file():
        return None
    with suppress(DataError, OSError):
        record = read_json(path)
        if isinstance(record, dict) and (record.get("schema"), record.get("stamp")) == (SCHEMA, stamp):
            plan = record.get("plan")
            return plan if isinstance(plan, dict) else None
    return None


def _stamp(project: Project, number: int) -> str:
    """What the plan depends on: settings, fit, recordings and the controllers that are made."""
    files = [project.folder / name for name in ("project.toml", "decisions.jsonl")]
    files += [project.fitted / f"for_round_{number:02d}.json"]
    files += [project.data / name for name in ("natural.csv", "recording.json")]
    for round_ in project.rounds():
        files += [round_.ingest_path, round_.drift_path]
        files += [round_.controllers_path] if round_.number == number else []
    told = hashlib.sha256()
    for path in files:
        told.update(f"{path.name} {sha256_file(path) if path.is_file() else '-'}\n".encode())
    return told.hexdigest()


def _computed(project: Project, number: int) -> dict[str, Any]:
    from protocols.models.pair import load_pair, site_rows
    from protocols.project.key import Key
    from protocols.rounds.decisions.honour import made_batch
    from protocols.rounds.planning.division import minutes_of
    from protocols.rounds.planning.found import by_objective
    from protocols.rounds.planning.round_plan import divide_round
    from protocols.synthesis.request import chosen_targets

    from .what_if import grid_of

    encoder, batch = load_pair(project, number)[0], made_batch(project, number)
    targets = list(dict.fromkeys(batch.targets)) if batch is not None else chosen_targets(project, encoder, number)
    plan = divide_round(project, number, encoder=encoder, targets=targets, batch=batch)
    if not plan.noise.known:
        return nothing("Only averages were recorded: without single trials power is not known.", "stimsynth fit")
    grid = grid_of(project, number, plan, key=Key((), tuple(site_rows(encoder))))
    division, protocol = plan.division, project.config.protocol
    shown = sum(division.presentations().values())
    gains: dict[str, list[float]] = {}
    for (objective, _), (mean, _sd) in plan.gains.items():
        gains.setdefault(objective, []).append(mean)
    return {
        "grid": grid.to_dict(),
        "labels": {o: OBJECTIVES[o].label for o in gains},
        "gains": {o: sorted(values)[len(values) // 2] for o, values in gains.items()},
        "gain_units": {o: _unit(o, counted=plan.noise.fano is not None) for o in gains},
        "configured": {
            "minutes": minutes_of(protocol, shown, division.blocks),
            "presentations": shown,
            "targets": len(grid.sites),
            "repeats": [min(division.controller.values()), max(division.controller.values())],
            "by_hand": division.by_hand,
            "found": by_objective(plan.pairs, plan.found),
            "true": by_objective(plan.pairs, plan.pairs.true().mean(0)),
        },
        "overhead": bool(protocol.overhead or protocol.pause_s),
        "notes": list(plan.notes),
        "note": NOTE,
    }


def _unit(objective: str, *, counted: bool) -> str:
    """Unit of the gains of an objective, as `protocols.rounds.planning.gains` has them."""
    row = OBJECTIVES[objective]
    if row.all_sites:
        return "natural SD of the contrast"
    return "fraction" if counted and not row.gain_in_sd else "natural SD"
