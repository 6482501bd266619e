"""The rounds of a project that have an answer, each read once and checked: outbox, key, trials, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.project.outbox import broken_seals, planned_trials, read_manifest, verify_outbox
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import TrialTable, trial_table
from protocols.verdict.control_report import ControlReport

__all__ = ["Recorded", "answered", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A round that was shown and answered.

    Attributes
    ----------
    round_ : Round
    manifest : dict
        Of its outbox, checked against its checksum.
    key : Key
        What each image is.
    responses : Responses
        The checked trial table.
    report : ControlReport or None
        The verdicts; None: not evaluated, or a baseline.
    """

    round_: Round
    manifest: dict[str, Any]
    key: Key
    responses: Responses
    report: ControlReport | None

    @property
    def number(self) -> int:
        """Number of the round; 0 is the baseline."""
        return self.round_.number

    @property
    def name(self) -> str:
        """Such as ``round_01``."""
        return f"round_{self.number:02d}"

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images that were shown, in the order of the manifest."""
        return [str(entry["image_id"]) for entry in self.manifest["images"]]

    @property
    def on_s(self) -> float:
        """How long an image was planned to be shown, in seconds."""
        return float(self.manifest["timing"]["on_ms"]) / 1000

    @property
    def display(self) -> dict[str, Any]:
        """The display of the manifest."""
        return dict(self.manifest.get("display") or {})


def answered(project: Project, numbers: Sequence[int] | None = None) -> list[Recorded]:
    """The rounds `numbers`, or all that have an answer, by number; each is checked.

    Raises
    ------
    DataError
        N01: none has an answer; N02: a round that is named has none; N03: the key is not the one of the export; N04:
        the verdicts are not of these responses; S04, X06, X07 as `Project.round` and `verify_outbox`.
    """
    if numbers is None:
        rounds = [r for r in project.rounds() if r.ingested]
    else:
        rounds = [project.round(number) for number in sorted(set(numbers))]
    for round_ in rounds:
        if not round_.ingested:
            raise _unanswered(round_)
    if not rounds:
        raise DataError(
            str(project.folder),
            found="no round with an answer",
            expected="responses to one round at least",
            cause="nothing was recorded yet, or the baseline was recorded elsewhere and no round was shown",
            fix="run `stimsynth status` to see what is waited for",
            code="N01",
        )
    return [_read(round_) for round_ in rounds]


def unfinished(project: Project) -> list[str]:
    """What a project lacks to be finished, one sentence per round."""
    found = []
    for round_ in project.rounds():
        place = f"{round_.session_id}/{round_.folder.name}"
        if not round_.ingested:
            found.append(f"{place} has no answer, and is left out with its key")
        elif round_.number and not round_.evaluation_path.is_file():
            found.append(f"{place} is not evaluated, and has no verdicts")
        elif round_.number and not round_.report_path.is_file():
            found.append(f"{place} has no report.html")
    if not project.evaluated():
        found.insert(0, "no round is evaluated")
    return found


def _read(round_: Round) -> Recorded:
    verify_outbox(round_.outbox)
    planned_trials(round_.outbox)  # refuses an order of an interim look that was altered
    manifest = read_manifest(round_.outbox)
    broken = broken_seals(round_.sealed, manifest)
    place = f"{round_.session_id}/{round_.folder.name}"
    if broken:
        raise DataError(
            f"{place}/sealed",
            found=f"{' and '.join(sorted(broken))} missing or with another SHA-256 than the manifest says",
            expected="the key that the export sealed",
            cause="the table was edited or resaved, or the folder was copied only in part",
            fix="restore the folder sealed of the round from a backup",
            code="N03",
        )
    report = ControlReport.from_json(round_.evaluation_path) if round_.evaluation_path.is_file() else None
    recorded = Recorded(
        round_=round_,
        manifest=manifest,
        key=read_key(round_.key_path),
        responses=read_kept(round_.responses_path),
        report=report,
    )
    if report is not None and (wrong := disagreement(report, recorded)):
        raise DataError(
            f"{place}/evaluation.json",
            found=wrong,
            expected="the verdicts of the responses beside it",
            cause="the responses were replaced, or one of the files was copied from elsewhere",
            fix=f"run `stimsynth evaluate --round {round_.number}` and `stimsynth report` again",
            code="N04",
        )
    return recorded


def disagreement(report: ControlReport, recorded: Recorded) -> str:
    """Where the means of a report are not those of the trials; "" where all agree.

    A row is compared where it counts every trial of its controller that has a response at the target.
    """
    responses, key = recorded.responses, recorded.key
    if report.trials != len(responses.values):
        return f"verdicts of {report.trials} trials where the responses have {len(responses.values)}"
    table = trial_table(responses, [row.image_id for row in key.rows])
    for row in report.rows:
        if row.measured is None or row.site not in table.site_ids or row.stage_p:
            continue
        values = _values(table, row.image_id, row.site)
        if len(values) == row.n and not np.isclose(values.mean(), row.measured, rtol=1e-9, atol=1e-9):
            return f"a mean of {row.measured:g} for {row.image_id} where its trials have {values.mean():g}"
    return ""


def _values(table: TrialTable, image_id: str, site: str) -> Any:
    values = table.column(site)[table.rows(image_id)]
    return values[np.isfinite(values)]


def _unanswered(round_: Round) -> DataError:
    return DataError(
        f"{round_.session_id}/{round_.folder.name}",
        found=f"the state {round_.state}",
        expected="a round whose responses were ingested",
        cause="the rig has not answered yet",
        fix="name another round with --round, or wait for the answer (`stimsynth status`)",
        code="N02",
    )
