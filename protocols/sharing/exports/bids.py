"""Rounds as a BIDS data set: stimuli/, events.tsv per round, and the responses as a derivative.

BIDS has no place for one number per trial and site beside the events, so that they stand in
``derivatives/stimsynth``. The folder of stimuli is free in BIDS 1.10; names and ``stimuli.tsv`` are those of its
extension BEP044, which later versions hold (``stimuli/stim-LABEL_image.png``).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_json, write_text
from protocols.packages import version
from protocols.progress import counted
from protocols.project.folder import Project
from protocols.recordings.units import UNITS
from protocols.sharing.archives.columns import IMAGES
from protocols.sharing.finished import Recorded
from protocols.sharing.pictures import Photographs, is_photograph

from .facts import Facts, require, subject_of
from .labels import label, session_label
from .trials import Trials, timed_trials

BIDS_VERSION = "1.10.0"
MISSING = "n/a"
STIMULI = (
    "stimulus_id",
    "type",
    "stim_file",
    "image_id",
    "round",
    "role",
    "source_id",
    "photograph",
    "licence",
    "sha256",
)
ROLES = {
    "controller": "Synthesised to drive a site.",
    "reference": "Photograph predicted to drive a site best, shown again beside the controllers.",
    "natural": "Photograph.",
    "blank": "Background alone.",
    "arm": "Control image beside a controller.",
    "graded": "Earlier iterate of a controller, or a photograph changed to a level of the predicted response.",
}


def write_bids(
    folder: Path, project: Project, rounds: Sequence[Recorded], *, facts: Facts, photographs: Photographs
) -> list[str]:
    """Write the data set into `folder`; returns notes.

    Raises
    ------
    DataError
        N10: the subject is not known; N13, N14: see `timed_trials`; N18: a name gives no label.
    """
    require(rounds, facts, ("subject",))
    subject = subject_of(rounds, facts)
    name = project.config.project.name
    sub = f"sub-{label(subject, 'subject')}"
    _describe(folder, project, facts)
    _participants(folder, sub, subject, facts=facts)
    derived = folder / "derivatives" / "stimsynth"
    write_json(
        derived / "dataset_description.json", _description(f"{name}: responses per trial", facts, kind="derivative")
    )
    for recorded in counted(rounds, "rounds as BIDS"):
        trials = timed_trials(recorded, facts.clock_start_s)
        session = f"ses-{session_label(recorded.round_.session_id)}"
        place = Path(sub) / session / "beh"
        task = "baseline" if recorded.number == 0 else "rounds"
        stem = f"{sub}_{session}_task-{task}" + (f"_run-{recorded.number:02d}" if recorded.number else "")
        _events(folder / place, stem, recorded, trials=trials)
        _responses(derived / place, stem, recorded, trials=trials)
    _stimuli(folder / "stimuli", rounds, photographs)
    notes = [f"participants.tsv has n/a for {k}: not told" for k in ("species", "sex", "age") if not getattr(facts, k)]
    if label(subject, "subject") != subject:
        notes.append(f"the data set has {sub} for the subject {subject}")
    return notes


def _describe(folder: Path, project: Project, facts: Facts) -> None:
    name = project.config.project.name
    write_json(folder / "dataset_description.json", _description(facts.title or name, facts, kind="raw"))
    text = (
        f"{facts.title or name}\n\nClosed-loop visual stimulus synthesis: photographs and synthesised images, shown "
        "blinded in random order. events.tsv says what was shown when (onset: seconds on the rig's clock), "
        "stimuli/stimuli.tsv what each image is, derivatives/stimsynth the response of each site per trial.\n"
    )
    write_text(folder / "README", text)


def _description(name: str, facts: Facts, *, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": kind}
    if facts.licence:
        made["License"] = facts.licence
    if facts.authors:
        made["Authors"] = list(facts.authors)
    if kind == "derivative":
        made["GeneratedBy"] = [{"Name": "stimsynth", "Version": version()}]
    return made


def _participants(folder: Path, sub: str, subject: str, *, facts: Facts) -> None:
    years = facts.age_in_years()
    row = [sub, subject, facts.species, facts.sex, "" if years is None else f"{years:.6g}"]
    write_tsv(folder / "participants.tsv", ("participant_id", "subject", "species", "sex", "age"), [row])
    write_json(
        folder / "participants.json",
        {
            "subject": {"Description": "Name of the subject in the recording."},
            "species": {"Description": "Latin name of the species."},
            "sex": {
                "Description": "Sex of the subject.",
                "Levels": {"M": "male", "F": "female", "O": "other", "U": "unknown"},
            },
            "age": {"Description": "Age on the day of the recording.", "Units": "year"},
        },
    )


def stimulus_id(image_id: str) -> str:
    """The name of an image in ``stimuli.tsv``: its id without underscores."""
    return f"stim-{label(image_id, 'image')}"


def stim_file(image_id: str) -> str:
    """The file of an image below ``stimuli/``."""
    return f"{stimulus_id(image_id)}_image.png"


def _events(folder: Path, stem: str, recorded: Recorded, *, trials: Trials) -> None:
    header = ("onset", "duration", "trial_type", "stim_file", "image_id", "block", "rep", "valid", "row")
    rows = [
        [
            repr(float(trials.onset_s[i])),
            repr(recorded.on_s),
            trials.role[i],
            stim_file(str(trials.image_ids[i])),
            trials.image_ids[i],
            trials.block[i] if trials.block[i] >= 0 else "",
            trials.rep[i] if trials.rep[i] >= 0 else "",
            int(trials.valid[i]),
            trials.row[i],
        ]
        for i in range(len(trials.row))
    ]
    write_tsv(folder / f"{stem}_events.tsv", header, rows)
    about: dict[str, Any] = {
        "onset": {
            "Description": "When the image came on, on the clock of the rig (less clock_start_s of the facts).",
            "Units": "s",
        },
        "duration": {"Description": "How long the image was planned to be shown.", "Units": "s"},
        "trial_type": {"Description": "What the image is.", "Levels": ROLES},
        "stim_file": {"Description": "The image, below the folder stimuli."},
        "image_id": {"Description": "Name of the image, as in stimuli/stimuli.tsv."},
        "block": {"Description": "Block of the planned order, from 0."},
        "rep": {"Description": "Which presentation of this image in the round, from 0."},
        "valid": {"Description": "Whether the trial was used.", "Levels": {"0": "no", "1": "yes"}},
        "row": {"Description": "Row of the trial in the trial table of stimsynth, from 0."},
        "StimulusPresentation": _presentation(recorded),
    }
    write_json(folder / f"{stem}_events.json", about)


def _presentation(recorded: Recorded) -> dict[str, Any]:
    """The screen, as far as it is known, in the units of BIDS."""
    display = recorded.display
    made: dict[str, Any] = {"SoftwareName": "stimsynth (images and order; the rig showed them)"}
    if (distance := display.get("viewing_distance_cm")) is not None:
        made["ScreenDistance"] = float(distance) / 100
    if (rate := display.get("refresh_hz")) is not None:
        made["ScreenRefreshRate"] = float(rate)
    return made


def _responses(folder: Path, stem: str, recorded: Recorded, *, trials: Trials) -> None:
    unit, window, sites = recorded.responses.unit, recorded.responses.window_ms, recorded.responses.site_ids
    header = ("onset", "duration", "image_id", *(f"response_{site}" for site in sites))
    rows = [
        [
            repr(float(trials.onset_s[i])),
            repr(recorded.on_s),
            trials.image_ids[i],
            *("" if v != v else repr(v) for v in trials.values[i].tolist()),
        ]
        for i in range(len(trials.row))
    ]
    name = f"{stem}_desc-responses_events"
    write_tsv(folder / f"{name}.tsv", header, rows)
    where = "" if window is None else f", from {window[0]:g} ms to {window[1]:g} ms after image onset"
    about: dict[str, Any] = {
        "onset": {
            "Description": "When the image came on, on the clock of the rig (less clock_start_s of the facts).",
            "Units": "s",
        },
        "duration": {"Description": "How long the image was planned to be shown.", "Units": "s"},
        "image_id": {"Description": "Name of the image, as in stimuli/stimuli.tsv."},
    }
    for site in sites:
        about[f"response_{site}"] = {"Description": f"Site {site}: {UNITS[unit].sentence}{where}.", "Units": unit}
    write_json(folder / f"{name}.json", about)


def _stimuli(folder: Path, rounds: Sequence[Recorded], photographs: Photographs) -> None:
    folder.mkdir(parents=True)
    rows: list[list[Any]] = []
    for recorded in rounds:
        key = {row.image_id: row for row in recorded.key.rows}
        for image in counted(recorded.image_ids, f"images of round {recorded.number}"):
            row, file = key[image], stim_file(image)
            shutil.copyfile(recorded.round_.image_path(image), folder / file)
            named = [stimulus_id(image), "image", file, image, recorded.number]
            rows.append(
                [*named, row.role, row.source_id, int(is_photograph(row)), photographs.licence(row), row.sha256]
            )
    assert len({row[0] for row in rows}) == len(rows), "two image ids give one label"
    write_tsv(folder / "stimuli.tsv", STIMULI, rows)
    said = {column.name: column.about for column in IMAGES} | {
        "stimulus_id": "Name of the stimulus; each once.",
        "type": "Kind of stimulus.",
        "stim_file": "Its file in this folder, as in events.tsv.",
        "round": "The round that showed it; 0 is the baseline.",
    }
    write_json(folder / "stimuli.json", {name: {"Description": said[name]} for name in STIMULI})


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as BIDS has it: tabs, n/a for what is missing, no quotation marks."""
    lines = ["\t".join(header)]
    for row in rows:
        lines.append("\t".join(_plain(value) for value in row))
    write_text(path, "\n".join(lines) + "\n")


def _plain(value: Any) -> str:
    text = " ".join(str(value).split())
    return text or MISSING
