"""Splits and merges: how many clusters the sites have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alternation import Climber, Settings, State, take_turns
from .partition import Labels, ZScores, assigned, random_partition

MERGE_BELOW = 0.8
"""Two clusters are merged where they are told apart by less than this share of what a split must reach, so that the
noise of one climb does not undo a split that was just taken.
"""
LOCAL_TURNS = 3
"""Turns inside a cluster that may be split."""


@dataclass(frozen=True)
class Change:
    """A split or merge that was tried.

    Attributes
    ----------
    kind : "split" or "merge"
    sites : int
        Of the cluster, or of both.
    clusters : int
        After the change.
    separation : float
        How well the two are told apart, in nats (`separations`).
    selectivity : float
        How little the image of one drives the other (`selectivities`).
    gain : float, or None
        By how much the mean of J rose, in nats; both from fresh images of as many steps. None for a merge.
    accepted : bool
    """

    kind: str
    sites: int
    clusters: int
    separation: float
    selectivity: float
    gain: float | None
    accepted: bool


def separations(z: ZScores, labels: Labels, temperature: float) -> NDArray[np.float64]:
    """How well the images of two clusters tell these two apart, (clusters, clusters), in nats: 0 at chance, at most log
    2, whatever the number of clusters.

    The objective of Burg et al. (2024) for the two clusters alone, mean over both, from responses z (images, sites). It
    is symmetric; on the diagonal it is infinite.
    """
    count = len(z)
    means = np.stack([z[:, labels == c].mean(1) for c in range(count)], axis=1) / temperature  # (images, clusters)
    own = np.diag(means)[:, None]
    alone = -np.logaddexp(0, means - own)  # log softmax of the image's own cluster among two
    both: NDArray[np.float64] = (alone + alone.T) / 2 + math.log(2)
    np.fill_diagonal(both, np.inf)
    return both


def selectivities(z: ZScores, labels: Labels) -> NDArray[np.float64]:
    """What share of a cluster's response to its own image is missing under the image of another, (clusters, clusters):
    1 where the other's image evokes the natural mean, 0 where it evokes as much, mean over both.

    A share, so that it does not grow with the strength of the images, as `separations` does. It is symmetric; on the
    diagonal it is infinite, and -infinite where an own image does not drive its cluster above the natural mean.
    """
    means = np.stack([z[:, labels == c].mean(1) for c in range(len(z))])  # (clusters, images)
    own = np.diag(means)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        missing = np.where(own > 0, (own - means) / own, -np.inf)
    both: NDArray[np.float64] = (missing + missing.T) / 2
    np.fill_diagonal(both, np.inf)
    return both


def shares(z: ZScores, labels: Labels, settings: Settings) -> NDArray[np.float64]:
    """How well every two clusters are told apart, (clusters, clusters), as a share of what a split must reach: the
    smaller of `separations` and `selectivities` over `Settings.separation` and `Settings.selectivity`, from responses z
    (images, sites) in natural SDs; infinite on the diagonal.
    """
    least: NDArray[np.float64] = np.minimum(
        separations(z, labels, settings.temperature) / settings.separation,
        selectivities(z, labels) / settings.selectivity,
    )
    return least


def improved(climber: Climber, state: State, rng: np.random.Generator) -> tuple[State, list[Change]]:
    """Merge clusters that are one, split those that are several, until nothing changes.

    After Burg et al. (2024): a cluster is split by the same alternation among its members, all sites are assigned anew,
    and the mean objective before and after is compared from fresh images of as many steps
    (`Settings.comparison_steps`). That mean has its chance level at 0, but its limit, the log of the number of
    clusters, rises with a split; less that log, it falls with nearly every split, also with right ones. So the two
    halves must also be told apart, by measures that do not depend on the number of clusters: `Settings.separation`
    (`separations`) and `Settings.selectivity` (`selectivities`). Two clusters that fall short are merged.
    """
    changes: list[Change] = []
    tried: set[bytes] = set()
    for _ in range(climber.settings.changes):
        state, merged, objective = _merged(climber, state)
        changes += merged
        state, split = _split(climber, state, rng, tried=tried, before=objective)
        changes += split
        if not any(c.accepted for c in merged + split):
            break
    return state, changes


def _merged(climber: Climber, state: State) -> tuple[State, list[Change], float]:
    """Merge the two clusters that are told apart least, as long as that is too little. Last comes the mean objective of
    the clusters that are left, from fresh images, in nats: 0 where all sites are one.
    """
    changes: list[Change] = []
    while state.clusters > 1:
        pairs = _compared(climber, state.labels)
        a, b = pairs.closest()
        small = pairs.share(a, b) < MERGE_BELOW
        both = int(((state.labels == a) | (state.labels == b)).sum())
        changes.append(pairs.change("merge", a, b, sites=both, clusters=state.clusters - small, accepted=small))
        if not small:
            return state, changes, pairs.objective
        labels = np.where(state.labels == max(a, b), min(a, b), state.labels)
        state = take_turns(climber, labels)
    return state, changes, 0.0


def _split(
    climber: Climber, state: State, rng: np.random.Generator, *, tried: set[bytes], before: float
) -> tuple[State, list[Change]]:
    """Split the first cluster, from the largest, of which two can be made; each set of sites is tried once. `before` is
    the mean objective of the clusters as they are, from fresh images, in nats.
    """
    changes: list[Change] = []
    for cluster in np.argsort(-np.bincount(state.labels), kind="stable"):
        among = np.flatnonzero(state.labels == cluster)
        if len(among) < 2 * climber.settings.smallest or among.tobytes() in tried:
            continue
        tried.add(among.tobytes())
        local = take_turns(climber, random_partition(len(among), 2, rng), among=among, turns=LOCAL_TURNS)
        labels = _proposed(climber, state, int(cluster), local=local)
        if labels is None:
            continue
        after = _compared(climber, labels)
        a, b, gain = state.clusters - 1, state.clusters, after.objective - before
        accepted = after.share(a, b) >= 1 and gain > climber.settings.improvement
        size = len(among)
        changes.append(after.change("split", a, b, sites=size, clusters=b + 1, accepted=accepted, gain=gain))
        if accepted:
            return take_turns(climber, labels), changes
    return state, changes


def _proposed(climber: Climber, state: State, cluster: int, *, local: State) -> Labels | None:
    """All sites assigned to the images of the other clusters and to the two of the split one, which come last; None
    where a half falls below the smallest size, or another cluster vanishes.
    """
    if local.batch is None or local.clusters < 2:
        return None
    z = climber.responses(local.batch)
    if state.batch is not None:
        others = [c for c in range(state.clusters) if c != cluster]
        z = np.concatenate([climber.responses(state.batch)[others], z])
    labels = assigned(z)
    sizes = np.bincount(labels, minlength=len(z))
    if min(sizes[-2:]) < climber.settings.smallest or not sizes.all():
        return None
    return labels


@dataclass(frozen=True)
class Pairs:
    """How well every two clusters are told apart, by fresh images.

    Attributes
    ----------
    separation : array of shape (clusters, clusters), in nats
    selectivity : array of shape (clusters, clusters)
    shares : array of shape (clusters, clusters)
        Of what the settings ask for (`shares`).
    objective : float
        Mean of J over the clusters, in nats.
    """

    separation: NDArray[np.float64]
    selectivity: NDArray[np.float64]
    shares: NDArray[np.float64]
    objective: float

    def share(self, a: int, b: int) -> float:
        """How well these two are told apart, as a share of what the settings ask for."""
        return float(self.shares[a, b])

    def closest(self) -> tuple[int, int]:
        """The two clusters that are told apart least."""
        a, b = np.unravel_index(self.shares.argmin(), self.shares.shape)
        return int(a), int(b)

    def change(self, kind: str, a: int, b: int, *, gain: float | None = None, **told: Any) -> Change:
        """The record of a change of these two."""
        apart, selective = float(self.separation[a, b]), float(self.selectivity[a, b])
        return Change(kind=kind, separation=apart, selectivity=selective, gain=gain, **told)


def _compared(climber: Climber, labels: Labels) -> Pairs:
    """The clusters of a partition by fresh images of `Settings.comparison_steps` steps."""
    settings = climber.settings
    batch = climber.climb(labels, settings.comparison_steps, among=None, start=None)
    z = climber.responses(batch)
    return Pairs(
        separation=separations(z, labels, settings.temperature),
        selectivity=selectivities(z, labels),
        shares=shares(z, labels, settings),
        objective=float(batch.scores.mean()),
    )
