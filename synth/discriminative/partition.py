"""Partitions of sites: at random, by what each site answers, and how alike two of them are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synth.contract import Attributes

Labels = NDArray[np.int64]
ZScores = NDArray[np.float64]
"""Responses (images, sites) in natural SDs."""


def random_partition(sites: int, clusters: int, rng: np.random.Generator) -> Labels:
    """Labels (sites,) of a random partition into `clusters` of equal size, the sizes differing by one at most.

    Raises
    ------
    ValueError
        Fewer sites than clusters, or fewer than one cluster.
    """
    if not 1 <= clusters <= sites:
        raise ValueError(f"{clusters} clusters of {sites} sites; expected 1 to {sites} clusters")
    labels: Labels = rng.permutation(np.arange(sites, dtype=np.int64) % clusters)
    return labels


def assigned(z: ZScores) -> Labels:
    """The image that drives each site most: argmax over images of z (images, sites) -> (sites,); the first where
    several drive it alike (Burg et al. 2024).
    """
    labels: Labels = z.argmax(0).astype(np.int64)
    return labels


def occupied(labels: Labels) -> tuple[Labels, list[int]]:
    """The labels numbered from 0 without gaps, and the old numbers of the clusters that have a site."""
    kept, numbered = np.unique(labels, return_inverse=True)
    return numbered.astype(np.int64), [int(k) for k in kept]


def members(labels: Labels, sites: Sequence[str | int]) -> list[list[str | int]]:
    """The sites of every cluster, in the order of the sites."""
    return [[s for s, own in zip(sites, labels, strict=True) if own == c] for c in range(int(labels.max()) + 1)]


def standardised(predicted: NDArray[np.float32], known: Attributes, columns: Sequence[int]) -> ZScores:
    """Responses (images, U) of the sites in `columns`, in natural SDs from the natural mean where they are known."""
    z = predicted.astype(np.float64)
    if known.mean is not None and known.sd is not None:
        z = (z - known.mean.double().cpu().numpy()) / known.sd.double().cpu().numpy()
    return z[:, list(columns)]


def margins(z: ZScores, labels: Labels) -> ZScores:
    """Response of each site to the image of its own cluster less its largest to another, (sites,), in the unit of z
    (images, sites); 0 where there is one image alone.
    """
    if len(z) == 1:
        return np.zeros(z.shape[1])
    own = np.zeros(z.shape, dtype=np.bool_)
    own[labels, np.arange(z.shape[1])] = True
    apart: ZScores = z[labels, np.arange(z.shape[1])] - np.where(own, -np.inf, z).max(0)
    return apart


def adjusted_rand(a: Labels, b: Labels) -> float:
    """The adjusted Rand index of two partitions (Hubert & Arabie 1985): 1 = the same, 0 on average where they are
    unrelated. Two partitions into one cluster each, or into single sites, are the same: 1.
    """
    if len(a) != len(b):
        raise ValueError(f"partitions of {len(a)} and {len(b)} sites; expected the same sites")
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1)
    together, of_a, of_b = (float((x * (x - 1) / 2).sum()) for x in (table, table.sum(1), table.sum(0)))
    expected = of_a * of_b / max(len(a) * (len(a) - 1) / 2, 1)
    largest = (of_a + of_b) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)
