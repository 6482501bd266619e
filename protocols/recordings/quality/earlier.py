"""A recording beside the earlier ones of its project: the same subject, the same response window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from protocols.disk.hdf5_reading import open_hdf5
from protocols.errors import UNUSABLE, DataError
from protocols.project.folder import Project
from protocols.recordings.responses import Responses

SUBJECT, WINDOW = "other_subject", "other_window"
"""Names under which a reason accepts another subject or another response window."""


class Earlier(NamedTuple):
    """What a recording of the project says of itself; round 0 is the baseline, also where it was made elsewhere."""

    round: int
    file: str
    subject: str
    window_ms: tuple[float, float] | None

    @property
    def name(self) -> str:
        """The recording in words."""
        return f"the baseline ({self.file})" if self.round == 0 else f"round {self.round}"


def earlier_recordings(project: Project, *, but: int | None = None) -> list[Earlier]:
    """Every recording of the project but that of round `but`, the baseline first."""
    paths = [(r.number, r.responses_path) for r in project.rounds() if r.ingested]
    if all(number != 0 for number, _ in paths) and (project.data / "responses.h5").is_file():
        paths = [(0, project.data / "responses.h5"), *paths]
    return [_stated(number, path) for number, path in paths if number != but]


def _stated(number: int, path: Path) -> Earlier:
    try:
        with open_hdf5(path) as file:
            subject, window = file.attrs.get("subject", ""), file.attrs.get("window_ms")
            times = None if window is None or len(window) != 2 else (float(window[0]), float(window[1]))
    except UNUSABLE:  # a damaged table is named by the command that reads it
        subject, times = "", None
    return Earlier(number, path.name, str(subject).strip(), times)


def compare_with_earlier(
    path: Path, responses: Responses, earlier: list[Earlier], *, accept: Mapping[str, str], notes: list[str]
) -> None:
    """Refuse, or with a reason note, another subject than in earlier recordings or another window than the baseline's.

    Parameters
    ----------
    accept : mapping of `SUBJECT` or `WINDOW` to a reason
        What is taken all the same.

    Raises
    ------
    DataError
        I21: another subject; I22: another response window.
    """
    subject = str(responses.attributes.get("subject", "")).strip()
    other = next((e for e in earlier if e.subject and e.subject.casefold() != subject.casefold()), None)
    if subject and other is not None:
        text = f"subject = {subject!r}, where {other.name} names {other.subject!r}"
        if not accept.get(SUBJECT):
            raise DataError(
                path.name,
                found=text,
                expected="one subject in all recordings of a project",
                cause="the file belongs to another animal's project, or the name is spelled in another way",
                fix="give the file to its own project, or correct the attribute subject; if it is the same subject, "
                'give `stimsynth ingest --other-subject "REASON"`',
                code="I21",
            )
        notes.append(f"{text}: accepted, {accept[SUBJECT]}")
    first = next((e for e in earlier if e.round == 0 and e.window_ms is not None), None)
    if first is None or responses.window_ms is None or responses.window_ms == first.window_ms:
        return
    text = f"the response window {_window(responses.window_ms)}, where {first.name} has {_window(first.window_ms)}"
    if not accept.get(WINDOW):
        raise DataError(
            path.name,
            found=text,
            expected="one window in all recordings: responses in another one are not of the same size",
            cause="the export settings of the recording software changed since the baseline",
            fix="compute the responses again in the window of the baseline; to take them as they are, give "
            '`stimsynth ingest --other-window "REASON"`',
            code="I22",
        )
    notes.append(f"{text}: accepted, {accept[WINDOW]}")


def window_notes(project: Project) -> list[str]:
    """What to do where the baseline was recorded in another window than project.toml asks the rig for; else nothing."""
    first = next((e for e in earlier_recordings(project) if e.round == 0 and e.window_ms is not None), None)
    return [] if first is None else other_window_notes(project, first.name, first.window_ms)


def other_window_notes(project: Project, name: str, window_ms: Sequence[float] | None) -> list[str]:
    """The same of a recording called `name`, whose window is `window_ms`."""
    planned = tuple(float(t) for t in project.config.protocol.response_window_ms)
    if window_ms is None or tuple(window_ms) == planned:
        return []
    begin, end = window_ms
    return [
        f"{name} was recorded in the window {_window((begin, end))}; project.toml asks the rig for {_window(planned)}, "
        f"and such an answer will be refused: set [protocol] response_window_ms = [{begin:g}, {end:g}]"
    ]


def _window(window_ms: Sequence[float] | None) -> str:
    return "none" if window_ms is None else f"{window_ms[0]:g}-{window_ms[1]:g} ms"
