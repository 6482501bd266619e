"""An interim look: which controllers are decided, and what the remaining blocks show."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.disk.files import sha256_file, write_json
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
from protocols.rounds.safety import guard
from protocols.verdict.looks.interim import Decision, decide, stage_reports

from .reallocate import Reallocation, reallocate
from .record import LookReport, made_decisions, made_looks, record_path

if TYPE_CHECKING:
    from protocols.progress import Reporter


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
        The rig's file; default: ``inbox/responses_before_block_NN.h5`` with its ``.done`` file.

    Raises
    ------
    DataError
        L01: no look is due; L03: it was made from another file, or there is none; as `read_blocks` else.
    SafetyStop
        The new order exceeds a limit of ``[safety]``; nothing is written.
    """
    project, looks = project.for_stage(), planned_looks(round_)
    earlier = _made_before(round_, file)
    if earlier is not None:
        return earlier
    if looks is None or not remaining_looks(round_):
        raise _not_due(round_, looks)
    before, file = _recorded(round_, file)
    settings, digest = project.config.recording, sha256_file(file)
    responses = read_blocks(round_, file, before, max_dropped=settings.max_dropped, drop_extra=settings.extra == "drop")
    key, number = read_key(round_.key_path), looks.after.index(before) + 1
    reports = stage_reports(responses, key, looks, stages=number, **_tests(round_))
    decisions = decide(reports, looks, made_decisions(round_))
    new = _new_order(project, round_, key, decisions=decisions, before=before, progress=progress)
    report = _report(number, before, file, digest=digest, decisions=decisions, new=new)
    record = report.to_dict() | {"looks": asdict(looks), "decisions": [d.to_dict() for d in decisions]}
    write_json(record_path(round_, before), record)
    _publish(round_, before, new)
    round_.log("look", **{k: v for k, v in report.to_dict().items() if k not in ("schema", "status")})
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
    number: int, before: int, file: Path, *, digest: str, decisions: list[Decision], new: Reallocation
) -> LookReport:
    counts = {name: sum(d.decision == name for d in decisions) for name in ("success", "futile", "undecided")}
    return LookReport(
        status="made",
        number=number,
        before_block=before,
        file=file.name,
        sha256=digest,
        order=order_path(Path(), before).name,
        presentations=len(new.trials),
        released=new.released,
        given=new.given,
        **counts,
    )


def _made_before(round_: Round, file: Path | None) -> LookReport | None:
    """The newest look, where nothing new was recorded since; L03 where it was made from another file."""
    made = made_looks(round_)
    if not made:
        return None
    if file is None:
        return replace(made[-1], status="unchanged") if poll_blocks(round_) is None else None
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


def _recorded(round_: Round, file: Path | None) -> tuple[int, Path]:
    """The block that the look stands before, by the name of its file where that tells it, and the file."""
    waiting = remaining_looks(round_)
    if file is not None:
        named = [block for block in waiting if file.name.startswith(f"{blocks_name(block)}.")]
        return (named or list(waiting))[0], file
    found = poll_blocks(round_)
    if found is None:
        raise _no_file(round_, waiting[0])
    return found


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
