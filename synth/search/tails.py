"""The best and the worst of many scored images, kept while they pass by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Scores = NDArray[np.float32]

__all__ = ["TailKeeper", "Tails"]


@dataclass(frozen=True)
class Tails:
    """Both ends of the scores of N images, per row of an objective.

    Attributes
    ----------
    best, worst : int arrays of shape (R, K)
        Positions of images, the best (worst) first; of equal scores the lower position first. K is the number asked
        for, or N where there are fewer images.
    best_scores, worst_scores : arrays of shape (R, K)
    seen : int
        N.
    """

    best: Ints
    worst: Ints
    best_scores: Scores
    worst_scores: Scores
    seen: int


class TailKeeper:
    """Keeps the `count` best and worst of scores that come in chunks, in any order.

    Images are ordered by score, and by position where scores are equal. That order is total: the result is the same
    for every way to cut the images into chunks.
    """

    def __init__(self, rows: int, count: int) -> None:
        if count < 1:
            raise ValueError(f"count = {count}; expected 1 or more images per row")
        self.count, self.seen = count, 0
        self.positions = [np.zeros((rows, 0), dtype=np.int64) for _ in range(2)]
        self.scores = [np.zeros((rows, 0), dtype=np.float32) for _ in range(2)]

    def add(self, positions: Ints, scores: Scores) -> None:
        """Take the scores (R, B) of images at `positions` (B,), each position once in all."""
        self.seen += len(positions)
        for end, sign in enumerate((-1.0, 1.0)):
            places = np.concatenate(
                [self.positions[end], np.broadcast_to(positions, (len(scores), len(positions)))], axis=1
            )
            values = np.concatenate([self.scores[end], scores], axis=1)
            order = np.stack([np.lexsort((p, sign * v))[: self.count] for p, v in zip(places, values, strict=True)])
            self.positions[end] = np.take_along_axis(places, order, axis=1)
            self.scores[end] = np.take_along_axis(values, order, axis=1)

    def tails(self) -> Tails:
        """What was kept of the images so far."""
        return Tails(
            best=self.positions[0],
            worst=self.positions[1],
            best_scores=self.scores[0],
            worst_scores=self.scores[1],
            seen=self.seen,
        )
