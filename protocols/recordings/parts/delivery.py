"""What of an answer is there and what is missing, while its parts come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, sha256_file
from protocols.errors import DataError
from protocols.progress import counted
from protocols.project.folder import Round
from protocols.project.outbox import PlannedTrial, later_orders, planned_trials
from protocols.recordings.blocks import LEAST, remaining_looks
from protocols.recordings.ingest import IngestReport, ingest, may_still_come

from .answer import JoinedAnswer
from .joined import joined, refuse_contradictions
from .names import MARKER, Part, all_there, block_part, not_taken, parts_in
from .part import Facts, read_part

_KEPT = 512  # parts whose facts are kept in memory, so that waiting does not read them again and again
_known: dict[tuple[Any, ...], Facts | DataError] = {}


@dataclass(frozen=True)
class Delivery:
    """The parts in the inbox of a round.

    Attributes
    ----------
    facts : tuple of Facts
        Of the parts that passed their checks.
    faults : dict of file name to the error that refused it
    order : tuple of PlannedTrial
        The order in force.
    final : bool
        The rig said that no more parts will come.
    share : float
        Of the planned presentations of a block: with so many usable ones it counts as delivered.
    others : tuple of str
        Files that look like parts and are none, with the reason.
    """

    facts: tuple[Facts, ...] = ()
    faults: dict[str, DataError | OSError] = field(default_factory=dict)
    order: tuple[PlannedTrial, ...] = ()
    final: bool = False
    share: float = 0.7
    others: tuple[str, ...] = ()

    @property
    def trials(self) -> set[tuple[str, int]]:
        """Planned presentations with a usable row."""
        return set().union(*(f.trials for f in self.facts))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are delivered: their own part is there and has enough presentations, or all are there."""
        planned, here = Counter(t.block for t in self.order), self._usable()
        named = {f.part.block for f in self.facts}
        return tuple(
            sorted(b for b, n in planned.items() if here[b] == n or (b in named and here[b] >= self.share * n))
        )

    @property
    def missing_blocks(self) -> tuple[int, ...]:
        """The planned blocks that are not delivered."""
        return tuple(sorted({t.block for t in self.order} - set(self.blocks)))

    @property
    def missing_images(self) -> int:
        """Planned images without any usable row."""
        return len({t.image_id for t in self.order} - {image for image, _ in self.trials})

    @property
    def complete(self) -> bool:
        """Whether the parts can become the round's answer now."""
        return bool(self.facts) and not self.faults and (self.final or not self.missing_blocks)

    def look_block(self, looks: Sequence[int]) -> int | None:
        """The newest of `looks` that the parts are enough for: all blocks before it are there and none after it."""
        here = set(self.blocks)
        begun = max((f.begun for f in self.facts), default=-1)
        if self.faults:
            return None
        return max(
            (b for b in looks if begun < b and here >= {t.block for t in self.order if t.block < b}), default=None
        )

    def _usable(self) -> Counter[int]:
        trials = self.trials
        return Counter(t.block for t in self.order if (t.image_id, t.rep) in trials)

    def summary(self) -> str:
        """What is there and what is missing, in one sentence."""
        trials, count = len(self.trials), len(self.facts)
        if not count:
            return (
                f"no part that can be used; {len(self.faults) + len(self.others)} files are named by `stimsynth status`"
            )
        text = f"{count} part{'' if count == 1 else 's'}: {trials} of {len(self.order)} trials"
        text += f", block{'' if len(self.blocks) == 1 else 's'} {_listed(self.blocks)} delivered" if self.blocks else ""
        planned, here = Counter(t.block for t in self.order), self._usable()
        lacking = [f"{b} ({planned[b] - here[b]} of {planned[b]} trials)" for b in self.missing_blocks]
        text += f"; missing: block{'' if len(lacking) == 1 else 's'} {', '.join(lacking)}" if lacking else ""
        dropped = sum(planned[b] - here[b] for b in self.blocks)
        text += f"; {dropped} trials of delivered blocks are not usable" if dropped else ""
        text += f"; {self.missing_images} images without a trial" if self.missing_images else ""
        return text + (f"; {MARKER} says that no more will come" if self.final else "")

    def lines(self) -> list[str]:
        """One line per part: what it holds, or why it is refused; then files that are none."""
        found = []
        for fact in self.facts:
            blocks = _listed(sorted(fact.blocks)) or "none"
            found.append(f"{fact.part.name}: {fact.usable} usable of {fact.rows} rows, block {blocks}")
        for name, error in self.faults.items():
            refused = not may_still_come(error)
            what = "is refused, put a corrected file in its place" if refused else "cannot be read yet"
            found.append(f"{name} {what}: {error}")
        return found + list(self.others)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        counts = [(f.part.name, f.rows, f.usable, sorted(f.blocks)) for f in self.facts]
        return {
            "parts": [dict(zip(("file", "rows", "usable", "blocks"), c, strict=True)) for c in counts],
            "refused": {name: str(error) for name, error in self.faults.items()},
            "not_taken": list(self.others),
            "blocks": list(self.blocks),
            "missing_blocks": list(self.missing_blocks),
            "trials": len(self.trials),
            "missing_trials": len(self.order) - len(self.trials),
            "missing_images": self.missing_images,
            "final": self.final,
            "complete": self.complete,
        }


def survey(
    round_: Round, *, max_dropped: float = 0.3, drop_extra: bool = False, accept: Mapping[str, str] | None = None
) -> Delivery | None:
    """What lies in the inbox in parts; None where there is no part, nor anything that looks like one.

    Every part is read and checked once; it is read again where its file changes. A part that is refused stands in
    `Delivery.faults`. The options are those of `protocols.recordings.ingest.ingest`.
    """
    parts, others = parts_in(round_), tuple(not_taken(round_))
    if not parts:
        return Delivery(others=others) if others else None
    try:
        order, later = planned_trials(round_.outbox), tuple(later_orders(round_.outbox))
    except DataError as error:
        return Delivery(faults={f"{round_.folder.name}/outbox": error}, others=others)
    facts: list[Facts] = []
    faults: dict[str, DataError | OSError] = {}
    for part in counted(parts, "look at parts"):
        try:
            facts.append(_facts_of(round_, part, order, drop_extra=drop_extra, later=later, accept=accept))
        except (DataError, OSError) as error:
            faults[part.name] = error
    try:
        refuse_contradictions(facts)
    except DataError as error:
        faults[error.where] = error
        facts = [f for f in facts if f.part.name != error.where]
    share = max(LEAST, 1 - max_dropped)
    return Delivery(tuple(facts), faults, tuple(order), final=all_there(round_), share=share, others=others)


def _facts_of(
    round_: Round,
    part: Part,
    order: list[PlannedTrial],
    *,
    drop_extra: bool,
    later: tuple[int, ...],
    accept: Mapping[str, str] | None,
) -> Facts:
    """The facts of a part, from memory where its file did not change; of a part that is not whole nothing is kept."""
    stats = [p.stat() for p in (part.path, round_.outbox / "manifest.json")]
    about = tuple(sorted((accept or {}).items()))
    key = (str(part.path), drop_extra, later, about, *((s.st_size, s.st_mtime_ns, s.st_ino) for s in stats))
    if key not in _known:
        try:
            found: Facts | DataError = read_part(round_, part, order, drop_extra=drop_extra, accept=accept).facts
        except DataError as error:
            if may_still_come(error):
                raise
            found = error
        if len(_known) >= _KEPT:
            _known.clear()
        _known[key] = found
    found = _known[key]
    if isinstance(found, DataError):
        raise found
    return replace(found, part=part)


def ingest_parts(round_: Round, *, said: bool = False, **options: Any) -> IngestReport:
    """Join the parts in the inbox and ingest them as the round's answer.

    Parameters
    ----------
    round_ : Round
    said : bool
        The user says that no more parts will come.
    options
        As for `protocols.recordings.ingest.ingest`.

    Raises
    ------
    DataError
        As `joined` and `ingest`; I24: parts are missing.
    """
    given = {name: options[name] for name in ("drop_extra", "accept") if name in options}
    found = survey(round_, max_dropped=options.get("max_dropped", 0.3), **given)
    for fault in found.faults.values() if found else ():
        raise fault
    if found is None or not found.facts or (found.missing_blocks and not (said or found.final)):
        raise _missing(round_, found)
    with joined(round_, [f.part for f in found.facts], **given) as answer:
        notes = (*_changed_since_looks(round_, answer), *answer.notes)
        return ingest(round_, replace(answer, notes=notes), **options)


def late_parts(round_: Round) -> list[str]:
    """Parts in the inbox that are not those that the round's answer was joined from; [] where it came whole."""
    here = parts_in(round_) if round_.ingested else []
    record = read_json(round_.ingest_path) if here else {}
    taken = {p["file"]: p["sha256"] for p in record.get("parts", ())}
    return [p.name for p in here if taken and taken.get(p.name) != _digest(p.path)]


def _changed_since_looks(round_: Round, answer: JoinedAnswer) -> list[str]:
    """A note on each interim look that was made from a part which is another now."""
    here, notes = {s.file: s.sha256 for s in answer.sources}, []
    for block in later_orders(round_.outbox):
        path = round_.sealed / f"look_before_block_{block:02d}.json"
        record = read_json(path) if path.is_file() else None
        parts = record.get("parts") if isinstance(record, dict) else None
        used = parts.items() if isinstance(parts, dict) else ()
        changed = [name for name, digest in used if here.get(name) != digest]
        if changed:
            notes.append(
                f"{', '.join(changed)}: not as it was at the look before block {block}; what that look decided stays, "
                "and the verdict comes from the parts as they are now"
            )
    return notes


def look_of_parts(round_: Round, found: Delivery | None) -> int | None:
    """The block of the interim look that the parts are enough for; None where there is none."""
    return None if found is None else found.look_block(remaining_looks(round_))


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _missing(round_: Round, found: Delivery | None) -> DataError:
    if found is None or not found.facts:
        text, wanted = "no finished part" + (f" ({found.others[0]})" if found and found.others else ""), block_part(0)
    else:
        text, wanted = found.summary(), block_part(found.missing_blocks[0])
    return DataError(
        f"{round_.place}/inbox",
        found=text,
        expected=f"all parts of the answer, each with its .done file; {wanted} comes next",
        cause="the rig has not finished, or a part has another name",
        fix=f"wait for the other parts; if no more will come, make the empty file {MARKER} or give `stimsynth ingest "
        "--parts`, which takes what is there",
        code="I24",
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
