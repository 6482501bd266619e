"""Simulated rounds of known truth for `verdict_calibration.py`: keys, expected responses, recordings, what the tests compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses
from protocols.stats.selectivity import log_share, selectivity_weights
from protocols.verdict.records import ControlRow

OBJECTIVES = ("stretch", "one_hot")
SITES, BLOCKS = 8, 4
NATURAL_MEAN, NATURAL_SD = 4.0, 2.0
FANO, SHARED_GAIN = 1.3, 0.1
LOW = 0.5  # response to the blank
BASELINE_REPEATS = 8
PREDICTION_ERROR = 0.2  # SD of the log of predicted over expected response


@dataclass(frozen=True)
class Truth:
    """Expected spike counts `means` (images, sites) of the images of `key`, on the baseline day."""

    key: Key
    means: Floats

    def of(self, image_id: str) -> Floats:
        """Expected counts of one image, shape (sites,)."""
        return np.asarray(self.means[[r.image_id for r in self.key.rows].index(image_id)])


@dataclass(frozen=True)
class Recording:
    """A recording and the mean of every site's gain over it, shape (sites,), which multiplies its expected counts."""

    responses: Responses
    gain: Floats


def truth(
    rng: np.random.Generator,
    *,
    gain: float = 0.0,
    references: int = 1,
    spread: float = 0.0,
    objectives: Sequence[str] = OBJECTIVES,
    candidates: int = 0,
    blank: bool = True,
) -> Truth:
    """Per site and objective a controller and `references`; evoked 5 - 9 spikes, the controller `gain` above the best photograph.

    The i-th photograph evokes `spread` * i less than the best. With `candidates` the references are those of so many photographs that a
    simulated baseline of 8 repeats finds best; else the first ones.
    """
    site_ids = [f"v4_{i:03d}" for i in range(SITES)]
    rows: list[KeyRow] = []
    means: list[Floats] = []

    def add(role: str, mean: Floats, **fields: Any) -> None:
        predicted = mean * np.exp(PREDICTION_ERROR * rng.normal(size=SITES))
        named = dict(zip(site_ids, map(float, predicted), strict=True))
        rows.append(KeyRow(f"r01_{len(rows):04d}", f"source_{len(rows):04d}", role, predicted=named, **fields))
        means.append(mean)

    for k, site in enumerate(site_ids):
        top = rng.gamma(4.0, 0.8, SITES) + LOW
        top[k] = LOW + rng.uniform(5.0, 9.0)
        photographs = np.array([LOW + (top - LOW) * (1 - spread * i) for i in range(max(references, candidates))])
        stronger = top.copy()
        stronger[k] = LOW + (1 + gain) * (top[k] - LOW)
        for objective in objectives:
            for i in _shown(rng, photographs, k, objective=objective)[:references] if candidates else range(references):
                add("reference", photographs[i], reference_for=((objective, site),))
            add("controller", stronger, objective=objective, target=site, seed=0, confirmatory=True)
    if blank:
        add("blank", np.full(SITES, LOW))
    frozen = tuple(
        SiteRow(site_id=s, natural_mean=NATURAL_MEAN, natural_sd=NATURAL_SD, reliability=0.8, is_target=True)
        for s in site_ids
    )
    return Truth(Key(tuple(rows), frozen), np.array(means))


def _shown(rng: np.random.Generator, photographs: Floats, site: int, *, objective: str) -> list[int]:
    """The photographs (N, sites) in the order of their scores in a simulated baseline, best first."""
    counts = rng.poisson(rng.gamma(photographs / (FANO - 1), FANO - 1, (BASELINE_REPEATS, *photographs.shape)))
    means = counts.mean(0)
    scores = means[:, site] if objective == "stretch" else log_share((means - NATURAL_MEAN) / NATURAL_SD, site)
    return [int(i) for i in np.argsort(-scores)]


def record(
    rng: np.random.Generator,
    known: Truth,
    *,
    repeats: int = 72,
    lost: float = 0.1,
    shared_gain: float = SHARED_GAIN,
    drift: float = 0.3,
    day_gain: Floats | float = 1.0,
    fano: float = FANO,
) -> Recording:
    """Negative-binomial counts (Poisson where `fano` is 1); trials lost at random, gain noise shared by the sites, a gain that grows by exp(`drift`) in the round."""
    counts = np.full(len(known.key.rows), repeats // BLOCKS)
    blocks = [rng.permutation(np.repeat(np.arange(len(counts)), counts)) for _ in range(BLOCKS)]
    image, block = np.concatenate(blocks), np.repeat(np.arange(BLOCKS), counts.sum())
    time = np.linspace(-0.5, 0.5, len(image))
    noise = shared_gain * rng.normal(size=len(image)) - shared_gain**2 / 2  # mean gain 1
    gain = np.exp(noise + drift * time)[:, None] * np.broadcast_to(day_gain, SITES)
    expected = known.means[image] * gain
    values = rng.poisson(rng.gamma(expected / (fano - 1), fano - 1) if fano > 1 else expected).astype(float)
    kept = rng.random(len(image)) >= lost
    shown = np.array([r.image_id for r in known.key.rows])[image]
    responses = Responses(
        values=values[kept],
        image_ids=shown[kept],
        site_ids=known.key.site_ids,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=block[kept],
    )
    return Recording(responses, np.exp(drift * time).mean() * np.broadcast_to(day_gain, SITES))


def standardised(means: Floats) -> Floats:
    """Expected counts in natural SDs."""
    return np.asarray((means - NATURAL_MEAN) / NATURAL_SD)


def contrast(known: Truth, row: ControlRow, means: Floats) -> Floats:
    """What the test compares, of expected counts (..., sites)."""
    k = known.key.site_ids.index(row.site)
    if row.objective == "stretch":
        return np.asarray(means[..., k])
    images = [r for r in known.key.rows if r.image_id == row.image_id or (row.objective, row.site) in r.reference_for]
    predicted = np.array([list(r.predicted.values()) for r in images])
    z = standardised(means)
    return np.asarray(z[..., k] - z @ selectivity_weights(standardised(predicted), k))


def picked(known: Truth, row: ControlRow) -> Floats:
    """Expected counts of the references that either direction picked, shape (1 or 2, sites)."""
    return np.array([known.of(image) for image in (row.reference_image, row.reference_other) if image])
