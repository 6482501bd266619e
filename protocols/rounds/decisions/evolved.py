"""Vetoes of images that were evolved on the rig: in the generation that waits for its export, and of the image that
enters a round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from protocols.arrays import Pixels
from protocols.disk.png import read_png
from protocols.project.decisions.honoured import Honoured, LeftOut
from protocols.project.decisions.record import Decision
from protocols.project.decisions.standing import read_standing
from protocols.project.folder import Project
from protocols.project.generations.files import OBJECTIVE, Evolution, Evolved, Generation, evolved_images
from protocols.project.key import SiteRow
from protocols.rounds.checks import check_size
from protocols.rounds.stimulus import Stimulus, batch_names
from synth import StimulusBatch

from .honour import digest_of, honoured_batch, none_left

__all__ = ["entering", "honoured_generation", "honoured_round", "waiting_image", "with_evolved"]


def waiting_image(project: Project, name: str) -> tuple[int, Pixels] | None:
    """The round and the pixels, uint8 (H, W, C), of an evolved image that may be vetoed now; None where none has the
    name: it waits in a generation that is not exported, or enters a round that is not exported.
    """
    for round_ in project.rounds():
        if round_.outbox.is_dir():
            continue
        generation = Evolution(round_).proposed()
        if generation is not None and name in generation.proposed():
            return round_.number, read_png(generation.proposed()[name])
        for image in evolved_images(project, round_.number).values():
            if image.source_id == name:
                return round_.number, image.pixels
    return None


def honoured_generation(
    project: Project, generation: Generation, stimuli: Sequence[Stimulus]
) -> tuple[list[Stimulus], Honoured]:
    """The evolved images of a generation to show, and what became of the others.

    Raises
    ------
    DataError
        S10: the decisions cannot be read; S12: no image of a target is left.
    """
    standing = read_standing(project.folder)
    against = {s.source_id: d for s in stimuli if (d := standing.vetoed.get((s.source_id, digest_of(s.pixels))))}
    kept = [s for s in stimuli if s.source_id not in against]
    for target in dict.fromkeys(s.target for s in stimuli):
        if not any(s.target == target for s in kept):
            raise none_left(
                f"all images of {target} in generation {generation.generation} vetoed",
                "an image of each target to show",
                fix="`stimsynth decide approve IMAGE` (see `stimsynth decide --list`), or end the evolution of the "
                f"site with `stimsynth decide stop {target}`",
            )
    left_out = tuple(_left_out(against[s.source_id], s.target) for s in stimuli if s.source_id in against)
    return kept, Honoured(sequence=standing.sequence if left_out else 0, left_out=left_out)


def entering(project: Project, number: int) -> dict[str, Evolved]:
    """The evolved image of each target that round `number` shows: those that nobody vetoed."""
    found = evolved_images(project, number)
    vetoed = _vetoed(project, found.values())
    return {target: image for target, image in found.items() if image.source_id not in vetoed}


def honoured_round(project: Project, number: int, sites: Sequence[SiteRow]) -> tuple[StimulusBatch, Honoured]:
    """The controllers of a round to show, and what became of the others and of its evolved images.

    `sites`: the frozen set.

    Raises
    ------
    DataError
        S10: the decisions cannot be read; S12: no controller is left; X03: images of another size than the display;
        O01, O02: the evolved images cannot be used.
    """
    made = StimulusBatch.load(project.round(number).controllers_path)
    channels, height, width = project.display.shape
    for name, pixels in zip(batch_names(made, number), made.images, strict=True):
        check_size(name, pixels, (height, width, channels))
    batch, honoured = honoured_batch(project, number, made)
    return batch, with_evolved(project, number, honoured, batch=batch, site_ids=[site.site_id for site in sites])


def with_evolved(
    project: Project, number: int, honoured: Honoured, *, batch: StimulusBatch, site_ids: Sequence[str]
) -> Honoured:
    """`honoured` with the vetoes of evolved images of sites in `site_ids`.

    At a site with a stretch controller in `batch` the image would have stood beside it, as an arm; at the others it
    would have been tested, and nothing is.
    """
    if "evolved" not in project.config.arms.kinds:
        return honoured
    found = evolved_images(project, number)
    beside = {target for kind, target in zip(batch.kinds, batch.targets, strict=True) if kind == OBJECTIVE}
    vetoed = _vetoed(project, found.values())
    more = tuple(
        _left_out(vetoed[image.source_id], target, confirmatory=target not in beside)
        for target, image in found.items()
        if image.source_id in vetoed and target in site_ids
    )
    if not more:
        return honoured
    sequence = max(honoured.sequence, read_standing(project.folder).sequence)
    return replace(honoured, sequence=sequence, left_out=(*honoured.left_out, *more))


def _vetoed(project: Project, images: Iterable[Evolved]) -> dict[str, Decision]:
    held = read_standing(project.folder).vetoed
    return {i.source_id: d for i in images if (d := held.get((i.source_id, digest_of(i.pixels))))}


def _left_out(decision: Decision, target: str, *, confirmatory: bool = False) -> LeftOut:
    return LeftOut(
        image=decision.image,
        objective=OBJECTIVE,
        site=target,
        action=decision.action,
        who=decision.who,
        utc=decision.utc,
        reason=decision.reason,
        confirmatory=confirmatory,
    )
