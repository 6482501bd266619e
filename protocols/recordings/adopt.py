"""Photographs and recordings that a user brings: the baseline round, or responses recorded elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from protocols.disk.files import sha256_file
from protocols.disk.locks import alone
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.project.photograph_folder import read_folder, sources_sha256
from protocols.project.photograph_import import MINIMUM, import_photographs, source_id
from protocols.project.photograph_warnings import photograph_report
from protocols.project.photographs import NaturalImages, read_photographs
from protocols.recordings.readers import reader_of, write_responses

from .checks import window_after_onset
from .quality.clock import refuse_ties, steps_back, times
from .quality.copies import POOL, refuse_copies, refuse_repeated
from .quality.values import check_values, odd_sites, usable_rows
from .recording import RecordingRecord, read_record, write_record
from .responses import Responses

_AGAIN = "the presentations are numbered again, or leave trial/block and trial/rep out where they are not known"


@alone("import")
def import_baseline(project: Project, images: Path | None, *, progress: Reporter | None = None) -> NaturalImages:
    """Import the photographs of round 0 (None: the built-in ones); refused once responses to others are recorded.

    Raises
    ------
    DataError
        B01: the project already holds photographs that were exported or recorded; B03: it holds a recording made
        elsewhere whose photographs are missing.
    """
    if (project.data / "responses.h5").is_file() and not (project.data / "natural.csv").is_file():
        raise DataError(
            str(project.data),
            found="responses.h5 of a recording made elsewhere, without its photographs",
            expected="a project without a recording",
            cause="`stimsynth fit --images DIR --responses FILE` was stopped in the middle",
            fix="give that command again, which then goes on; or delete data/responses.h5 to begin with a round 0",
            code="B03",
        )
    if (project.data / "responses.h5").is_file() or any(r.outbox.is_dir() for r in project.rounds()):
        raise _in_use(project)
    return import_photographs(images, project.display, project.data, progress=progress)


def _in_use(project: Project) -> DataError:
    return DataError(
        str(project.data),
        found="photographs that were already exported or recorded",
        expected="a project without a baseline",
        cause="the baseline was exported before, or another recording was brought along",
        fix="go on with `stimsynth run`, or make another project with `stimsynth init`",
        code="B01",
    )


def adopt_recording(project: Project, images: Path, responses: Path, *, progress: Reporter | None = None) -> Responses:
    """Take photographs and responses recorded elsewhere as the project's baseline: the rows of `take_recording`."""
    return take_recording(project, images, responses, progress=progress)[0]


@alone("import")
def take_recording(
    project: Project, images: Path, responses: Path, *, progress: Reporter | None = None, dry_run: bool = False
) -> tuple[Responses, RecordingRecord]:
    """Take photographs and responses recorded elsewhere as the project's baseline.

    They become ``data/natural.csv`` and ``data/responses.h5``, with the record ``data/recording.json`` written last.
    `responses` is a file of any format of `protocols.recordings.readers.READERS`. Its image ids are the photographs'
    file names, with or without ending. Every check of an answer to an export that needs no export is made. The call may
    be killed and repeated: it then goes on; a recording that was taken before is left as it is, but its photographs are
    drawn anew where [display] was changed since.

    Parameters
    ----------
    images : path
        Folder of the photographs that were shown.
    responses : path
        The recording.
    dry_run : bool
        Check everything, the photographs too, and write nothing into the project.

    Returns
    -------
    tuple of Responses and RecordingRecord
        The usable rows, and what is known of the recording.

    Raises
    ------
    DataError
        B01: the project has a baseline; B02: responses to images that are not in the folder; B04: the answer to a round
        of this project; I10, I13, I14, I16: see `quality`; I17: a window before the image; R01 to R29 from the reader;
        P05 to P09 from the photographs.
    """
    names = list(read_folder(images).names) if images.is_dir() else []
    if len(names) < MINIMUM:
        import_photographs(images, project.display, project.data, progress=progress)  # says what is missing
    if any(r.outbox.is_dir() for r in project.rounds()):
        raise _in_use(project)
    table, record = examine(project, names, responses)
    taken = _taken(project, names, table, record=record)
    if taken:
        _refuse_changed(project, images)
    if dry_run:
        with project.trial_copy() as copy:
            record = _write(copy, images, table, record=record, progress=progress)
    elif not taken or _drawn_otherwise(project):
        record = _write(project, images, table, record=record, progress=progress)
    return table, read_record(project) or record


def examine(project: Project, names: Sequence[str], responses: Path) -> tuple[Responses, RecordingRecord]:
    """The usable rows of a recording made elsewhere, and what is known of it; nothing is written.

    Parameters
    ----------
    names : sequence of str
        File names of the photographs that were shown, sorted.

    Raises
    ------
    DataError
        As `take_recording`.
    """
    table = reader_of(responses)(responses, names=names)
    digest = sha256_file(responses)
    _refuse_answer(project, responses, table)
    window_after_onset(responses, table)
    table = _known_images(responses, table, names)
    notes = list(table.attributes.get("notes", ()))
    used, dropped = usable_rows(responses, table, max_dropped=project.config.recording.max_dropped)
    refuse_twice(responses, used, notes)
    check_values(responses, used)
    record = RecordingRecord(
        file=responses.name,
        sha256=digest,
        unit=used.unit,
        window_ms=used.window_ms,
        found=len(table.values),
        used=len(used.values),
        n_sites=len(used.site_ids),
        n_images=len(np.unique(used.image_ids)),
        dropped=dropped,
        sites=odd_sites(used),
        notes=notes,
        subject=str(used.attributes.get("subject", "")),
        session_id=str(used.attributes.get("session_id", "")),
    )
    return replace(used, valid=None), record


def _refuse_answer(project: Project, path: Path, table: Responses) -> None:
    """B04: the file answers an export of this project."""
    stated = str(table.attributes.get("manifest_sha256", "")).lower()
    for round_ in project.rounds() if stated else ():
        manifest = round_.outbox / "manifest.json"
        if manifest.is_file() and sha256_file(manifest) == stated:
            raise DataError(
                path.name,
                found=f"the answer to round {round_.number} of this project",
                expected="a recording made elsewhere",
                cause="the file was given to another command than it was made for",
                fix=f"give `stimsynth ingest --round {round_.number} --file {path.name}`",
                code="B04",
            )


def _known_images(path: Path, table: Responses, names: Sequence[str]) -> Responses:
    """The recording with the photographs' ids, also where its reader left file names as they are.

    B02: responses to images that are not among the photographs; rows that are not used may name any.
    """
    ids = {name: source_id(name) for name in names}
    table = replace(table, image_ids=np.array([ids.get(str(i), str(i)) for i in table.image_ids], dtype=np.str_))
    unknown = sorted({str(i) for i in table.usable().image_ids} - set(ids.values()))
    if unknown:
        sources = table.attributes.get("source_image_ids", {})
        named = ", ".join(sources.get(i, i) for i in unknown[:5])
        raise DataError(
            path.name,
            found=f"responses to {len(unknown)} images that are not in the folder of photographs ({named})",
            expected=f"image ids that are the photographs' file names (such as {names[0]})",
            cause="another folder of photographs, ids from another list, or rows without a photograph (blanks)",
            fix="give the folder that was shown, or write the file names as image_id; cut blanks and the like off, or "
            "mark them trial/valid = 0",
            code="B02",
        )
    return table


def refuse_twice(path: Path, used: Responses, notes: list[str]) -> None:
    """Refuse rows that are there twice, of the usable rows of a recording without a plan; `notes` gets what is doubted.

    Raises
    ------
    DataError
        I10: presentations that are there twice, by their numbers, their clock or their values; B07: each is there once.
    """
    if used.averaged_over is not None:
        refuse_repeated(path, used.image_ids, "an average of it", cause="averages of several days or halves", fix=POOL)
        notes.append("the rows are averages over repeats; single trials are not at hand")
        return
    if len(used.values) and len(np.unique(used.image_ids)) == len(used.values):
        raise DataError(
            path.name,
            found=f"one row for each of {len(used.values)} images, without trial/averaged_over",
            expected="several presentations of some images, or averages that are marked as such",
            cause="the rows are averages over repeats, or weights of a regression",
            fix="write trial/averaged_over, (trial,), over how many presentations each row is an average (1 where each "
            "image was shown once: then every site is fitted, however reliable)",
            code="B07",
        )
    block = np.zeros(len(used.values), dtype=np.int64) if used.block is None else used.block
    if used.rep is not None and np.all(used.rep >= 0) and np.all(block >= 0):
        stated = [
            f"{i}, block {b}, rep {r}"
            for i, b, r in zip(used.image_ids, block.tolist(), used.rep.tolist(), strict=True)
        ]
        refuse_repeated(path, stated, "the same trial", fix=f"remove the duplicates; or see that {_AGAIN}")
    timed = used.onset_s is not None and bool(np.all(np.isfinite(used.onset_s)))
    back = 0
    if timed and used.onset_s is not None:
        if used.rep is None:
            refuse_ties(path, used.onset_s)
        back = steps_back(used.onset_s)
    if back:
        notes.append(f"trial/onset_s runs back {times(back)} from one row to the next; the rows were not sorted by it")
    refuse_copies(path, used, apart="the rising clock trial/onset_s" if timed and not back else "", notes=notes)


def _taken(project: Project, names: Sequence[str], table: Responses, *, record: RecordingRecord) -> bool:
    """Whether this recording was taken before, as a whole.

    B01: the project holds another recording, or other photographs with it.
    """
    before, path, listed = read_record(project), project.data / "responses.h5", project.data / "natural.csv"
    if before is None and not (path.is_file() and listed.is_file()):
        return False
    if before is not None:
        same = before.sha256 == record.sha256
    else:  # stopped before the record was written
        with tempfile.TemporaryDirectory(prefix="stimsynth_") as scratch:
            write_responses(Path(scratch) / path.name, table)
            same = sha256_file(Path(scratch) / path.name) == sha256_file(path)
    if same and listed.is_file():
        same = sorted(r.original_name for r in read_photographs(listed)) == list(names)
    if not same:
        raise _in_use(project)
    return before is not None and path.is_file() and listed.is_file()


def _drawn_otherwise(project: Project) -> bool:
    """Whether the photographs of a recording that was taken were drawn for another [display]."""
    before = read_record(project)
    return before is not None and bool(before.display) and before.display != project.display.drawn()


def _refuse_changed(project: Project, images: Path) -> None:
    """B01: the pictures, or the tables beside them, are other ones than when the recording was taken."""
    before = read_record(project)
    if before is None or not before.sources_sha256:
        return
    try:
        same = sources_sha256(images) == before.sources_sha256
    except OSError:  # a file that cannot be read any more
        same = False
    if same:
        return
    raise DataError(
        str(images),
        found="pictures, a shown.csv or a groups.csv that were changed after the recording was taken",
        expected="the folder as it was: the project keeps the pictures as they were drawn then",
        cause="a table was corrected, or pictures were saved again",
        fix="to go on with the earlier pictures, give `stimsynth fit` without --images and --responses; to take the "
        "new ones, make another project with `stimsynth init`",
        code="B01",
    )


def _write(
    project: Project, images: Path, table: Responses, *, record: RecordingRecord, progress: Reporter | None
) -> RecordingRecord:
    """The responses first, so that no photograph stands without them and would be shown again; the record last."""
    path = project.data / "responses.h5"
    fresh = not path.is_file()
    write_responses(path, table)
    try:
        natural = import_photographs(images, project.display, project.data, progress=progress)
    except DataError:
        if fresh:
            path.unlink()
        raise
    told = photograph_report(natural, project.display)
    record = replace(
        record,
        responses_sha256=sha256_file(path),
        photographs=told,
        sources_sha256=sources_sha256(images),
        display=project.display.drawn(),
    )
    write_record(project, record)
    return record
