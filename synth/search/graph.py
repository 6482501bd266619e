"""A graph of neighbours among many images, from a short vector of features of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tails import Ints

Vectors = NDArray[np.float32]

__all__ = ["NeighbourGraph", "neighbour_graph"]


@dataclass(frozen=True)
class NeighbourGraph:
    """Neighbours of N images, in both directions: where b is a neighbour of a, a is one of b.

    Attributes
    ----------
    begins : int array of shape (N + 1,)
    others : int array
        The neighbours of image i are ``others[begins[i] : begins[i + 1]]``, the lowest first.
    """

    begins: Ints
    others: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.begins) - 1

    def of(self, image: int) -> Ints:
        """The neighbours of one image."""
        return self.others[self.begins[image] : self.begins[image + 1]].astype(np.int64)


def neighbour_graph(
    features: NDArray[np.floating], *, neighbours: int = 16, trees: int = 8, leaf: int = 256, seed: int = 0
) -> NeighbourGraph:
    """The approximate nearest neighbours of every image, by random projection trees (Dasgupta & Freund 2008).

    A tree cuts all images into halves at the median of a random direction, again and again, until a leaf holds at most
    `leaf` images; within a leaf distances are exact. The nearest found in any tree are kept. With at most `leaf` images
    the neighbours are the true ones. Cost: trees * N * leaf * D multiplications, 5 D + 16 neighbours bytes per image.

    Parameters
    ----------
    features : array of shape (N, D)
        Distances are Euclidean.
    neighbours : int
        Of every image, before the other direction is added.
    trees : int
    leaf : int
    seed : int

    Raises
    ------
    ValueError
        Features that are not finite, or of another shape; fewer than one neighbour or tree.
    """
    if features.ndim != 2 or not len(features) or not np.isfinite(features).all():
        raise ValueError(f"features of shape {features.shape}; expected (images, features), all finite")
    if min(neighbours, trees) < 1 or leaf < 2:
        raise ValueError(
            f"neighbours = {neighbours}, trees = {trees}, leaf = {leaf}; expected 1 or more, and 2 in a leaf"
        )
    vectors = np.ascontiguousarray(
        features - features.mean(0, dtype=np.float64).astype(features.dtype), np.float32
    )  # of the same distances, near to 0
    count = min(neighbours, len(vectors) - 1)
    nearest = np.full((len(vectors), count), -1, dtype=np.int64)
    distances = np.full((len(vectors), count), np.inf, dtype=np.float32)
    generator = np.random.default_rng(seed)
    for _ in range(trees if len(vectors) > leaf else 1):
        for members in _leaves(vectors, leaf, generator):
            _improve(vectors, members, nearest, distances=distances)
    return _both_ways(nearest)


def _leaves(vectors: Vectors, leaf: int, generator: np.random.Generator) -> list[Ints]:
    """The leaves of one tree; each level cuts all of its parts along one direction."""
    parts = [np.arange(len(vectors))]
    while max(map(len, parts)) > leaf:
        along = vectors @ np.asarray(generator.normal(size=vectors.shape[1]), dtype=np.float32)
        halves = []
        for part in parts:
            order = part[np.argsort(along[part], kind="stable")]
            halves += [order] if len(part) <= leaf else [order[: len(part) // 2], order[len(part) // 2 :]]
        parts = halves
    return parts


def _improve(vectors: Vectors, members: Ints, nearest: Ints, *, distances: Vectors) -> None:
    """Put the nearest of `members` in the place of farther ones."""
    count = nearest.shape[1]
    if count == 0 or len(members) < 2:
        return
    here = vectors[members].astype(np.float64)  # |a|^2 + |b|^2 - 2 a.b of near neighbours cancels
    here -= here.mean(0)
    squares = (here**2).sum(1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * here @ here.T, 0)
    np.fill_diagonal(apart, np.inf)
    few = min(count, len(members) - 1)
    picked = np.argpartition(apart, few - 1, axis=1)[:, :few]
    found = np.concatenate([nearest[members], members[picked]], axis=1)
    far = np.concatenate([distances[members], np.take_along_axis(apart, picked, axis=1)], axis=1)
    order = np.lexsort((far, found), axis=1)
    found, far = np.take_along_axis(found, order, axis=1), np.take_along_axis(far, order, axis=1)
    far[:, 1:][found[:, 1:] == found[:, :-1]] = np.inf
    kept = np.argsort(far, axis=1, kind="stable")[:, :count]
    nearest[members] = np.take_along_axis(found, kept, axis=1)
    distances[members] = np.take_along_axis(far, kept, axis=1)
    nearest[members[:, None], np.arange(count)] = np.where(np.isfinite(distances[members]), nearest[members], -1)


def _both_ways(nearest: Ints) -> NeighbourGraph:
    total = len(nearest)
    rows = np.repeat(np.arange(total), nearest.shape[1])
    columns = nearest.reshape(-1)
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    edges = np.unique(np.concatenate([rows * total + columns, columns * total + rows]))
    begins = np.searchsorted(edges, np.arange(total + 1) * total)
    return NeighbourGraph(begins.astype(np.int64), (edges % total).astype(np.int32))
