"""Photographs that look alike under different names, as `stimsynth check` tells of them."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.splits import photographs
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages


@dataclass(frozen=True)
class NearDuplicates:
    """Photographs of a project that look like another one under another name.

    Attributes
    ----------
    images : int
    groups : int
        Groups that they form together.
    examples : tuple of str
        Source ids of two that look alike; empty where there are none.
    joined : bool
        Whether the fit keeps them on one side of every split.
    """

    images: int
    groups: int
    examples: tuple[str, ...]
    joined: bool

    @property
    def status(self) -> str:
        """What it is for `check`: "ok", or "note" where the scores of a fit would be too high."""
        return "ok" if self.joined or not self.images else "note"

    @property
    def text(self) -> str:
        """One sentence for a person."""
        if not self.images:
            return "no photograph looks like another one under another name"
        seen = (
            f"{self.images} photographs look like another one under another name, such as {' and '.join(self.examples)}"
        )
        if self.joined:
            return f"{seen}; the fit keeps each of the {self.groups} groups on one side of every split"
        return (
            f"{seen}, and may lie on both sides of a split, where they raise the scores: set [encoder] "
            "join_near_duplicates = true, or give copies one group in groups.csv when the pictures are imported"
        )


def count_near_duplicates(project: Project) -> NearDuplicates:
    """The near duplicates among the photographs of a project; none where there are no photographs yet."""
    joined = project.config.encoder.join_near_duplicates
    if not (project.data / "natural.csv").is_file():
        return NearDuplicates(images=0, groups=0, examples=(), joined=joined)
    natural = NaturalImages.load(project.data)
    found = photographs(natural.pixels(), natural.groups)
    looks = [look for look, alike in zip(found.looks, found.alike.tolist(), strict=True) if alike]
    pair = [source for source, look in zip(natural.source_ids, found.looks, strict=True) if look in looks[:1]]
    return NearDuplicates(images=len(looks), groups=len(set(looks)), examples=tuple(pair[:2]), joined=joined)
