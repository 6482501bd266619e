"""What holds now, of all that was decided: the last word on each image, site and round counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .record import Decision, read_decisions

__all__ = ["Standing", "standing_of"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What holds of the decisions of a project.

    Attributes
    ----------
    sequence : int
        Of the last decision; 0 where there is none.
    last : str
        Who took it, and when.
    images : dict of (image, SHA-256 of its pixels) to Decision
        The last veto or approval of each.
    sites : dict of site to Decision
        The last stop of each, or the end of one.
    targets : dict of round to Decision
        The last choice of sites for each.
    """

    sequence: int = 0
    last: str = ""
    images: dict[tuple[str, str], Decision] = field(default_factory=dict)
    sites: dict[str, Decision] = field(default_factory=dict)
    targets: dict[int, Decision] = field(default_factory=dict)

    @property
    def stopped(self) -> dict[str, Decision]:
        """The sites that are stopped now."""
        return {site: d for site, d in self.sites.items() if d.action == "stop"}

    @property
    def vetoed(self) -> dict[tuple[str, str], Decision]:
        """The images that are vetoed now, by name and SHA-256 of the pixels."""
        return {image: d for image, d in self.images.items() if d.action == "veto"}

    def targets_of(self, number: int) -> Decision | None:
        """The choice of sites for round `number`; None where project.toml says them."""
        chosen = self.targets.get(number)
        return chosen if chosen is not None and chosen.sites else None


def standing_of(decisions: Iterable[Decision]) -> Standing:
    """What holds after `decisions`, oldest first."""
    images, sites, targets = dict[tuple[str, str], Decision](), dict[str, Decision](), dict[int, Decision]()
    sequence, last = 0, ""
    for decision in decisions:
        sequence, last = decision.sequence, f"{decision.who} on {decision.utc}"
        if decision.image:
            images[decision.image, decision.pixels_sha256] = decision
        elif decision.action == "targets":
            targets[decision.round] = decision
        else:
            sites |= dict.fromkeys(decision.sites, decision)
    return Standing(sequence=sequence, last=last, images=images, sites=sites, targets=targets)


def read_standing(folder: Path) -> Standing:
    """What holds in the project in `folder`; S10 where its file cannot be read."""
    return standing_of(read_decisions(folder))
