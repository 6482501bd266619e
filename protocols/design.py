"""Trial lists: which image is shown when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


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
    seed: int | Sequence[int],
) -> list[Trial]:
    """Block-randomised order of presentations.

    Every block shows every image ``repeats / blocks`` times (the remainder goes to the first blocks) as a chain of fresh random
    permutations, so that an image returns only after all others; no image follows itself, within a block or across a border. Each
    block is cut into as many stretches as it has blanks, and one blank stands at a random place of each, so that blanks are spread
    over the block and never follow each other.

    Parameters
    ----------
    image_ids : sequence of str
        Without the blank.
    repeats, blocks : int
        Presentations of every image over the round; number of blocks (at most `repeats`).
    blank_id : str, optional
        The blank image, shown `blanks_per_block` times a block.
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
    _check(images, repeats, blocks, blank_id, blanks_per_block)
    generator = np.random.default_rng(seed)
    trials: list[Trial] = []
    shown: Counter[str] = Counter()
    last = ""
    for block in range(blocks):
        order: list[str] = []
        for _ in range(repeats // blocks + (block < repeats % blocks)):
            order += _permutation(images, order[-1] if order else last, generator)
        last = order[-1]
        for image in _with_blanks(order, blank_id or "", blanks_per_block, generator):
            trials.append(Trial(len(trials), block, shown[image], image))
            shown[image] += 1
    return trials


def _permutation(images: list[str], last: str, generator: np.random.Generator) -> list[str]:
    """A random order of `images` that does not begin with `last`."""
    order = [images[i] for i in generator.permutation(len(images))]
    if order[0] == last:
        other = int(generator.integers(1, len(order)))
        order[0], order[other] = order[other], order[0]
    return order


def _with_blanks(order: list[str], blank: str, count: int, generator: np.random.Generator) -> list[str]:
    """`order` with `count` blanks, each before a random image of its own stretch."""
    edges = [round(i * len(order) / count) for i in range(count + 1)] if count else []
    before = {int(generator.integers(start, stop)) for start, stop in pairwise(edges)}
    return [x for i, image in enumerate(order) for x in ((blank, image) if i in before else (image,))]


def _check(images: list[str], repeats: int, blocks: int, blank_id: str | None, blanks: int) -> None:
    twice = [i for i, n in Counter(images).items() if n > 1]
    if not images or twice:
        raise ValueError(f"{len(images)} images, listed more than once: {twice[:5]}; expected at least one, each once")
    if repeats < 1 or not 1 <= blocks <= repeats:
        raise ValueError(f"{repeats} repeats in {blocks} blocks; expected 1 <= blocks <= repeats")
    if len(images) == 1 and repeats > 1:
        raise ValueError(f"1 image with {repeats} repeats would follow itself; add a second image, or show it once")
    if blanks < 0 or (blanks > 0) != (blank_id is not None):
        raise ValueError(f"{blanks} blanks a block with blank_id={blank_id!r}; give both or neither")
    if blank_id in images:
        raise ValueError(f"the blank {blank_id!r} is listed among the images; list it only as blank_id")
    smallest = len(images) * (repeats // blocks)
    if blanks > smallest:
        raise ValueError(
            f"{blanks} blanks in a block of {smallest} images would follow each other; ask for at most {smallest}"
        )
