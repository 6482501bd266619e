"""Presentations of decided controllers go to the undecided ones, from the block after a look on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from protocols.project.key import Key, KeyRow
from protocols.project.outbox import PlannedTrial
from protocols.rounds.order import Trial, trial_list

Pair = tuple[str, str]  # objective, site
MOST = 3.0  # no image is shown more often than so many times as planned: one undecided site needs no whole day
TRIED = 100  # orders tried for one that does not begin with the image that ended the block before


@dataclass(frozen=True)
class Reallocation:
    """The new presentations of a round from one block on.

    Attributes
    ----------
    trials : tuple of Trial
        Numbered on from the blocks that were shown.
    released : int
        Presentations of images whose every controller is decided.
    given : int
        Of these, presentations that went to undecided controllers and their references; the rest is not shown.
    """

    trials: tuple[Trial, ...]
    released: int
    given: int


def pairs_of(key: Key) -> dict[str, frozenset[Pair]]:
    """The objectives and sites that each image of a round is shown for; photographs and blanks are in no pair."""
    controllers = {r.source_id: (r.objective, r.target) for r in key.of_role("controller")}

    def pairs(row: KeyRow) -> set[Pair]:
        if row.role == "controller":
            return {(row.objective, row.target)}
        beside = {controllers[p] for p in row.parents if p in controllers}
        if row.role == "reference":
            return beside | set(row.reference_for)  # one photograph may be a reference here and an arm there
        return beside if row.role in ("arm", "graded") else set()

    return {row.image_id: frozenset(pairs(row)) for row in key.rows}


def new_counts(planned: Mapping[str, int], key: Key, decided: Collection[Pair]) -> tuple[dict[str, int], int, int]:
    """Presentations of every image in the remaining blocks, those released, and those given on.

    Controllers, references, graded images and arms of decided pairs alone are shown no more. The confirmatory
    controllers of undecided pairs and their references share what is released in proportion to what they had, up to
    `MOST` times of it; a reference is not raised above the controllers that it is still for. All other images keep what
    they had, and none has less.

    Parameters
    ----------
    planned : mapping of image id to int
        Presentations that the remaining blocks were to have.
    key : Key
    decided : collection of (objective, site)
    """
    decided, pairs = set(decided), pairs_of(key)
    kept = {i: n for i, n in planned.items() if not pairs.get(i) or not pairs[i] <= decided}
    released = sum(planned.values()) - sum(kept.values())
    controllers = {r.image_id: (r.objective, r.target) for r in key.rows if r.confirmatory and r.image_id in kept}
    references = {
        r.image_id: set(r.reference_for) - decided
        for r in key.of_role("reference")
        if r.image_id in kept and set(r.reference_for) - decided
    }

    def scaled(factor: float) -> dict[str, int]:
        more = {i: int(kept[i] * factor + 1e-9) for i in controllers}
        most = {pair: more[i] for i, pair in controllers.items()}
        for i, mine in references.items():
            top = max((most.get(pair, 0) for pair in mine), default=0)
            more[i] = max(kept[i], min(int(kept[i] * factor + 1e-9), top))
        return {**kept, **more}

    def given(counts: Mapping[str, int]) -> int:
        return sum(counts.values()) - sum(kept.values())

    low, high = 1.0, MOST
    if given(scaled(high)) <= released:
        low = high
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if given(scaled(middle)) <= released else (low, middle)
    counts = scaled(low)
    return counts, released, given(counts)


def reallocate(
    order: Sequence[PlannedTrial], key: Key, decided: Collection[Pair], *, before: int, seed: int | Sequence[int]
) -> Reallocation:
    """The presentations from block `before` on, with those of decided pairs given to undecided ones.

    The order follows the same rules as that of an export (`protocols.rounds.order.trial_list`).

    Parameters
    ----------
    order : sequence of PlannedTrial
        The whole order in force.
    key : Key
    decided : collection of (objective, site)
        Pairs that were stopped, for success or futility.
    before : int
        First block that is not shown yet.
    seed : int or sequence of int
        Entropy of a generator of its own.
    """
    shown, rest = [t for t in order if t.block < before], [t for t in order if t.block >= before]
    if not rest:
        raise ValueError(f"no block from {before} on")
    blanks = {r.image_id for r in key.of_role("blank")}
    planned = Counter(t.image_id for t in rest if t.image_id not in blanks)
    counts, released, _ = new_counts(planned, key, decided)
    blocks = sorted({t.block for t in rest})
    blank = Counter(t.image_id for t in rest if t.image_id in blanks)
    done = Counter(t.image_id for t in shown)
    last = shown[-1].image_id if shown else ""
    entropy = [seed] if isinstance(seed, int) else list(seed)
    new = _ordered(counts, len(blocks), blank, last=last, seed=entropy)
    trials = tuple(Trial(len(shown) + t.trial, blocks[t.block], done[t.image_id] + t.rep, t.image_id) for t in new)
    now = Counter(t.image_id for t in trials if t.image_id not in blanks)
    return Reallocation(trials, released, sum(max(0, n - planned[i]) for i, n in now.items()))


def _ordered(
    counts: Mapping[str, int], blocks: int, blank: Counter[str], *, last: str, seed: Sequence[int]
) -> list[Trial]:
    """An order of so many presentations in so many blocks that does not begin with the image `last`."""
    levels = sorted(counts.values(), reverse=True)
    repeats = levels[1] if len(levels) > 1 else 0  # two images at least are in every permutation
    if repeats < blocks:
        trials = _scattered(counts, blocks, last=last, seed=seed)
        return _with_more(trials, blank + Counter(counts), blocks, last=last, seed=seed)
    always = sum(n >= repeats for n in counts.values())
    name, number = next(iter(blank.items()), (None, 0))
    each = min(number // blocks, always * (repeats // blocks))
    for attempt in range(TRIED):
        trials = trial_list(
            sorted(counts),
            repeats=repeats,
            blocks=blocks,
            blank_id=name if each else None,
            blanks_per_block=each,
            fewer={i: n for i, n in counts.items() if n < repeats},
            seed=[*seed, attempt],
        )
        trials = _with_more(trials, blank + Counter(counts), blocks, last=last, seed=[*seed, attempt])
        if trials[0].image_id != last:
            break
    return trials


def _with_more(
    trials: list[Trial], counts: Mapping[str, int], blocks: int, *, last: str, seed: Sequence[int]
) -> list[Trial]:
    """The order with what it lacks of `counts`: of an image that has more than every other, and of blanks.

    Each further presentation goes to the block that has fewest of the image, to a random place where it does not stand
    beside itself; to the next block where there is none, and it is left out where no block has one.
    """
    lacking = dict(sorted((Counter(counts) - Counter(t.image_id for t in trials)).items()))
    if not lacking or not trials:
        return trials
    generator = np.random.default_rng(seed)
    images = [[t.image_id for t in trials if t.block == block] for block in range(blocks)]
    for image, number in lacking.items():
        for _ in range(number):
            for block in np.argsort([here.count(image) for here in images], kind="stable").tolist():
                if places := _places(images, block, image, last=last):
                    images[block].insert(int(generator.choice(places)), image)
                    break
    shown: Counter[str] = Counter()
    order: list[Trial] = []
    for block, here in enumerate(images):
        for image in here:
            order.append(Trial(len(order), block, shown[image], image))
            shown[image] += 1
    return order


def _places(images: Sequence[Sequence[str]], block: int, image: str, *, last: str) -> list[int]:
    """Where in `block` the image can be put in without standing beside itself, not even across a border."""
    before = next((b[-1] for b in reversed(images[:block]) if b), last)
    after = next((b[0] for b in images[block + 1 :] if b), "")
    here = [before, *images[block], after]
    return [n for n in range(len(here) - 1) if image not in (here[n], here[n + 1])]


def _scattered(counts: Mapping[str, int], blocks: int, *, last: str, seed: Sequence[int]) -> list[Trial]:
    """Few presentations, less than one per block and image: spread evenly over the blocks, in a random order."""
    generator = np.random.default_rng(seed)
    ids = [i for i in sorted(counts) for _ in range(counts[i])]
    order = generator.permutation(blocks)[np.arange(len(ids)) % blocks]  # an image's presentations are neighbours
    trials: list[Trial] = []
    shown: Counter[str] = Counter()
    for block in range(blocks):
        here = [ids[i] for i in generator.permutation(np.flatnonzero(order == block))]
        for at in range(len(here)):
            before = here[at - 1] if at else last
            other = next((k for k in range(at, len(here)) if here[k] != before), at)
            here[at], here[other] = here[other], here[at]
            trials.append(Trial(len(trials), block, shown[here[at]], here[at]))
            shown[here[at]] += 1
        last = here[-1] if here else last
    return trials
