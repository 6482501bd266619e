"""Parts of an answer become one finished file of schema ``responses/1``, which is then checked like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from protocols.errors import DataError
from protocols.progress import counted
from protocols.project.folder import Round
from protocols.project.outbox import planned_trials
from protocols.recordings.readers.hdf5 import ATTRIBUTES, write_responses
from protocols.recordings.responses import Responses

from .answer import JoinedAnswer, Source
from .names import Part
from .part import CheckedPart, Facts, read_part

_SHORTER = 0.9  # of the time of an image: the least time between two onsets, with some tolerance for the rig
NAME = "responses_joined.h5"
"""The name by which errors call all parts together."""


@contextmanager
def joined(
    round_: Round,
    parts: Sequence[Part],
    *,
    drop_extra: bool = False,
    accept: Mapping[str, str] | None = None,
) -> Iterator[JoinedAnswer]:
    """The parts as one finished file, which lasts as long as the context; equal parts give an equal file.

    Rows stand in the order of the parts (`names.parts_in`), sites in that of the encoder.

    Raises
    ------
    DataError
        As `part.read_part`; I25 and I26: see `refuse_contradictions`.
    """
    order = planned_trials(round_.outbox)
    each = counted(parts, "read parts")
    checked = [read_part(round_, part, order, drop_extra=drop_extra, accept=accept) for part in each]
    refuse_contradictions([c.facts for c in checked])
    notes = _told([c.facts for c in checked])
    table = _joined(checked, notes)
    if _clocks_differ(checked, min(t.on_ms for t in order) / 1000):
        table = replace(table, onset_s=None)
        notes.append("trial/onset_s is not kept: by it two parts were shown at one time, so that it is not one clock")
    sizes = [len(c.usable) for c in checked]
    with TemporaryDirectory(prefix="stimsynth-") as folder:
        path = Path(folder) / NAME
        write_responses(path, table)
        yield JoinedAnswer(
            path=path,
            sources=tuple(Source(c.facts.part.name, c.facts.sha256, c.facts.rows, c.facts.usable) for c in checked),
            part=np.repeat(np.arange(len(checked)), sizes),
            row=np.concatenate([np.arange(n) for n in sizes]),
            notes=tuple(notes),
        )


def refuse_contradictions(facts: Sequence[Facts]) -> None:
    """Refuse parts that cannot be of one recording.

    Raises
    ------
    DataError
        I25: a presentation is usable in two parts; I26: another unit, window, subject or other sites than in most.
    """
    stated: dict[str, list[Any]] = {
        "units": [f.unit for f in facts],
        "window_ms": [f.window_ms for f in facts],
        "sites": [f.sites for f in facts],
        "subject": [f.subject.casefold() for f in facts],
    }
    for name, values in stated.items():
        known = [v for v in values if v != ""]
        usual = Counter(known).most_common(1)[0][0] if known else ""
        for fact, value in zip(facts, values, strict=True):
            if value not in ("", usual):
                raise _contradicts(fact, facts[values.index(usual)], name)
    first: dict[tuple[str, int], Facts] = {}
    for fact in facts:
        both = sorted(fact.trials & first.keys())
        if both:
            raise _twice(fact, first[both[0]], both)
        first |= dict.fromkeys(fact.trials, fact)


def _joined(checked: Sequence[CheckedPart], notes: list[str]) -> Responses:
    """All rows of all parts, part by part."""
    tables, first = [c.responses for c in checked], checked[0].responses
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(t, name) for t in tables if getattr(t, name) is not None])
        for name in ("values", "image_ids", "block", "rep")
    }
    if any(t.onset_s is not None for t in tables):
        columns["onset_s"] = np.concatenate([_or_nan(t.onset_s, len(t.values)) for t in tables])
    if any(t.valid is not None for t in tables):
        valid = [np.ones(len(t.values), dtype=np.bool_) if t.valid is None else t.valid for t in tables]
        columns["valid"] = np.concatenate(valid)
    for name in ("prev_image_ids", "baseline"):
        columns[name] = _where_all(name, tables, notes)
    return replace(first, **columns, row=None, averaged_over=None, attributes=_attributes(tables))


def _clocks_differ(checked: Sequence[CheckedPart], on_s: float) -> bool:
    """Whether usable rows of two parts begin closer together than an image lasts: their clocks are not one clock."""
    timed = [(c.responses.onset_s[c.usable], n) for n, c in enumerate(checked) if c.responses.onset_s is not None]
    onsets = np.concatenate([np.empty(0), *(times for times, _ in timed)])
    part = np.concatenate([np.empty(0), *(np.full(len(times), n) for times, n in timed)])
    known = np.isfinite(onsets)
    order = np.argsort(onsets[known], kind="stable")
    onsets, part = onsets[known][order], part[known][order]
    return bool(np.any((np.diff(onsets) < _SHORTER * on_s) & (np.diff(part) != 0)))


def _or_nan(column: Any, rows: int) -> Any:
    return np.full(rows, np.nan) if column is None else column


def _where_all(name: str, tables: Sequence[Responses], notes: list[str]) -> Any:
    """An optional column of all parts; None, with a note, where some lack it. A baseline per site comes at each row."""
    columns = [getattr(t, name) for t in tables]
    if all(c is None for c in columns):
        return None
    if any(c is None for c in columns):
        notes.append(f"{name.removesuffix('s')} is not kept: not every part has it")
        return None
    if name == "baseline":
        columns = [c if c.ndim == 2 else np.tile(c, (len(t.values), 1)) for c, t in zip(columns, tables, strict=True)]
    return np.concatenate(columns)


def _attributes(tables: Sequence[Responses]) -> dict[str, Any]:
    """What the parts say of themselves where any does (they agree by now); a claim on silence where all make it."""
    stated = [t.attributes for t in tables]
    found: dict[str, Any] = {}
    for name in ATTRIBUTES:
        values = [a[name] for a in stated if name in a]
        everywhere = name in ("manifest_sha256", "silent_trials")
        if values and (len(values) == len(stated) or not everywhere):
            found[name] = values[0]
    sites: dict[str, dict[str, Any]] = {}
    for attributes in stated:
        for site, row in attributes.get("sites", {}).items():
            sites[site] = {**row, **sites.get(site, {})}
    return {**found, "sites": sites}


def _told(facts: Sequence[Facts]) -> list[str]:
    """The notes of the parts, each once, with the parts that it is on."""
    names: dict[str, list[str]] = {}
    for fact in facts:
        for note in dict.fromkeys(fact.notes):
            names.setdefault(note, []).append(fact.part.name)
    return [
        f"{'all parts' if len(on) == len(facts) > 1 else ', '.join(on[:3]) + (' and more' if on[3:] else '')}: {note}"
        for note, on in names.items()
    ]


def _contradicts(fact: Facts, other: Facts, name: str) -> DataError:
    if name == "sites":
        extra, lacking = sorted(set(fact.sites) - set(other.sites)), sorted(set(other.sites) - set(fact.sites))
        kinds = (("without", lacking), ("with other", extra))
        found = " and ".join(f"{word} {len(ids)} sites ({', '.join(ids[:3])})" for word, ids in kinds if ids)
        return _differs(fact, f"a part {found}", expected=f"the {len(other.sites)} sites of {other.part.name}")
    here, there = (
        {"units": f.unit, "subject": f.subject, "window_ms": None if f.window_ms is None else list(f.window_ms)}[name]
        for f in (fact, other)
    )
    return _differs(fact, f"{name} = {here!r}", expected=f"{there!r}, as {other.part.name} has it")


def _differs(fact: Facts, found: str, *, expected: str) -> DataError:
    return DataError(
        fact.part.name,
        found=found,
        expected=expected,
        cause="the export settings of the recording software were changed within the round, or the file is of "
        "another recording",
        fix="write this part again as the others are, a lost site as NaN, and put it in its place",
        code="I26",
    )


def _twice(fact: Facts, other: Facts, both: Sequence[tuple[str, int]]) -> DataError:
    image, rep = both[0]
    return DataError(
        fact.part.name,
        found=f"{len(both)} presentations that {other.part.name} has too (such as {image}, rep {rep})",
        expected="each presentation usable once, in one part",
        cause="one part is there under two names"
        if fact.trials == other.trials
        else "a block was begun again, and its first showing is not marked as aborted",
        fix="remove the part that is there twice, or mark the rows of the aborted showing trial/valid = 0",
        code="I25",
    )
