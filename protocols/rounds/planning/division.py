"""The division of a round: how often each of its images is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.rounds.stimulus import Stimulus

Pair = tuple[str, str]
BESIDE = ("natural", "chosen", "graded", "arm", "seed", "levels", "sources")
"""What stands beside the tests: random photographs, photographs chosen for the refit, graded images, control arms,
further seeds, photographs at graded levels and the photographs that these were made from.
"""


@dataclass(frozen=True)
class Share:
    """So many `images`, each shown `repeats` times."""

    images: int
    repeats: int

    @property
    def presentations(self) -> int:
        """Of all these images together."""
        return self.images * self.repeats if self.images else 0


NONE = Share(0, 1)


@dataclass(frozen=True, kw_only=True)
class Division:
    """How often each image of a round is shown.

    Attributes
    ----------
    controller, reference : dict of (objective, target) to int
        Presentations of the confirmatory controller, and of each reference as this pair needs it; a reference of
        several pairs is shown as often as its largest need.
    references : dict of (objective, target) to list of int
        Places of the photographs that are shown, best first.
    beside : dict of name to Share
        The roles of `BESIDE`; of arms and graded images at most so many.
    blocks, blanks : int
        Blocks, and presentations of the blank in all of them together.
    by_hand : bool
        Whether `[protocol] repeats` was given.
    """

    controller: Mapping[Pair, int]
    reference: Mapping[Pair, int]
    references: Mapping[Pair, Sequence[int]]
    beside: Mapping[str, Share]
    blocks: int
    blanks: int
    by_hand: bool = False

    @property
    def repeats(self) -> int:
        """Presentations of the image that is shown most often, the blank aside."""
        return max([*self.controller.values(), *self.reference.values()])

    def shown(self, stimulus: Stimulus) -> int:
        """Presentations of one image."""
        if stimulus.role == "controller" and stimulus.confirmatory:
            return self.controller[stimulus.objective, stimulus.target]
        if stimulus.role == "reference" and stimulus.reference_for:
            return max(self.reference[pair] for pair in stimulus.reference_for)
        if stimulus.level:
            return self.beside["levels"].repeats
        role = {"controller": "seed", "reference": "chosen"}.get(stimulus.role, stimulus.role)
        return self.beside[role].repeats

    def of_references(self) -> dict[int, int]:
        """Presentations of every photograph that is a reference, by its place."""
        shown: dict[int, int] = {}
        for pair, images in self.references.items():
            for image in images:
                shown[image] = max(shown.get(image, 0), self.reference[pair])
        return shown

    def images(self) -> dict[str, int]:
        """Images by role, the blank left out."""
        beside = {name: self.beside.get(name, NONE).images for name in BESIDE}
        return {
            "controller": len(self.controller) + beside["seed"],
            "graded": beside["graded"] + beside["levels"],
            "arm": beside["arm"],
            "reference": len(self.of_references()) + beside["chosen"] + beside["sources"],
            "natural": beside["natural"],
        }

    def presentations(self) -> dict[str, int]:
        """Presentations by role, at most; blanks where there are some."""
        beside = {name: self.beside.get(name, NONE).presentations for name in BESIDE}
        shown = {
            "controller": sum(self.controller.values()) + beside["seed"],
            "graded": beside["graded"] + beside["levels"],
            "arm": beside["arm"],
            "reference": sum(self.of_references().values()) + beside["chosen"] + beside["sources"],
            "natural": beside["natural"],
        }
        return shown | ({"blank": self.blanks} if self.blanks else {})

    def made(self, stimuli: Sequence[Stimulus]) -> tuple[dict[str, int], dict[str, int]]:
        """Images and presentations by role of the `stimuli` that are shown, the blank among the presentations alone.

        They may be fewer than planned: arms that cannot be made, or that are a photograph which is shown anyway.
        """
        images = Counter(s.role for s in stimuli)
        shown = Counter(dict.fromkeys(self.images(), 0))
        for stimulus in stimuli:
            shown[stimulus.role] += self.shown(stimulus)
        blank = {"blank": self.blanks} if self.blanks else {}
        return {role: images[role] for role in self.images()}, {**shown, **blank}

    def cut(self, stimuli: Iterable[Stimulus]) -> list[Stimulus]:
        """`stimuli` without those of pairs that the round does not hold, and without the further seeds and the graded
        images for which there is no room.

        Of the graded images of a controller the last steps stay, those nearest to it.
        """
        kept, seeds, graded = list[Stimulus](), 0, Counter[str]()
        steps = self.beside["graded"].images // max(1, len(self.controller))
        for stimulus in reversed(list(stimuli)):
            if (stimulus.objective, stimulus.target) not in self.controller:
                continue
            if stimulus.role == "graded":
                graded[stimulus.parent] += 1
                if graded[stimulus.parent] > steps:
                    continue
            if stimulus.role == "controller" and not stimulus.confirmatory:
                seeds += 1
                if seeds > self.beside["seed"].images:
                    continue
            kept.append(stimulus)
        return kept[::-1]


def minutes_of(protocol: ProtocolConfig, presentations: int, blocks: int) -> float:
    """How long so many presentations take, with overhead and the pauses between blocks."""
    seconds = presentations * (protocol.on_ms + protocol.off_ms) / 1000 * (1 + protocol.overhead)
    return (seconds + (blocks - 1) * protocol.pause_s) / 60


def orderly(shown: Sequence[int], blocks: int, blanks: int) -> bool:
    """Whether a trial list can show images so often (`order.trial_list`): two images at least have the largest number,
    and they hold `blanks` blanks in all blocks together apart.
    """
    most = max(shown)
    always = sum(n == most for n in shown)
    return most >= blocks and always >= 2 and always * (most // blocks) >= blanks / blocks


def by_hand(config: Config, references: Mapping[Pair, Sequence[int]], wishes: Mapping[str, Share]) -> Division:
    """Every image `[protocol] repeats` times, graded images and arms as often as their own keys say."""
    protocol = config.protocol
    if protocol.repeats is None:
        raise ValueError("[protocol] repeats is left out: there is nothing to count by")
    repeats = protocol.repeats
    graded = config.synthesis.graded_repeats
    own = {"graded": graded, "levels": graded, "arm": config.arms.repeats}
    return Division(
        controller=dict.fromkeys(references, repeats),
        reference=dict.fromkeys(references, repeats),
        references=references,
        beside={name: Share(s.images, min(repeats, own.get(name, repeats))) for name, s in wishes.items()},
        blocks=min(protocol.blocks, repeats),
        blanks=protocol.blanks_per_block * min(protocol.blocks, repeats),
        by_hand=True,
    )
