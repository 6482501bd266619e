"""Evolved images that wait for an export: those of the next generation, and those that enter a round."""

from __future__ import annotations

from typing import Any

from protocols.project.decisions.standing import read_standing
from protocols.project.folder import Project
from protocols.project.generations.files import EVOLVED_NAME, OBJECTIVE, Evolution, evolved_images

from .images import evolved

__all__ = ["proposed_images"]


def proposed_images(project: Project) -> list[dict[str, Any]]:
    """One record per image, with its veto: by name, since the pixels are those of the file that the name is of."""
    records, held = [], {image: d for (image, _), d in read_standing(project.folder).vetoed.items()}
    for round_ in (r for r in project.rounds() if r.number and not r.outbox.is_dir()):
        generation = Evolution(round_).proposed()
        sites = {name: target_of(name) for name in (generation.proposed() if generation is not None else ())}
        if "evolved" in project.config.arms.kinds:
            sites |= {image.source_id: site for site, image in evolved_images(project, round_.number).items()}
        for name, site in sites.items():
            word = held.get(name)
            records.append(
                {
                    "id": evolved(round_, name),
                    "name": name,
                    "round": round_.number,
                    "role": "controller",
                    "objective": OBJECTIVE,
                    "seed": None,
                    "confirmatory": False,
                    "generator": "evolution",
                    "at": [{"objective": OBJECTIVE, "site": site, "predicted": None}],
                    "decision": None if word is None else {"action": "veto", "who": word.who, "reason": word.reason},
                }
            )
    return records


def target_of(name: str) -> str:
    """The site in the source id of an evolved image, ``evo_rNN_gNNN_SITE_PLACE``."""
    return name.removeprefix(EVOLVED_NAME).split("_", 2)[2].rpartition("_")[0]
