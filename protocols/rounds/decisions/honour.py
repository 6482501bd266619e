"""The controllers of a round that are shown: those that were made, without the vetoed ones and those of stopped sites.

It is decided before the export, so before any response of the round. In the place of a vetoed confirmatory controller
stands the image of the same objective and site that the same rule, the validator's score, puts next. Where none is
left, the pair is not tested.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.files import sha256_bytes, sha256_file
from protocols.errors import DataError
from protocols.project.decisions.honoured import Honoured, LeftOut, read_honoured, write_honoured
from protocols.project.decisions.record import FILE, Decision
from protocols.project.decisions.standing import Standing, read_standing
from protocols.project.folder import Project, Round
from protocols.project.generations.files import EVOLVED_NAME
from protocols.rounds.stimulus import batch_names
from synth import StimulusBatch

__all__ = [
    "as_shown",
    "confirmatory_places",
    "digest_of",
    "honoured_batch",
    "last_words",
    "made_batch",
    "none_left",
    "not_stopped",
    "obsolete_vetoes",
    "tell_honoured",
]


def digest_of(pixels: Pixels) -> str:
    """SHA-256 of the pixels of one image, uint8 (H, W, C)."""
    return sha256_bytes(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())


def honoured_batch(project: Project, number: int, batch: StimulusBatch) -> tuple[StimulusBatch, Honoured]:
    """The controllers to show, and what became of the others.

    Raises
    ------
    DataError
        S10: the decisions cannot be read; S12: no controller is left.
    """
    standing = read_standing(project.folder)
    if not standing.sequence:
        return batch, Honoured(sequence=0)
    names, words = batch_names(batch, number), last_words(standing, number, batch)
    against = {i: word for i, word in enumerate(words) if word is not None and word.action != "approve"}
    kept = [i for i in range(len(batch)) if i not in against]
    if not kept:
        raise none_left(
            f"all {len(batch)} controllers of round {number} vetoed, or of sites that are stopped",
            "a controller to show",
            fix="`stimsynth decide approve IMAGE` or `stimsynth decide resume SITE` (see `stimsynth decide --list`); "
            f"or delete sealed/controllers.h5 of round {number} and generate again with other settings",
        )
    shown = batch.take(kept)
    before = {_pair(batch, i): i for i in batch.best_indices()}
    after = {_pair(shown, i): names[kept[i]] for i in shown.best_indices()}
    left_out = []
    for i, decision in against.items():
        confirmatory = before[_pair(batch, i)] == i
        left_out.append(
            LeftOut(
                image=names[i],
                objective=batch.kinds[i],
                site=batch.targets[i],
                action=decision.action,
                who=decision.who,
                utc=decision.utc,
                reason=decision.reason,
                confirmatory=confirmatory,
                instead=after.get(_pair(batch, i), "") if confirmatory else "",
            )
        )
    chosen = standing.targets_of(number)
    approved = [(names[i], d.who, d.reason) for i in kept if (d := words[i]) is not None]
    targets = "" if chosen is None else f"{len(chosen.sites)} sites chosen by {chosen.who}: {chosen.reason}"
    honoured = Honoured(sequence=standing.sequence, left_out=tuple(left_out), approved=tuple(approved), targets=targets)
    return (shown if against else batch), honoured


def made_batch(project: Project, number: int) -> StimulusBatch | None:
    """The controllers of round `number` that are to be shown (`honoured_batch`); None before they are made."""
    made = [r for r in project.rounds() if r.number == number and r.controllers_path.is_file()]
    return honoured_batch(project, number, StimulusBatch.load(made[0].controllers_path))[0] if made else None


def last_words(standing: Standing, number: int, batch: StimulusBatch) -> list[Decision | None]:
    """What holds for each image of a batch: its veto, the stop of its site, its approval, or nothing."""
    if not standing.sequence:
        return [None] * len(batch)
    words = list[Decision | None]()
    for name, pixels, site in zip(batch_names(batch, number), batch.images, batch.targets, strict=True):
        own = standing.images.get((name, digest_of(pixels)))
        vetoed = own is not None and own.action == "veto"
        words.append(own if vetoed else standing.stopped.get(site) or own)
    return words


def confirmatory_places(batch: StimulusBatch, words: Sequence[Decision | None]) -> set[int]:
    """Places of the images that would be confirmatory now, with what holds for each image (`last_words`)."""
    left = [i for i, word in enumerate(words) if word is None or word.action == "approve"]
    return {left[i] for i in batch.take(left).best_indices()} if left else set()


def tell_honoured(round_: Round, honoured: Honoured) -> dict[str, Any]:
    """Seal what the export of a round honours, and log it; returns the entry of ``manifest.json``: counts."""
    sealed = write_honoured(round_, honoured)
    if sealed is None:
        return {}
    entry = {**honoured.counts(), "sealed_sha256": sha256_file(sealed)}
    round_.log("decisions", **entry)
    return {"decisions": entry}


def as_shown(round_: Round, batch: StimulusBatch) -> StimulusBatch:
    """The controllers of an exported round as its export chose them from `batch`."""
    gone = {x.image for x in read_honoured(round_).left_out}
    if not gone:
        return batch
    return batch.take(i for i, name in enumerate(batch_names(batch, round_.number)) if name not in gone)


def not_stopped(project: Project, sites: Collection[str]) -> list[str]:
    """The `sites` that are not stopped."""
    stopped = read_standing(project.folder).stopped
    return [site for site in sites if site not in stopped]


def obsolete_vetoes(standing: Standing, number: int, batch: StimulusBatch) -> list[str]:
    """Vetoed images of round `number` that the batch does not hold any more: they were made again, and are others."""
    here = set(zip(batch_names(batch, number), map(digest_of, batch.images), strict=True))
    vetoed = {key: d for key, d in standing.vetoed.items() if not d.image.startswith(EVOLVED_NAME)}
    return [image for (image, digest), d in vetoed.items() if d.round == number and (image, digest) not in here]


def _pair(batch: StimulusBatch, i: int) -> tuple[str, str, str]:
    return batch.row_names[i], batch.kinds[i], batch.targets[i]


def none_left(found: str, expected: str, *, fix: str) -> DataError:
    """S12: decisions leave nothing to show."""
    return DataError(
        FILE,
        found=found,
        expected=expected,
        cause="more was vetoed than was meant",
        fix=fix,
        code="S12",
    )
