"""Ingest: the rig's answer, checked against what was exported, becomes the round's trial table.

The answer joins on the image that was SHOWN. The table is written in a canonical order (block, rep, image; sites as the
encoder has them), so that shuffled rows, a transposed matrix or permuted sites give the same bytes. A bad answer
changes nothing in the round.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import read_json, sha256_file, write_json
from protocols.errors import UNFINISHED, DataError
from protocols.progress import counted
from protocols.project.folder import Round, utc_now
from protocols.project.key import read_sites
from protocols.project.outbox import planned_trials, read_manifest, replaced_order, verify_outbox
from protocols.recordings.readers import READERS, reader_of, write_responses

from . import checks
from .join import join
from .parts.answer import JoinedAnswer
from .parts.names import parts_in
from .quality.values import odd_sites, usable_rows
from .replaced import notes_of_replaced, replaced_answers, set_aside
from .responses import Responses

SCHEMA = "ingest/1"
# What a share answers while another machine writes or locks the file, or while it is away.
_LOCKED = (
    errno.EAGAIN,
    errno.EACCES,
    errno.EPERM,
    errno.EBUSY,
    errno.ETXTBSY,
    errno.ENOENT,
    errno.ESTALE,
    errno.EIO,
    errno.ENOLCK,
    errno.ETIMEDOUT,
)
ANSWER = "responses"  # a rig's answer has this name and an ending of READERS


@dataclass(frozen=True)
class IngestReport:
    """What ingest found.

    Parameters
    ----------
    status : str
        ``ingested``, or ``unchanged`` where this very file was ingested before.
    file, sha256 : str
        Name and hash of the rig's file.
    unit, window_ms
        As the file states them.
    n_sites : int
    planned, found, used : int
        Trials of the order in force, rows in the file, rows of the trial table.
    dropped : dict image_id -> rows that were marked invalid or hold no value
    missing : dict image_id -> planned trials without a usable row
    extra : dict image_id -> presentations beyond the planned number, which were left out
    sites : dict site_id -> what is odd about a site (all NaN, all zero, constant)
    notes : list of str
        Everything that was decided or noticed on the way.
    subject : str
        As the file names it; "" where it names none.
    accepted : dict
        Reasons for which another subject or response window than in earlier recordings was taken.
    replaced : list of dict
        Earlier answers: file, sha256, reason, utc, and the file under which the trial table is kept.
    parts : list of dict
        Where the answer was joined from parts: file, sha256, rows and usable rows of each.
    row_sources : dict
        Of each row of the trial table: ``part``, a position in `parts`, and ``row`` of that file, from 0; both texts
        hold as many numbers as there are rows.
    """

    status: str
    file: str
    sha256: str
    unit: str
    window_ms: tuple[float, float] | None
    n_sites: int
    planned: int
    found: int
    used: int
    dropped: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    manifest_sha256: str = ""
    responses_sha256: str = ""
    ingested_utc: str = ""
    subject: str = ""
    accepted: dict[str, str] = field(default_factory=dict)
    replaced: list[dict[str, str]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    row_sources: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        window = None if self.window_ms is None else list(self.window_ms)
        return {"schema": SCHEMA, **asdict(self), "window_ms": window}

    @classmethod
    def from_json(cls, path: str | Path) -> IngestReport:
        """Read ``ingest.json``."""
        record = read_json(Path(path))
        try:
            window = record["window_ms"]
            known = {k: v for k, v in record.items() if k in cls.__dataclass_fields__}
            report = cls(**{**known, "window_ms": None if window is None else (float(window[0]), float(window[1]))})
            report._check_kinds()
            return report
        except (TypeError, KeyError, IndexError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                Path(path).name,
                found=f"a record that cannot be read ({error})",
                expected="ingest.json as `stimsynth ingest` writes it",
                cause="the file was edited",
                fix="delete it and ingest the responses again",
                code="I19",
            ) from error

    def _check_kinds(self) -> None:
        """`TypeError` for an entry of another kind than its default or neighbours have."""
        kinds: dict[str, type] = {
            "dropped": dict,
            "missing": dict,
            "extra": dict,
            "sites": dict,
            "accepted": dict,
            "notes": list,
        }
        kinds |= {"replaced": list, "parts": list, "row_sources": dict}
        kinds |= {"status": str, "file": str, "sha256": str, "unit": str, "subject": str}
        kinds |= {"manifest_sha256": str, "responses_sha256": str, "ingested_utc": str}
        kinds |= {"n_sites": int, "planned": int, "found": int, "used": int}
        wrong = [name for name, kind in kinds.items() if not isinstance(getattr(self, name), kind)]
        counts = [*self.dropped.values(), *self.missing.values(), *self.extra.values()] if not wrong else []
        if wrong or not all(isinstance(n, int) for n in counts) or not all(isinstance(n, str) for n in self.notes):
            raise TypeError(f"{wrong[0] if wrong else 'counts or notes'} of another kind")

    def summary(self) -> str:
        """A few lines for the operator."""
        lines = [
            f"{self.file}: {self.used} of {self.planned} planned trials x {self.n_sites} sites, {self.unit}"
            + (" (the same file as before)" if self.status == "unchanged" else "")
        ]
        if self.dropped:
            lines.append(
                f"not used: {sum(self.dropped.values())} rows of {len(self.dropped)} images (invalid or empty)"
            )
        if self.missing:
            lines.append(f"fewer repeats than planned: {len(self.missing)} images, {sum(self.missing.values())} trials")
        lines += [f"replaces {r['file']} ({r['reason']}), kept as {r['kept']}" for r in self.replaced[-1:]]
        lines += [f"site {site}: {what}" for site, what in list(self.sites.items())[:5]]
        lines += [f"... and {len(self.sites) - 5} more sites"] if len(self.sites) > 5 else []
        return "\n".join(lines + self.notes)


def poll_inbox(round_: Round, name: str = ANSWER) -> Path | None:
    """The rig's finished answer; None before, and while the share of the inbox is away.

    It is ``inbox/responses.h5`` (or has another `name`, or another ending of `READERS`), and its ``.done`` file stands
    beside it.
    """
    for path in (round_.inbox / f"{name}{ending}" for ending in READERS):
        try:
            if path.is_file() and path.with_name(f"{path.name}.done").is_file():
                return path
        except OSError:
            return None
    return None


def may_still_come(error: Exception) -> bool:
    """Whether an answer that could not be read may be readable in a moment: half copied, growing, locked, away."""
    if isinstance(error, DataError):
        return error.code in UNFINISHED
    return isinstance(error, OSError) and error.errno in _LOCKED


def ingest(
    round_: Round,
    path: str | Path | JoinedAnswer | None = None,
    *,
    encoder_sites: Sequence[str] | None = None,
    replace: str = "",
    max_dropped: float = 0.3,
    max_unseen: float = 0.05,
    drop_extra: bool = False,
    accept: Mapping[str, str] | None = None,
) -> IngestReport:
    """Check the rig's answer and write ``responses.h5`` and ``ingest.json`` of the round.

    Parameters
    ----------
    round_ : Round
        An exported round.
    path : path or JoinedAnswer, optional
        The answer, or parts that were joined; default: the one in the inbox.
    encoder_sites : sequence of str, optional
        The sites that must be there, in this order; default: the site set frozen at export.
    replace : str
        Reason to take another file than the one that was ingested before; see `replaced.set_aside`. "": refuse it.
    max_dropped : float
        Largest fraction of rows marked invalid.
    max_unseen : float
        Largest fraction of planned images that were never shown.
    drop_extra : bool
        Leave out presentations beyond the planned number in place of refusing them.
    accept : mapping, optional
        Reasons to take another subject or window than in earlier recordings; see `quality.earlier`.

    Raises
    ------
    DataError
        R01-R29 from the reader; X06-X07 from the outbox; I01-I23 (see `checks`, `join` and `quality`). The round is
        untouched.
    """
    answer = path if isinstance(path, JoinedAnswer) else None
    path = path.path if isinstance(path, JoinedAnswer) else _locate(round_, path)
    stages = counted(("outbox", "file", "responses", "order"), "check the answer")
    next(stages)
    verify_outbox(round_.outbox)
    manifest, order = read_manifest(round_.outbox), planned_trials(round_.outbox)
    next(stages)
    read, digest = reader_of(path), sha256_file(path)
    checks.sealed(round_, manifest)
    stated = answer.sha256 if answer else digest
    earlier = _earlier(round_, path, stated, replace=replace)
    if earlier is not None:
        return earlier
    sites = read_sites(round_.key_path.with_name("sites.csv"))
    next(stages)
    responses = read(path, image_ids=[e["image_id"] for e in manifest["images"]])
    if sha256_file(path) != digest:
        raise changing(path)
    notes = [*(answer.notes if answer else _beside(round_, path)), *responses.attributes.get("notes", ())]
    responses = dataclasses.replace(responses, row=np.arange(len(responses.values)))
    checks.belongs(round_, path, responses, manifest=manifest, accept=accept or {}, notes=notes)
    wanted = tuple(encoder_sites) if encoder_sites else tuple(s.site_id for s in sites)
    responses = responses.sites(checks.site_order(path, responses, wanted, notes=notes))
    next(stages)
    used, dropped = usable_rows(path, responses, max_dropped=max_dropped)
    lost, old = sum(dropped.values()), replaced_order(round_.outbox)
    joined = join(path, used, order, drop_extra=drop_extra, dropped=lost, replaced=old)
    checks.values(path, joined.responses, sites, notes=notes)
    missing = checks.coverage(path, joined.responses, order, max_unseen=max_unseen, section=round_.limits)
    next(stages, None)  # all are done
    report = IngestReport(
        status="ingested",
        file=answer.name if answer else path.name,
        sha256=stated,
        unit=responses.unit,
        window_ms=responses.window_ms,
        n_sites=len(responses.site_ids),
        planned=len(order),
        found=len(responses.values),
        used=len(joined.responses.values),
        dropped=dropped,
        missing=missing,
        extra=joined.extra,
        notes=[*notes, *joined.notes],
        manifest_sha256=sha256_file(round_.outbox / "manifest.json"),
        subject=str(responses.attributes.get("subject", "")),
        accepted=dict(accept or {}),
        parts=[s.to_dict() for s in answer.sources] if answer else [],
    )
    return _write(round_, joined.responses, report, replace=replace, answer=answer)


def _locate(round_: Round, path: str | Path | None) -> Path:
    if path is not None:
        return Path(path)
    answer = poll_inbox(round_)
    if answer is not None:
        return not_elsewhere(round_, answer)
    present = sorted(p.name for p in round_.inbox.glob("[!.]*")) if round_.inbox.is_dir() else []
    usual = f"{ANSWER}{next(iter(READERS))}"
    near = difflib.get_close_matches(usual, [n for n in present if n.endswith(tuple(READERS))], n=1, cutoff=0.3)
    raise DataError(
        f"{round_.place}/inbox",
        found=", ".join(present[:8]) or "nothing",
        expected=f"{usual} and {usual}.done",
        cause="the rig has not finished"
        if not near
        else f"the answer has another name ({near[0]}), or the .done file is missing",
        fix=f"write {usual}.part, rename it to {usual}, then make the empty file {usual}.done",
        code="I01",
    )


def not_elsewhere(round_: Round, answer: Path) -> Path:
    """The answer, refused where it is a link to a file outside the inbox and the project (I23)."""
    homes = (round_.inbox.resolve(), round_.home.resolve())
    if any(answer.resolve().is_relative_to(home) for home in homes):
        return answer
    raise DataError(
        f"{round_.place}/inbox/{answer.name}",
        found="a link to a file outside the project",
        expected="the file itself",
        cause="the rig's folder was linked in place of copying the file",
        fix="copy the file into the inbox, or name it: `stimsynth ingest --file FILE`",
        code="I23",
    )


def _beside(round_: Round, path: Path) -> list[str]:
    """A note where parts lie in the inbox beside a whole answer: the whole answer is taken."""
    parts = [p.name for p in parts_in(round_)] if path.parent == round_.inbox else []
    return [f"{path.name} was taken as the whole answer; not used: {', '.join(parts)}"] if parts else []


def _earlier(round_: Round, path: Path, digest: str, *, replace: str) -> IngestReport | None:
    """The report of an earlier ingest of this very file; None where there is none or it may be replaced."""
    if round_.state not in ("ingested", "evaluated"):
        return None
    report = IngestReport.from_json(round_.ingest_path)
    intact = sha256_file(round_.responses_path) == report.responses_sha256
    if report.sha256 == digest and intact:
        return dataclasses.replace(report, status="unchanged")
    if replace or (report.sha256 == digest and not intact):
        return None
    raise DataError(
        path.name,
        found=f"another file than the one ingested before ({report.file}, SHA-256 {report.sha256[:12]})",
        expected="one answer per round",
        cause="the rig wrote a second answer, or the file belongs to another round",
        fix='give it to its own round; to replace the earlier answer, give `stimsynth ingest --replace "REASON"`, '
        "which keeps the earlier one and takes its evaluation back",
        code="I03",
    )


def changing(path: Path) -> DataError:
    """I04: a file that changed while it was read."""
    return DataError(
        path.name,
        found="a file that changed while it was read",
        expected="a finished file",
        cause="the rig is still writing it",
        fix="write it under another name (.part), rename it, then make the .done file",
        code="I04",
    )


def _write(
    round_: Round, responses: Responses, report: IngestReport, *, replace: str, answer: JoinedAnswer | None
) -> IngestReport:
    """The trial table first, the record of it last: without the record the round counts as not ingested."""
    table = _canonical(round_, responses, report.manifest_sha256)
    notes = set_aside(round_, str(replace)) if replace and round_.ingested else notes_of_replaced(round_)
    write_responses(round_.responses_path, table)
    report = dataclasses.replace(
        report,
        sites=odd_sites(table),
        notes=[*report.notes, *notes],
        responses_sha256=sha256_file(round_.responses_path),
        ingested_utc=utc_now(),
        replaced=replaced_answers(round_),
        row_sources=answer.of_rows(table.row) if answer and table.row is not None else {},
    )
    about = {"replaced": report.replaced[-1]} if report.replaced else {}
    round_.log("ingest", file=report.file, sha256=report.sha256, used=report.used, planned=report.planned, **about)
    write_json(round_.ingest_path, report.to_dict())
    return report


def _canonical(round_: Round, responses: Responses, manifest_sha256: str) -> Responses:
    """Rows by (block, rep, image id); what depends on the layout of the file (notes, foreign names) is left out."""
    rows = len(responses.values)
    block = responses.block if responses.block is not None else np.zeros(rows, dtype=np.int64)
    rep = responses.rep if responses.rep is not None else np.zeros(rows, dtype=np.int64)
    ordered = responses.select(np.lexsort((responses.image_ids, rep, block)))
    attributes = {
        "session_id": round_.session_id,
        "round": round_.number,
        "manifest_sha256": manifest_sha256,
        "sites": responses.attributes.get("sites", {}),
    }
    if "subject" in responses.attributes:
        attributes["subject"] = responses.attributes["subject"]
    return dataclasses.replace(ordered, valid=None, attributes=attributes)
