"""Hill climbing among photographs: from a few random ones to the neighbours of the best, and on from there."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synth.batches import generator_for

from .graph import NeighbourGraph
from .tails import Ints, Scores

__all__ = ["Climb", "climb", "random_search"]

ScoreImages = Callable[[Ints], Scores]


@dataclass(frozen=True)
class Climb:
    """The images that a search looked at, in the order in which it did.

    Attributes
    ----------
    visited : int array of shape (E,)
    scores : array of shape (E,)
    stopped : {"evaluations", "patience", "all"}
        Why it ended: the number allowed, no better image for so many evaluations, or all images seen.
    """

    visited: Ints
    scores: Scores
    stopped: str

    def best(self, count: int) -> tuple[Ints, Scores]:
        """The `count` best images and their scores, the best first; of equal scores the lower position first."""
        order = np.lexsort((self.visited, -self.scores))[:count]
        return self.visited[order], self.scores[order]


def climb(
    score: ScoreImages,
    graph: NeighbourGraph,
    *,
    name: str,
    evaluations: int,
    count: int = 10,
    seed: int = 0,
    starts: int = 64,
    patience: int | None = None,
) -> Climb:
    """Best-first search on a graph of neighbours.

    `starts` random images are scored first. Then, again and again, the best image whose neighbours were not all looked
    at has them scored. The search ends after `evaluations` images, or when the `count` best have not changed for
    `patience`. Only the images visited are scored.

    Parameters
    ----------
    score : callable
        Positions (n,) -> scores (n,), higher is better.
    graph : NeighbourGraph
    name : str
        Of the row: it seeds the starting images together with `seed`, so that a row is climbed the same alone.
    evaluations : int
        Images to score at most.
    count : int
        How many best images the search is for.
    seed : int
    starts : int
    patience : int, or None
        None = until `evaluations`.

    Raises
    ------
    ValueError
        A number below 1, or scores that are not finite.
    """
    if min(evaluations, count, starts, 1 if patience is None else patience) < 1:
        raise ValueError(
            f"evaluations = {evaluations}, count = {count}, starts = {starts}, patience = {patience}; expected 1 or "
            "more"
        )
    rows = _Visits(score, len(graph), evaluations)
    order = _order(name, seed, len(graph))
    top: list[float] = []
    waiting: list[tuple[float, int]] = []
    asked, used, since = order[:starts], min(starts, len(graph)), 0
    while len(asked):
        for position, value in rows.look(asked):
            heapq.heappush(waiting, (-value, position))
            since += 1
            if len(top) < count or value > top[0]:
                since = 0
                (heapq.heappush if len(top) < count else heapq.heappushpop)(top, value)
        if rows.full or (patience is not None and since >= patience):
            break
        asked = np.zeros(0, dtype=np.int64)
        while not len(asked) and waiting:
            asked = rows.fresh(graph.of(heapq.heappop(waiting)[1]))
        while not len(asked) and used < len(order):  # a part of the graph is exhausted: begin elsewhere
            asked, used = rows.fresh(order[used : used + starts]), used + starts
    stopped = "all" if rows.count == len(graph) else "evaluations" if rows.full else "patience"
    return rows.ended(stopped)


def random_search(score: ScoreImages, images: int, *, name: str, evaluations: int, seed: int = 0) -> Climb:
    """So many random images out of `images`, none twice: what any search has to beat."""
    rows = _Visits(score, images, evaluations)
    rows.look(_order(name, seed, images)[:evaluations])
    return rows.ended("all" if rows.count == images else "evaluations")


class _Visits:
    """Scores of the images looked at, each once, up to a number."""

    def __init__(self, score: ScoreImages, images: int, most: int) -> None:
        self.score, self.most = score, min(most, images)
        self.seen = np.zeros(images, dtype=np.bool_)
        self.visited: list[Ints] = []
        self.scores: list[Scores] = []
        self.count = 0

    @property
    def full(self) -> bool:
        return self.count >= self.most

    def fresh(self, positions: Ints) -> Ints:
        return positions[~self.seen[positions]]

    def look(self, positions: Ints) -> list[tuple[int, float]]:
        positions = self.fresh(positions)[: self.most - self.count]
        scores = np.asarray(self.score(positions), dtype=np.float32)
        if scores.shape != positions.shape or not np.isfinite(scores).all():
            raise ValueError(f"scores of shape {scores.shape}; expected {positions.shape}, all finite")
        self.seen[positions] = True
        self.count += len(positions)
        self.visited.append(positions)
        self.scores.append(scores)
        return list(zip(positions.tolist(), scores.tolist(), strict=True))

    def ended(self, stopped: str) -> Climb:
        return Climb(np.concatenate(self.visited), np.concatenate(self.scores), stopped)


def _order(name: str, seed: int, images: int) -> Ints:
    drawn = np.random.default_rng(generator_for(name, seed).initial_seed())
    order: Ints = drawn.permutation(images)
    return order
