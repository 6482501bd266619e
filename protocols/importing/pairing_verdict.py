"""From figures to a verdict: which assignment of responses to pictures fits, if any can be told at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints

from .pairing_scores import (
    Evidence,
    Means,
    Predictor,
    Scale,
    difference,
    means_of,
    pooled,
    reliability,
    reliability_scale,
    tail_difference,
    without_drift,
)

PAIRED, NOT_PAIRED, CANNOT_TELL = "paired", "not paired", "cannot tell"
NEXT, PREVIOUS = "shifted by +1", "shifted by -1"
NEXT_FROM, PREVIOUS_FROM = "shifted by +1 in part", "shifted by -1 in part"
ROW_BEFORE, ROW_AFTER = "one trial late", "one trial early"
SORTED_OTHERWISE = "sorted otherwise"
ALARMS = (NOT_PAIRED, NEXT, PREVIOUS, NEXT_FROM, PREVIOUS_FROM, ROW_BEFORE, ROW_AFTER, SORTED_OTHERWISE)
LEAST_PICTURES = 40
SURE, BETTER, SIGNAL = 5.0, 3.5, 5.0
"""SDs from chance, standard errors of a difference, and SDs of reliability, for an alarm."""
SEEN, UNSEEN = 3.5, 2.5
"""SDs from chance above which responses fit their pictures, and below which nothing is seen of it."""
LEAST_SHARE = 0.1
"""Least share of signal in averages, by the bound on their noise, that counts as a signal."""
LEAST_ACCURACY, MARGIN = 0.25, 3.0
"""Correlation with noise-free responses that pictures are taken to reach at least, and SDs by which it is missed."""


class Recorded(NamedTuple):
    """Rows of a recording in the order shown.

    values : array of shape (T, U), NaN = missing or not to be used.
    position : int array of shape (T,), index of the picture named by the id, -1 = none.
    repeats : int array of shape (T,) or None: presentations behind each row where rows are averages.
    noise : array of shape (U,) or None: largest plausible variance of one presentation where no repeats tell it.
    """

    values: Floats
    position: Ints
    repeats: Ints | None = None
    noise: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict and the figures behind it.

    Attributes
    ----------
    verdict : str
    pictures, sites, rows : int
        What entered.
    score, chance, z : float
        Weighted correlation as the ids say, its mean by chance, and its distance from chance in SDs.
    others : mapping of str to (score, z, standard errors by which it fits better than the ids)
    reliability, reliability_z : float
        Mean over sites of the share of signal in the means; NaN where it is not known.
    expected : float
        Least score of a recording that belongs to its pictures, at this reliability; NaN where not known.
    detectable : float
        Score that would have been told from chance.
    since : int
        Position of the picture from which on a shift in part holds, else -1.
    """

    verdict: str
    pictures: int = 0
    sites: int = 0
    rows: int = 0
    score: float = float("nan")
    chance: float = float("nan")
    z: float = float("nan")
    others: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    reliability: float = float("nan")
    reliability_z: float = float("nan")
    expected: float = float("nan")
    detectable: float = float("nan")
    since: int = -1


class _Assigned(NamedTuple):
    """Mean responses under one assignment of rows to pictures, and the share of signal in them, (U,)."""

    means: Means
    share: Floats

    @property
    def weight(self) -> Floats:
        """Share of each site in the score: by its reliability, or equal where none is known; sums to 1."""
        varying = np.asarray(self.means.values.any(0), dtype=np.float64)
        weight: Floats = np.asarray(np.clip(np.nan_to_num(self.share), 0.0, 1.0) * varying)
        weight = weight if weight.sum() > 0 else varying
        return np.asarray(weight / max(weight.sum(), 1e-12))

    def evidence(self, kernel: Floats) -> tuple[Evidence, Predictor]:
        """How well the pictures predict the means, and the predictor."""
        at = self.means.pictures
        predictor = Predictor(kernel[np.ix_(at, at)])
        parts = predictor.parts(self.means.values, self.weight)
        return Evidence(float(parts.mean()), at, parts, self.weight), predictor


def _assign(recorded: Recorded, position: Ints) -> _Assigned | None:
    """The means under an assignment; None where there are too few pictures, or nothing varies."""
    means = means_of(recorded.values, position, recorded.repeats)
    if len(means.pictures) < LEAST_PICTURES or not means.values.any():
        return None
    if recorded.repeats is None:
        return _Assigned(means, reliability(recorded.values, position))
    return _Assigned(means, _bounded(recorded, position))


def _bounded(recorded: Recorded, position: Ints) -> Floats:
    """Least share of signal in averages, (U,), from the largest plausible noise; NaN where that is not known."""
    sites = recorded.values.shape[1]
    if recorded.noise is None or recorded.repeats is None:
        return np.full(sites, np.nan)
    rows = position >= 0
    values, repeats = recorded.values[rows], recorded.repeats[rows]
    total = np.array([np.var(v[np.isfinite(v)]) if np.isfinite(v).sum() > 2 else 0.0 for v in values.T])
    noise = recorded.noise * float(np.mean(1.0 / np.maximum(repeats, 1)))
    share: Floats = np.divide(total - noise, total, out=np.full(sites, np.nan), where=total > 0)
    return share


def _candidates(recorded: Recorded, listed: Ints, orders: Mapping[str, Ints]) -> dict[str, Ints]:
    """Other assignments of the rows, by the verdict that they would mean."""
    position = recorded.position
    neighbours = np.diff(listed) == 1
    following = np.where(np.append(neighbours, False), np.arange(len(listed)) + 1, -1)
    before = np.where(np.append(False, neighbours), np.arange(len(listed)) - 1, -1)

    def moved(to: Ints) -> Ints:
        return np.where(position >= 0, to[position], -1).astype(np.int64)

    found = {NEXT: moved(following), PREVIOUS: moved(before)}
    if recorded.repeats is None and len(position) > 1:
        found[ROW_BEFORE] = np.append(-1, position[:-1]).astype(np.int64)
        found[ROW_AFTER] = np.append(position[1:], -1).astype(np.int64)
    return found | {name: moved(order) for name, order in orders.items()}


def _verdict(
    figures: Mapping[str, float],
    others: Mapping[str, tuple[float, float, float]],
    shares: Mapping[str, float],
    *,
    tails: Mapping[str, tuple[float, int]],
) -> tuple[str, int]:
    """The verdict, and from which picture on a shift in part holds (-1: none)."""
    late = [
        name
        for name in (ROW_BEFORE, ROW_AFTER)
        if name in shares
        and figures["spread"] > 0
        and (shares[name] - figures["by_chance"]) / figures["spread"] > SIGNAL + 1
        and figures["reliability"] < 0.5 * shares[name]
    ]
    if late:
        return max(late, key=lambda name: shares[name]), -1
    fitting = [name for name, (_, z, better) in others.items() if z > SURE and better > BETTER]
    if fitting:
        return max(fitting, key=lambda name: others[name][0]), -1
    parts = {NEXT: NEXT_FROM, PREVIOUS: PREVIOUS_FROM}
    split = [name for name, (by, _) in tails.items() if by > SURE]
    if split and figures["z"] > UNSEEN:
        name = max(split, key=lambda n: tails[n][0])
        return parts[name], tails[name][1]
    if figures["z"] > SEEN:
        return PAIRED, -1
    missed = (figures["expected"] - (figures["score"] - figures["chance"])) / figures["sd"]
    known = figures["reliability_z"] > SIGNAL
    return (NOT_PAIRED if known and figures["z"] < UNSEEN and missed > MARGIN else CANNOT_TELL), -1


def judge(
    recorded: Recorded, kernel: Floats, *, listed: Ints, orders: Mapping[str, Ints] | None = None, seed: int = 0
) -> Finding:
    """Which assignment of rows to pictures the responses fit.

    Parameters
    ----------
    recorded : Recorded
    kernel : array of shape (P, P)
        Likeness of the pictures.
    listed : int array of shape (P,)
        Place of each picture in the whole list, rising; neighbours of the list differ by 1.
    orders : mapping of str to int array of shape (P,), optional
        Other orders of the list, by verdict: the picture that stands in place of each picture.
    seed : int
    """
    generator = np.random.default_rng([seed, 1605])  # no list that somebody permuted with this seed comes back
    given = _assign(recorded, recorded.position)
    if given is None:
        return Finding(verdict=CANNOT_TELL, rows=len(recorded.values))
    steady = without_drift(recorded.values, recorded.position)  # rows of one picture side by side share a drift
    evidence, predictor = given.evidence(kernel)
    scale = predictor.scale(given.means.values, evidence.weight, generator)
    others: dict[str, tuple[float, float, float]] = {}
    shares: dict[str, float] = {}
    tails: dict[str, tuple[float, int]] = {}
    for name, position in _candidates(recorded, listed, orders or {}).items():
        other = _assign(recorded, position)
        if other is None:
            continue
        if name in (ROW_BEFORE, ROW_AFTER):
            shares[name] = pooled(reliability(steady, position))
            if shares[name] < 0.5 * pooled(given.share):
                continue  # repeats are less alike under these rows: nothing that pictures could add
        found = other.evidence(kernel)[0]
        step = {NEXT: 1, PREVIOUS: -1}.get(name, 0)
        others[name] = (found.score, scale.z(found.score), difference(found, evidence, step))
        if step:
            tails[name] = tail_difference(found, evidence, step)
    figures = _figures(recorded, given, evidence, scale=scale, steady=steady)
    verdict, since = _verdict(figures, others, shares, tails=tails)
    told = {name: figures[name] for name in ("score", "chance", "z", "reliability", "reliability_z", "expected")}
    return Finding(
        verdict=verdict,
        pictures=len(evidence.pictures),
        sites=int(given.means.values.any(0).sum()),
        rows=len(recorded.values),
        others=others,
        since=since,
        detectable=SEEN * figures["sd"],
        **told,
    )


def _figures(
    recorded: Recorded, given: _Assigned, evidence: Evidence, *, scale: Scale, steady: Floats
) -> dict[str, float]:
    """The numbers that a verdict rests on, by name."""
    shares, chance = given.share, Scale(0.0, 0.0)
    by_bound = SIGNAL + 1.0 if recorded.repeats is not None and pooled(shares) > LEAST_SHARE else float("nan")
    if recorded.repeats is None and np.isfinite(pooled(shares)):
        shares = np.fmin(shares, reliability(steady, recorded.position))
        chance = reliability_scale(steady, recorded.position)
    share = pooled(shares)
    known = np.sqrt(np.clip(np.nan_to_num(shares), 0.0, 1.0))
    return {
        "score": evidence.score,
        "chance": scale.mean,
        "sd": max(scale.sd, 1e-9),
        "z": scale.z(evidence.score),
        "reliability": share,
        "by_chance": chance.mean,
        "spread": chance.sd,
        "reliability_z": chance.z(share) if chance.sd > 0 else by_bound,
        "expected": LEAST_ACCURACY * float(evidence.weight @ known) if np.isfinite(share) else float("nan"),
    }
