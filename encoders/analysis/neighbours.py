"""Neighbours of images in a space of features, and a map of that space in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats, Ints

BLOCK = 512  # queries compared at once
Metric = Literal["cosine", "correlation", "euclidean"]


@dataclass(frozen=True)
class Embedding:
    """A map of points: the first principal components.

    Attributes
    ----------
    coordinates : array of shape (N, n)
        Largest variance first; the entry of largest magnitude of each component is positive.
    share : array of shape (n,)
        Share of the total variance along each component.
    """

    coordinates: Floats
    share: Floats


def nearest(
    queries: ArrayLike, references: ArrayLike, n_neighbours: int, *, metric: Metric = "cosine"
) -> tuple[Ints, Floats]:
    """The nearest references of every query.

    Parameters
    ----------
    queries : array of shape (Q, D)
    references : array of shape (N, D)
    n_neighbours : int
        k <= N.
    metric : "cosine", "correlation" or "euclidean"
        Distance: 1 - cosine; 1 - correlation over the D entries; length of the difference. A row without a direction
        has distance 1 from every other by the first two.

    Returns
    -------
    indices : array of shape (Q, k), int
        Nearest first; of equal distances the reference that stands first.
    distances : array of shape (Q, k)
    """
    q, r = np.asarray(queries, np.float64), np.asarray(references, np.float64)
    fits = q.ndim == 2 and r.ndim == 2 and q.shape[1:] == r.shape[1:] and 0 < n_neighbours <= len(r)
    if not fits or metric not in ("cosine", "correlation", "euclidean"):
        raise ValueError(
            f"{n_neighbours} neighbours of {q.shape} among {r.shape} by {metric!r}; expected rows of one length, at "
            "most as many neighbours as references, and cosine, correlation or euclidean"
        )
    if metric == "correlation":
        q, r = (rows - rows.mean(1, keepdims=True) for rows in (q, r))
    if metric != "euclidean":
        q, r = (_directions(rows) for rows in (q, r))
    indices, distances = [], []
    for start in range(0, len(q), BLOCK):
        block = q[start : start + BLOCK]
        if metric == "euclidean":
            squares = (block * block).sum(1)[:, None] + (r * r).sum(1) - 2 * block @ r.T
            distance = np.sqrt(np.maximum(squares, 0.0))
        else:
            distance = 1 - block @ r.T
        order = np.argsort(distance, axis=1, kind="stable")[:, :n_neighbours]
        indices.append(order)
        distances.append(np.take_along_axis(distance, order, 1))
    empty = np.zeros((0, n_neighbours))
    return np.concatenate([empty.astype(np.int64), *indices]), np.concatenate([empty, *distances])


def embed(features: ArrayLike, n_components: int = 2) -> Embedding:
    """Principal components of features (N, P), at most min(N, P) of them; see `Embedding`."""
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not 0 < n_components <= min(x.shape) or not np.isfinite(x).all():
        raise ValueError(
            f"features {x.shape}, {n_components} components; expected (N, P), finite, and at most min(N, P)"
        )
    centred = x - x.mean(0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    rows = right[:n_components]
    signs = np.sign(rows[np.arange(n_components), np.abs(rows).argmax(1)])
    total = float((values**2).sum())
    share = values[:n_components] ** 2 / total if total > 0 else np.zeros(n_components)
    return Embedding(coordinates=left[:, :n_components] * values[:n_components] * signs, share=share)


def neighbour_agreement(features: ArrayLike, responses: ArrayLike, n_neighbours: int = 10) -> Floats:
    """Correlation of a site's response to an image with its mean response to the nearest other images, (U,).

    How far the space orders images as the site does; 0 where it says nothing of it. NaN for a constant site.

    Parameters
    ----------
    features : array of shape (N, P)
        Compared by cosine.
    responses : array of shape (N, U)
    n_neighbours : int
        Less than N.
    """
    x, y = np.asarray(features, np.float64), np.asarray(responses, np.float64)
    directions = _directions(x)
    similarity = directions @ directions.T
    np.fill_diagonal(similarity, -np.inf)
    if not 0 < n_neighbours < len(x) or len(x) != len(y):
        raise ValueError(f"{n_neighbours} neighbours of {x.shape}, responses {y.shape}; expected fewer than rows")
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :n_neighbours]
    guess = y[order].mean(1)
    a, b = guess - guess.mean(0), y - y.mean(0)
    size = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return np.asarray(np.divide((a * b).sum(0), size, out=np.full(y.shape[1], np.nan), where=size > 1e-12))


def _directions(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > 0))
