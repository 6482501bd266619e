"""A round as its page sees it: every record is read once, and the settings are those of the round, not today's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.load import config_from_dict
from protocols.project.config.protocol import DriftConfig
from protocols.project.decisions.honoured import Honoured, LeftOut, read_honoured
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.generations.files import Evolution
from protocols.project.key import Key, read_key
from protocols.project.outbox import read_manifest
from protocols.recordings.drift import RoundDrift
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.responses import Responses
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

from .rounds import drift_so_far, learning_so_far, rounds_so_far


@dataclass(frozen=True, kw_only=True)
class RoundView:
    """All that the sections of a page are made from.

    Attributes
    ----------
    round_ : Round
    project_name : str
    config : Config
        The settings that the round was made with (`round_config`).
    drift_settings : DriftConfig
        Section ``[drift]`` as the evaluation found it (`drift_settings`).
    report : ControlReport
    key : Key
    responses : Responses
        The checked trial table.
    record : mapping
        What was fitted for the round (``fitted/for_round_NN.json``); empty where there is none.
    events : list of dict
        The log of the round.
    history : list of dict
        Counts of the rounds so far (`rounds.rounds_so_far`).
    drifts : list of (number, RoundDrift)
        The rounds so far that have a drift record, oldest first.
    learning : list of dict
        The learning curve so far; empty in a first round, and where `no_learning` says why there is none.
    no_learning : str
    honoured : Honoured
        What of the decisions of people the export of the round honoured.
    """

    round_: Round
    project_name: str
    config: Config
    drift_settings: DriftConfig
    report: ControlReport
    key: Key
    responses: Responses
    record: Mapping[str, Any]
    events: list[dict[str, Any]]
    history: list[dict[str, Any]]
    drifts: list[tuple[int, RoundDrift]]
    learning: list[dict[str, Any]]
    no_learning: str
    honoured: Honoured = field(default_factory=lambda: Honoured(sequence=0))
    generations: tuple[tuple[int, LeftOut], ...] = ()
    """Images that were vetoed in the generations of the round's evolution, with the number of the generation."""

    @classmethod
    def load(cls, project: Project, round_: Round) -> RoundView:
        """Read the records of an evaluated round."""
        config, events = round_config(project, round_), round_.events()
        learning, no_learning = learning_so_far(project, round_.number)
        return cls(
            round_=round_,
            project_name=project.config.project.name,
            config=config,
            drift_settings=drift_settings(events, config),
            report=ControlReport.from_json(round_.evaluation_path),
            key=read_key(round_.key_path),
            responses=read_kept(round_.responses_path),
            record=project.fitted_for(round_.number) or {},
            events=events,
            history=rounds_so_far(project, round_.number),
            drifts=drift_so_far(project, round_.number),
            learning=learning,
            no_learning=no_learning,
            honoured=read_honoured(round_),
            generations=tuple(
                (g.generation, left) for g in Evolution(round_).generations() for left in read_honoured(g).left_out
            ),
        )

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives that were tested, in the report's order."""
        return [s.objective for s in self.report.objectives]

    def confirmatory(self, objective: str) -> list[ControlRow]:
        """The controllers of one objective that count, by site."""
        return sorted(self.report.confirmatory(objective), key=lambda r: r.site)

    @property
    def drift(self) -> RoundDrift | None:
        """The drift record of this round."""
        return dict(self.drifts).get(self.round_.number)


def round_config(project: Project, round_: Round) -> Config:
    """The settings that a round was made with: those of its manifest; today's project.toml only where no manifest
    stands.

    Keys that the manifest does not name, such as those of a later version, have their defaults.

    Raises
    ------
    DataError
        X07: the manifest was altered; P13: it holds settings that this version does not know.
    """
    if not (round_.outbox / "manifest.json").is_file():
        return project.config
    manifest = read_manifest(round_.outbox)
    tables = dict(manifest.get("config", {}))
    if "display" not in tables:
        known = {f.name for f in fields(Display)}
        shown = {k: v for k, v in manifest.get("display", {}).items() if k in known}
        tables["display"] = shown or asdict(project.display)
    where = f"{round_.session_id}/{round_.folder.name}/outbox/manifest.json"
    try:
        return config_from_dict(tables, where)
    except DataError as error:
        raise DataError(
            where,
            found=f"settings that this version does not know: {error.found}",
            expected="the settings of a round that this version, or an older one, exported",
            cause="the round was exported by a newer version of stimsynth",
            fix="report the round with that version, which toolkit in the manifest names; never edit a manifest",
            code="P13",
        ) from error


def drift_settings(events: list[dict[str, Any]], config: Config) -> DriftConfig:
    """Section ``[drift]`` as the last evaluation in a round's log found it; where the log does not say, that of the
    round's `config`.
    """
    # [drift] acts after the export: the evaluation decides who is left out of the verdicts, and later fits pool the
    # responses. The manifest is older than both, and today's project.toml may be younger. What the evaluation found is
    # also what `stimsynth evaluate` printed.
    for event in reversed(events):
        if event.get("event") == "evaluate" and {"align", "exclude"} <= event.keys():
            return DriftConfig(align=event["align"], exclude=event["exclude"])
    return config.drift
