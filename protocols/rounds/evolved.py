"""Evolved images of sites that no controller is made for: they are controllers of the round themselves."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.project.folder import Project
from protocols.project.generations.files import Evolved, evolved_images
from protocols.recordings.natural import References

from .stimulus import Stimulus

OBJECTIVE, GENERATOR = "stretch", "evolution"


def evolved_alone(
    project: Project, number: int, targets: Sequence[str], *, site_ids: Sequence[str]
) -> dict[str, Evolved]:
    """The evolved images of sites outside `targets` that belong to the frozen set `site_ids`; where the arm "evolved"
    is not shown, none.
    """
    if "evolved" not in project.config.arms.kinds:
        return {}
    found = evolved_images(project, number)
    return {t: e for t, e in found.items() if t not in targets and t in site_ids}


def without_other_objectives(references: References, alone: Sequence[str]) -> References:
    """`references` without the pairs of the sites `alone` that no image is evolved for: all but stretch."""
    kept = [pair for pair in references.images if pair[1] not in alone or pair[0] == OBJECTIVE]
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
            generator=GENERATOR,
            confirmatory=True,
            started_from=image.started_from,
        )
        for target, image in evolved.items()
    ]
