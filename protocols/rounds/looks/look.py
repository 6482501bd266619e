"""An interim look: which controllers are decided, and what the remaining blocks show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.disk.files import sha256_file, write_json
from protocols.disk.locks import alone
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.project.looks import Looks
from protocols.project.outbox import (
    PlannedTrial,
    order_path,
    planned_trials,
    publish_order,
    read_images,
    read_manifest,
)
from protocols.recordings.blocks import blocks_name, planned_looks, poll_blocks, read_blocks, remaining_looks
from protocols.recordings.parts.delivery import look_of_parts, survey
from protocols.recordings.parts.joined import joined
from protocols.recordings.parts.names import parts_in
from protocols.rounds.safety import guard
from protocols.verdict.looks.interim import Decision, decide, stage_reports

from .reallocate import Reallocation, reallocate
from .record import LookReport, made_decisions, made_looks, record_path

if TYPE_CHECKING:
    from protocols.progress import Reporter


Recorded = tuple[int, Path, str, str, dict[str, str]]


@alone("look")
def make_look(
    project: Project, round_: Round, file: Path | None = None, *, progress: Reporter | None = None
) -> LookReport:
    """Take the blocks recorded so far, decide, and write the order of the remaining blocks.

    The new order appears beside ``order.csv``; the key and the exported files stay as they are. What was decided stands
    in ``sealed/look_before_block_NN.json``. A repeated call with the same file changes nothing.

    Parameters
    ----------
    project : Project
    round_ : Round
        An exported round with looks.
    file : Path, optional
        The rig's file; default: ``inbox/responses_before_block_NN.h5`` with its ``.done`` file, else the parts of all
        blocks before NN (`protocols.recordings.parts`).

    Raises
    ------
    DataError
        L01: no look is due; L03: it was made from another file, or there is none; as `read_blocks` else.
    SafetyStop
        The new order exceeds a limit of ``[safety]``; nothing is written.
    """
    project, looks = project.for_stage(), planned_looks(round_)
    settings = project.config.recording
    earlier = _made_before(project, round_, file)
    if earlier is not None:
        return earlier
    if looks is None or not remaining_looks(round_):
        raise _not_due(round_, looks)
    with _recorded(project, round_, file) as (before, path, name, digest, parts):
        responses = read_blocks(round_, path, before, max_dropped=settings.max_dropped, drop_extra=_drops(project))
    key, number = read_key(round_.key_path), looks.after.index(before) + 1
    reports = stage_reports(responses, key, looks, stages=number, **_tests(round_))
    decisions = decide(reports, looks, made_decisions(round_))
    new = _new_order(project, round_, key, decisions=decisions, before=before, progress=progress)
    report = _report(number, before, name, digest=digest, decisions=decisions, new=new)
    record = report.to_dict() | {"looks": asdict(looks), "decisions": [d.to_dict() for d in decisions], "parts": parts}
    round_.log("look", **{k: v for k, v in report.to_dict().items() if k not in ("schema", "status")})
    write_json(record_path(round_, before), record)
    _publish(round_, before, new)
    return report


def _tests(round_: Round) -> dict[str, Any]:
    """How the stages are tested: as the manifest has it."""
    config = read_manifest(round_.outbox)["config"]
    return {
        "permutations": int(config["evaluation"]["permutations"]),
        "seed": int(config["evaluation"]["seed"]),
        "temperature": float(config["synthesis"]["temperature"]),
    }


def _new_order(
    project: Project,
    round_: Round,
    key: Key,
    *,
    decisions: list[Decision],
    before: int,
    progress: Reporter | None,
) -> Reallocation:
    """The presentations from block `before` on, held to the limits of [safety]."""
    decided = {d.pair for d in decisions if d.decision != "undecided"}
    seed = project.config.protocol.seed
    new = reallocate(planned_trials(round_.outbox), key, decided, before=before, seed=[seed, round_.number, 2, before])
    if new.trials:
        ids = [t.image_id for t in new.trials]
        images = read_images(round_.outbox)
        guard(project.config, progress)({i: images[i] for i in sorted(set(ids))}, ids)
    return new


def _publish(round_: Round, before: int, new: Reallocation) -> None:
    """Write the new order with the files and times of the old one."""
    of = {t.image_id: t for t in planned_trials(round_.outbox)}
    trials = [
        PlannedTrial(
            trial=t.trial,
            block=t.block,
            rep=t.rep,
            image_id=t.image_id,
            filename=of[t.image_id].filename,
            on_ms=of[t.image_id].on_ms,
            off_ms=of[t.image_id].off_ms,
        )
        for t in new.trials
    ]
    publish_order(round_.outbox, before, trials)


def _report(
    number: int, before: int, file: str, *, digest: str, decisions: list[Decision], new: Reallocation
) -> LookReport:
    counts = {name: sum(d.decision == name for d in decisions) for name in ("success", "futile", "undecided")}
    return LookReport(
        status="made",
        number=number,
        before_block=before,
        file=file,
        sha256=digest,
        order=order_path(Path(), before).name,
        presentations=len(new.trials),
        released=new.released,
        given=new.given,
        **counts,
    )


def _made_before(project: Project, round_: Round, file: Path | None) -> LookReport | None:
    """The newest look, where nothing new was recorded since; L03 where it was made from another file."""
    made = made_looks(round_)
    if not made:
        return None
    if file is None:
        new = poll_blocks(round_) is not None or _in_parts(project, round_) is not None
        return None if new else replace(made[-1], status="unchanged")
    if sha256_file(file) == made[-1].sha256:
        return replace(made[-1], status="unchanged")
    if remaining_looks(round_):
        return None
    raise DataError(
        file.name,
        found=f"another file than that of look {made[-1].number} ({made[-1].file}, SHA-256 {made[-1].sha256[:12]})",
        expected="one file per look",
        cause="the blocks were written again after the look",
        fix="go on with the order that the look wrote; the whole answer, in responses.h5, may hold the new values",
        code="L03",
    )


@contextmanager
def _recorded(project: Project, round_: Round, file: Path | None) -> Iterator[Recorded]:
    """The block that the look stands before, by the name of its file where that tells it; the file, and its name and
    hash in the record: those of the parts where it was joined from parts; then the hash of each part.
    """
    waiting, found = remaining_looks(round_), poll_blocks(round_)
    if file is not None:
        named = [block for block in waiting if file.name.startswith(f"{blocks_name(block)}.")]
        found = (named or list(waiting))[0], file
    before = None if found is not None else _in_parts(project, round_)
    if found is not None:
        yield *found, found[1].name, sha256_file(found[1]), {}
    elif before is not None:
        with joined(round_, parts_in(round_), drop_extra=_drops(project)) as answer:
            yield before, answer.path, answer.name, answer.sha256, {s.file: s.sha256 for s in answer.sources}
    else:
        raise _no_file(round_, waiting[0])


def _in_parts(project: Project, round_: Round) -> int | None:
    """The block of the look that the parts in the inbox are enough for."""
    share = project.config.recording.max_dropped
    return look_of_parts(round_, survey(round_, max_dropped=share, drop_extra=_drops(project)))


def _drops(project: Project) -> bool:
    return project.config.recording.extra == "drop"


def _not_due(round_: Round, looks: Looks | None) -> DataError:
    return DataError(
        f"{round_.session_id}/{round_.folder.name}",
        found="no interim look in its manifest" if looks is None else f"a round that is {round_.state}",
        expected="an exported round with [evaluation] looks = 1 or 2, recorded in part",
        cause="looks was 0 when the round was exported" if looks is None else "the last block is over",
        fix="set looks before a round is exported" if looks is None else "run `stimsynth run`, which ingests the round",
        code="L01",
    )


def _no_file(round_: Round, before: int) -> DataError:
    name = blocks_name(before)
    return DataError(
        f"{round_.session_id}/{round_.folder.name}/inbox",
        found=f"no {name}.h5 with {name}.h5.done",
        expected=f"all trials of blocks 0 to {before - 1}",
        cause="the rig has not written the first blocks yet, or under another name",
        fix=f"write {name}.h5.part, rename it to {name}.h5, then make the empty file {name}.h5.done",
        code="L05",
    )
