"""Likely controllers and images of a round that is planned."""

from __future__ import annotations

import numpy as np

from protocols.rounds.planning.division import Share
from protocols.rounds.planning.found import Pairs
from protocols.rounds.planning.reach import Judging
from protocols.rounds.stimulus import Stimulus

TEST = Judging(alpha=0.01, permutations=9999)
PIXELS = np.zeros((1, 1, 1), np.uint8)


def likely(
    sites: int = 4,
    objectives: tuple[str, ...] = ("stretch", "one_hot"),
    *,
    references: int = 3,
    shared: bool = False,
    noise: float | np.ndarray = 9.0,
    gain: float = 3.0,
    spread: float = 0.0,
    seed: int = 0,
) -> Pairs:
    """Controllers `gain` (SD 2) above the best candidate, which are `spread` apart."""
    rng = np.random.default_rng(seed)
    names = tuple((o, f"v4_{i:03d}") for o in objectives for i in range(sites))
    size = len(names)
    rows = np.arange(size) % sites if shared else np.arange(size)
    candidates = 8.0 - spread * np.arange(references) + rng.normal(0, 0.2, (200, size, references))
    return Pairs(
        names=names,
        images=rows[:, None] * references + np.arange(references),
        references=candidates,
        controllers=8.0 + rng.normal(gain, 2.0, (200, size)),
        floor=np.broadcast_to(np.asarray(noise, dtype=float), size).copy(),
        slope=np.zeros(size),
    )


def stimuli(pairs: Pairs, wishes: dict[str, Share], steps: int) -> list[Stimulus]:
    """All images that could be shown."""
    made = []
    for objective, target in pairs.names:
        about = {"objective": objective, "target": target, "pixels": PIXELS}
        name = f"{objective}_{target}"
        made.append(Stimulus(role="controller", source_id=name, confirmatory=True, **about))
        extra = wishes["seed"].images // len(pairs.names)
        made += [Stimulus(role="controller", source_id=f"{name}_seed{i}", **about) for i in range(extra)]
        made += [Stimulus(role="graded", source_id=f"{name}_g{i}", parent=name, **about) for i in range(steps)]
    return made


def shown_with(division, made: list[Stimulus]) -> list[Stimulus]:
    """What is shown, as `assemble` puts it together."""
    serves: dict[int, list[tuple[str, str]]] = {}
    for pair, images in division.references.items():
        for image in images:
            serves.setdefault(image, []).append(pair)
    shown = division.cut(made)
    shown += [Stimulus(PIXELS, "reference", f"ref{i}", reference_for=tuple(p)) for i, p in serves.items()]
    for name, role in (("natural", "natural"), ("chosen", "reference"), ("arm", "arm")):
        shown += [Stimulus(PIXELS, role, f"{name}{i}") for i in range(division.beside[name].images)]
    return shown
