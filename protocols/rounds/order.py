"""Trial lists: which image is shown when, and after which other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.stats.reach import repeats_a_block

PATIENCE = 6  # steps of the search without gain, for each image of a permutation, after which it ends
TRIED = 64  # rearrangements of either kind compared in one step
FORBIDDEN = 1 << 20  # more than any number of repeats


@dataclass(frozen=True)
class Trial:
    """One presentation: `trial` counts from 0 over the round, `rep` from 0 over the presentations of this image."""

    trial: int
    block: int
    rep: int
    image_id: str


def trial_list(
    image_ids: Sequence[str],
    *,
    repeats: int,
    blocks: int,
    blank_id: str | None = None,
    blanks_per_block: int = 0,
    fewer: Mapping[str, int] | None = None,
    seed: int | Sequence[int],
) -> list[Trial]:
    """Block-randomised order of presentations.

    Every block shows every image ``repeats / blocks`` times (the remainder goes to the first blocks) as a chain of
    fresh random permutations, so that an image returns only after all others; no image follows itself, within a block
    or across a border. In rapid sequences a response carries a trace of the previous image: images change places within
    each permutation until none follows one that it followed before (or as rarely as a bounded search finds). Each block
    is cut into as many stretches as it has blanks, and one blank stands in each, at a random place before an image that
    followed a blank least often, so that blanks are spread over the block and never follow each other.

    Parameters
    ----------
    image_ids : sequence of str
        Without the blank.
    repeats, blocks : int
        Presentations of every image over the round; number of blocks (at most `repeats`).
    blank_id : str, optional
        The blank image, shown `blanks_per_block` times per block.
    fewer : mapping of image id to int, optional
        Images shown less often than `repeats` (control arms, graded images): each takes part in so many of the
        permutations, spread evenly, so that its counts in any two blocks differ by at most one.
    seed : int or sequence of int
        Entropy of a generator of its own (`numpy.random.default_rng`).

    Returns
    -------
    list of Trial
        In the order of presentation.

    Raises
    ------
    ValueError
        Where no such order exists.
    """
    images = list(image_ids)
    fewer = fewer or {}
    _check(images, repeats, blocks, blank_id=blank_id, blanks=blanks_per_block, fewer=fewer)
    generator = np.random.default_rng(seed)
    due = iter(_due(images, repeats, fewer, blocks=blocks, generator=generator))
    trials: list[Trial] = []
    shown: Counter[str] = Counter()
    followed = np.zeros(
        (len(images) + 1, len(images)), dtype=np.int64
    )  # (previous image, image); last row: nothing before
    after_blank = np.zeros(len(images), dtype=np.int64)
    last = len(images)
    for block in range(blocks):
        chain: list[Ints] = []
        for _ in range(repeats // blocks + (block < repeats % blocks)):
            chain.append(_permutation(followed, np.flatnonzero(next(due)), last, generator=generator))
            last = int(chain[-1][-1])
        order = np.concatenate(chain)
        blanks = _blank_places(order, blanks_per_block, after_blank, generator=generator)
        for place, image in enumerate(order):
            for image_id in ([blank_id or ""] if place in blanks else []) + [images[image]]:
                trials.append(Trial(len(trials), block, shown[image_id], image_id))
                shown[image_id] += 1
    return trials


def _due(
    images: list[str], repeats: int, fewer: Mapping[str, int], *, blocks: int = 1, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which images take part in which permutation, (repeats, images): all, but those with `fewer` presentations in so
    many only.
    """
    due = np.ones((repeats, len(images)), dtype=np.bool_)
    lengths = repeats_a_block(repeats, blocks)
    for i, image in enumerate(images):
        if (count := fewer.get(image, repeats)) < repeats:
            if repeats % blocks == 0:
                due[:, i] = np.diff((np.arange(repeats + 1) * count + generator.integers(repeats)) // repeats) > 0
            else:
                due[:, i] = _spread(count, lengths, generator=generator)
    return due


def _spread(count: int, lengths: Sequence[int], *, generator: np.random.Generator) -> NDArray[np.bool_]:
    """In which permutations of blocks of these lengths an image with `count` presentations is shown, (sum of lengths,).

    Its counts in any two blocks differ by at most one. The blocks with one more are drawn, the longer ones first, so
    that no count is a whole presentation away from its block's share. Within a block it is spread evenly.
    """
    each, more = divmod(count, len(lengths))
    drawn = generator.permutation(len(lengths))
    extra = set(sorted(drawn.tolist(), key=lambda block: -lengths[block])[:more])
    parts = []
    for block, length in enumerate(lengths):
        own = each + (block in extra)
        parts.append(np.diff((np.arange(length + 1) * own + generator.integers(length)) // length) > 0)
    return np.concatenate(parts)


def _permutation(followed: Ints, here: Ints, last: int, *, generator: np.random.Generator) -> Ints:
    """A random order of the images `here` that begins after `last` and repeats few of the pairs counted in `followed`,
    which it updates.

    Min-conflicts search (Minton et al. 1992): around one image that repeats a pair the order is rearranged as lowers
    the summed count of pairs most, until no pair is above the rarest or patience ends.
    """
    size, cost = len(here), followed.copy()
    cost[here, here] = FORBIDDEN
    floor = int(cost[np.ix_(here, here)].min()) if size > 1 else 0
    order = here[generator.permutation(size)]
    if order[0] == last and size > 1:
        order = np.roll(order, 1)
    best, least, patience = order, np.iinfo(np.int64).max, 1
    while patience > 0:
        pairs = cost[np.concatenate([[last], order[:-1]]), order]
        patience -= 1
        if pairs.sum() < least:
            best, least, patience = order, int(pairs.sum()), PATIENCE * size
        repeated = np.flatnonzero(pairs > floor)
        if size == 1 or len(repeated) == 0:
            break
        order = _rearranged(cost, last, order, place=int(generator.choice(repeated)), generator=generator)
    followed[np.concatenate([[last], best[:-1]]), best] += 1
    return best


def _rearranged(cost: Ints, last: int, order: Ints, *, place: int, generator: np.random.Generator) -> Ints:
    """The best of many random rearrangements of `order` that give the image at `place` another one before it.

    Half exchange it for another image, half exchange two successive stretches of the order, one border of which is at
    `place`.
    """
    size, rows = len(order), np.arange(TRIED)
    partners = generator.integers(size, size=TRIED)
    swapped = np.tile(np.arange(size), (TRIED, 1))
    swapped[rows, place], swapped[rows, partners] = partners, place
    cuts = np.sort(np.stack([np.full(TRIED, place), *generator.integers(size + 1, size=(2, TRIED))]), axis=0)
    start, middle, stop = (c[:, None] for c in cuts)
    at = np.arange(size)
    moved = np.where(at < start + stop - middle, at + middle - start, at - stop + middle)
    moved = np.where((at < start) | (at >= stop), at, moved)
    tried = order[np.concatenate([swapped, moved])]
    before = np.concatenate([np.full((len(tried), 1), last), tried[:, :-1]], axis=1)
    least = cost[before, tried].sum(1)
    least[(tried == order).all(1)] = np.iinfo(np.int64).max
    return np.asarray(tried[least.argmin()])


def _blank_places(order: Ints, count: int, after_blank: Ints, *, generator: np.random.Generator) -> set[int]:
    """Places of `order` before which a blank stands, one per stretch; counts the images that follow in
    `after_blank`.
    """
    places = set()
    for start, stop in pairwise([round(i * len(order) / count) for i in range(count + 1)] if count else []):
        counts = after_blank[order[start:stop]]
        place = start + int(generator.choice(np.flatnonzero(counts == counts.min())))
        after_blank[order[place]] += 1
        places.add(place)
    return places


def pair_balance(trials: Sequence[Trial]) -> dict[str, Any]:
    """How evenly the ordered pairs (previous image, image) of successive trials occur, blanks being images too.

    Returns
    -------
    dict
        ``pairs`` successive trials; ``possible`` ordered pairs of two different images; ``largest`` and ``mean`` count
        of one of them; ``repeated`` pairs that had occurred before.
    """
    counts = Counter(pairwise([t.image_id for t in trials]))
    images = len({t.image_id for t in trials})
    possible, shown = images * (images - 1), sum(counts.values())
    return {
        "pairs": shown,
        "possible": possible,
        "largest": max(counts.values(), default=0),
        "mean": round(shown / possible, 6) if possible else 0.0,
        "repeated": shown - len(counts),
    }


def _check(
    images: list[str], repeats: int, blocks: int, *, blank_id: str | None, blanks: int, fewer: Mapping[str, int]
) -> None:
    twice = [i for i, n in Counter(images).items() if n > 1]
    if not images or twice:
        raise ValueError(f"{len(images)} images, listed more than once: {twice[:5]}; expected at least one, each once")
    if repeats < 1 or not 1 <= blocks <= repeats:
        raise ValueError(f"{repeats} repeats in {blocks} blocks; expected 1 <= blocks <= repeats")
    wrong = {i: n for i, n in fewer.items() if i not in images or not 1 <= n <= repeats}
    if wrong:
        raise ValueError(f"fewer repeats {wrong}; expected images of the list, each shown 1 to {repeats} times")
    always = sum(fewer.get(i, repeats) == repeats for i in images)
    if always < 2 and repeats > 1:
        raise ValueError(
            f"{always} image with {repeats} repeats would follow itself; add a second image, or show it once"
        )
    if blanks < 0 or (blanks > 0) != (blank_id is not None):
        raise ValueError(f"{blanks} blanks per block with blank_id={blank_id!r}; give both or neither")
    if blank_id in images:
        raise ValueError(f"the blank {blank_id!r} is listed among the images; list it only as blank_id")
    smallest = always * (repeats // blocks)
    if blanks > smallest:
        raise ValueError(
            f"{blanks} blanks in a block of {smallest} images would follow each other; ask for at most {smallest}"
        )
