"""Time to quality, and true control at equal gradient steps: every peer as it comes, its images projected to the display and judged alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

import bench_quality
from protocols.arrays import Floats, Pixels
from synth import Objective, one_hot, stretch

from . import ascent
from .records import ANEW, DRAWS, LUCENT, PLENOPTIC, Bound, NotRun, Row, paired_difference, paired_ratio
from .world import World

EQUAL_STEPS, OUR_STEPS = 64, 128
OURS = {"from noise": False, "from the best photograph": True}
POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400, 512)


@dataclass(frozen=True)
class Curve:
    """Images of chosen steps as the display shows them, CPU seconds, and the validator's scores (points, targets)."""

    steps: list[int]
    seconds: list[float]
    pixels: list[Pixels]
    scores: Floats

    def at(self, step: int) -> Pixels:
        """The images after so many steps."""
        return self.pixels[self.steps.index(step)]

    def seconds_to(self, goal: float, sites: Floats | slice = slice(None)) -> tuple[float, bool]:
        """CPU seconds until the mean score of the (drawn) sites reaches `goal`, in straight lines, and whether it does; else all of them."""
        means = self.scores[:, sites].mean(1)
        above = np.flatnonzero(means >= goal)
        if not above.size:
            return self.seconds[-1], False
        i = int(above[0])
        if i == 0:
            return self.seconds[0], True
        share = (goal - means[i - 1]) / (means[i] - means[i - 1])
        return float(self.seconds[i - 1] + share * (self.seconds[i] - self.seconds[i - 1])), True


@dataclass(frozen=True)
class Contender:
    """A peer: who, its version, its own number of steps, and how it climbs."""

    name: str
    version: str
    steps: int
    climb: Callable[[ascent.Task, ascent.Clock, int], None]


def contenders(world: World, group: str) -> tuple[list[Contender], list[NotRun]]:
    """The peers that can be run here, and the others."""

    def mei(task: ascent.Task, clock: ascent.Clock, steps: int) -> None:
        ascent.mei(
            task,
            clock,
            steps,
            project=world.display,
            sd=float(world.display.statistics(world.best_photographs())["rms"].median()),
        )

    found = [Contender("mei's loop", ANEW, ascent.MEI_STEPS, mei)]
    missing = []
    for peer, steps, climb in (
        (LUCENT, ascent.LUCENT_STEPS, ascent.lucent),
        (PLENOPTIC, ascent.PLENOPTIC_STEPS, ascent.plenoptic),
    ):
        if (absent := peer.missing(group)) is not None:
            missing.append(absent)
        else:
            found.insert(0, Contender(peer.name, peer.version, steps, climb))
    return found, missing


def peer_curve(world: World, contender: Contender, objective: Objective, steps: int) -> Curve:
    """What a peer makes in so many steps."""
    encoder: Any = world.pair.encoder
    bound = objective.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    task = ascent.Task(
        bench_quality.Readable(encoder).eval().requires_grad_(False),
        bound,
        len(world.targets),
        (3, *world.images.shape[1:3]),
    )
    clock = ascent.Clock([p for p in (*POINTS, steps) if p <= steps])
    contender.climb(task, clock, steps)
    return scored(world, clock.steps, clock.seconds, [world.shown(i) for i in clock.images])


def our_curve(world: World, objective: Objective, start: Tensor | None, steps: int) -> Curve:
    """What `ascend` makes, under the display's constraints in every step, as a project has it."""
    kept = bench_quality.ours(world.pair, objective, world.display, 0, start=start, steps=steps)
    return scored(world, kept[0], kept[1], kept[2])


def scored(world: World, steps: list[int], seconds: list[float], pixels: list[Pixels]) -> Curve:
    """The curve with the validator's scores."""
    return Curve(steps, seconds, pixels, np.stack([world.validator_scores(p) for p in pixels]))


def rows(world: World, *, shares: float = 1.0, progress: Callable[[str], None] = print) -> Iterator[Row | NotRun]:
    """Both groups, `quality` and `control`; `shares` below 1 shortens every run for a test."""
    peers, missing = contenders(world, "quality, control")
    yield from missing
    goal, equal = stretch(world.targets), max(4, round(EQUAL_STEPS * shares))
    longest = max(equal, round(OUR_STEPS * shares))
    ours = {
        how: our_curve(world, goal, world.best_photographs() if photograph else None, longest)
        for how, photograph in OURS.items()
    }
    truth = {how: world.truth(nearest(curve, equal))[0] for how, curve in ours.items()}
    progress(f"stretch, ours, {equal} steps: " + ", ".join(f"{h} {t.mean():.3f} M" for h, t in truth.items()))
    for peer in peers:
        steps = max(equal, round(peer.steps * shares))
        curve = peer_curve(world, peer, goal, steps)
        at_equal, at_own = (world.truth(nearest(curve, s))[0] for s in (equal, steps))
        progress(
            f"stretch, {peer.name}: {at_equal.mean():.3f} M after {equal}, {at_own.mean():.3f} M after {steps} steps"
        )
        for how, mine in ours.items():
            yield from time_rows(peer, how, curve, mine, equal=equal)
            what = f"stretch, true response of the hidden sites, equal steps ({equal}), ours {how}"
            yield control_row(peer, what, paired_ratio(truth[how], at_equal), unit="M")
        what = (
            f"stretch, true response, the peer after its own {steps} steps, ours after {equal} from the best photograph"
        )
        yield control_row(peer, what, paired_ratio(truth["from the best photograph"], at_own), unit="M")
    yield from one_hot_rows(world, peers, equal, progress)


def one_hot_rows(
    world: World, peers: Sequence[Contender], equal: int, progress: Callable[[str], None]
) -> Iterator[Row | NotRun]:
    """One site and no other, at equal steps."""
    goal = one_hot(world.targets)
    margins = {
        how: world.truth(
            nearest(our_curve(world, goal, world.best_photographs() if photograph else None, equal), equal)
        )[1]
        for how, photograph in OURS.items()
    }
    for peer in peers:
        theirs = world.truth(nearest(peer_curve(world, peer, goal, equal), equal))[1]
        progress(f"one-hot, {peer.name}: margin {theirs.mean():.3f}")
        for how, mine in margins.items():
            what = f"one-hot, true margin over the strongest other site, equal steps ({equal}), ours {how}"
            yield control_row(peer, what, paired_difference(mine, theirs), unit="natural SD", kind="difference")


def nearest(curve: Curve, step: int) -> Pixels:
    """The images after `step` steps, or the last before."""
    return curve.at(max(s for s in curve.steps if s <= step))


def time_rows(peer: Contender, how: str, theirs: Curve, mine: Curve, *, equal: int) -> Iterator[Row]:
    """Seconds until the validator's score that the other reached, both ways round."""
    at = mine.steps.index(max(s for s in mine.steps if s <= equal))

    def forward(sites: Any) -> tuple[float, float, bool]:
        ours, reached = mine.seconds_to(float(theirs.scores[-1, sites].mean()), sites)
        return ours, theirs.seconds[-1], reached

    def back(sites: Any) -> tuple[float, float, bool]:
        goal = float(mine.scores[at, sites].mean())
        them, reached = theirs.seconds_to(goal, sites)
        return mine.seconds_to(goal, sites)[0], them, reached

    what = f"CPU seconds to the score that the peer's own {theirs.steps[-1]} steps reach, ours {how}"
    yield time_row(peer, what, forward, theirs.scores.shape[1], bound="at least")
    what = f"CPU seconds to the score that our {mine.steps[at]} steps reach, ours {how}"
    yield time_row(peer, what, back, theirs.scores.shape[1], bound="at most")


def time_row(
    peer: Contender, what: str, seconds: Callable[[Any], tuple[float, float, bool]], sites: int, *, bound: Bound
) -> Row:
    """A ratio of CPU seconds; interval by drawing sites again. `bound`: what the ratio is where the score is not reached."""
    ours, theirs, reached = seconds(slice(None))
    random = np.random.default_rng(0)
    drawn = [seconds(random.integers(0, sites, sites)) for _ in range(DRAWS)]
    never = np.inf if bound == "at least" else 0.0
    low, high = np.quantile([o / t if r else never for o, t, r in drawn], (0.025, 0.975), method="nearest")
    return Row(
        group="quality", peer=peer.name, version=peer.version, what=what, value=ours / theirs,
        low=float(low) if 0 < low < np.inf else None, high=float(high) if high < np.inf else None, bound="" if reached else bound,
        interval=f"95 %, bootstrap over {sites} sites", ours=ours, theirs=theirs, unit="CPU s", better="less",
    )  # fmt: skip


def control_row(peer: Contender, what: str, found: dict[str, Any], *, unit: str, kind: Any = "ratio") -> Row:
    """A row of true control; interval by drawing sites again."""
    return Row(
        group="control", peer=peer.name, version=peer.version, what=what, interval="95 %, bootstrap over sites", unit=unit, better="more", kind=kind, **found
    )  # fmt: skip
