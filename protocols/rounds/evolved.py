"""Evolved images of sites that no stretch controller is made for: they are controllers of the round themselves."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from protocols.project.folder import Project
from protocols.project.generations.files import EVOLVED, OBJECTIVE, Evolved
from protocols.recordings.natural import References

from .decisions.evolved import entering
from .decisions.honour import not_stopped
from .stimulus import Stimulus


def evolved_alone(
    project: Project, number: int, controlled: Collection[str], *, site_ids: Sequence[str]
) -> dict[str, Evolved]:
    """The evolved images of sites that belong to the frozen set `site_ids` and have no stretch controller beside which
    the image would stand as an arm (`controlled` are those that have one), and are neither stopped nor vetoed by
    decision; where the arm "evolved" is not shown, none.
    """
    if "evolved" not in project.config.arms.kinds:
        return {}
    found = entering(project, number)
    going_on = not_stopped(project, found)
    return {t: found[t] for t in going_on if t not in controlled and t in site_ids}


def of_pairs(references: References, shown: Collection[tuple[str, str]]) -> References:
    """`references` of the pairs (objective, site) that have a controller or an evolved image, `shown`, alone."""
    kept = [pair for pair in references.images if pair in shown]
    return References({p: references.images[p] for p in kept}, {p: references.shortfall[p] for p in kept})


def evolved_controllers(evolved: dict[str, Evolved]) -> list[Stimulus]:
    """Each of them as the confirmatory controller of its site: it was chosen before the trials that judge it."""
    return [
        Stimulus(
            pixels=image.pixels,
            role="controller",
            source_id=image.source_id,
            objective=OBJECTIVE,
            target=target,
            generator=EVOLVED,
            confirmatory=True,
            started_from=image.started_from,
        )
        for target, image in evolved.items()
    ]
