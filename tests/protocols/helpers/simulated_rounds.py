"""A simulated recording of one round with known truth, for the tests of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

REFERENCES = 5
OBJECTIVES = ("stretch", "one_hot")


@dataclass(frozen=True)
class Truth:
    """Expected counts per image, `means` (images, sites), and the key that names the images."""

    key: Key
    means: np.ndarray

    def scaled(self, role: str, factor: float, site: int | None = None, objective: str | None = None) -> Truth:
        """Expected counts at the row's own target (or at `site`) of the images of one role, multiplied."""
        means = self.means.copy()
        for i, row in enumerate(self.key.rows):
            if row.role == role and objective in (None, row.objective):
                column = site if site is not None else self.key.site_ids.index(row.target)
                means[i, column] *= factor
        return replace(self, means=means)


def make_truth(rng, *, sites=8, natural=12, equal=True, objectives=OBJECTIVES, exploratory=0, blank=True) -> Truth:
    """`equal`: the five references of a site and its controllers have the same expected responses (the boundary null)."""
    site_ids = [f"v4_{i:03d}" for i in range(sites)]
    rows, means, numbers = [], [], iter(rng.permutation(10_000))

    def add(role, mean, **fields):
        predicted = dict(zip(site_ids, map(float, mean), strict=True))
        image = f"r01_{next(numbers):04d}"
        rows.append(KeyRow(image, f"source_{image}", role, predicted=predicted, **fields))
        means.append(mean)

    def natural_mean():
        return rng.gamma(4.0, 1.0, sites) + 0.5

    for k, site in enumerate(site_ids):
        best = natural_mean() * 0.8
        best[k] = 9.0
        for i in range(REFERENCES):
            mean = best if equal else best * (1 - 0.04 * i)
            add("reference", mean, reference_for=tuple((o, site) for o in objectives))
        for objective in objectives:
            for s in range(1 + exploratory):
                add(
                    "controller",
                    best,
                    objective=objective,
                    target=site,
                    generator="gradient",
                    seed=s,
                    confirmatory=s == 0,
                )
    for _ in range(natural):
        add("natural", natural_mean())
    if blank:
        add("blank", np.full(sites, 0.5))
    order = rng.permutation(len(rows))
    frozen = tuple(
        SiteRow(site_id=s, natural_mean=4.5, natural_sd=2.0, reliability=0.8, is_target=True) for s in site_ids
    )
    return Truth(Key(tuple(rows[i] for i in order), frozen), np.array([means[i] for i in order]))


def record(
    rng, truth: Truth, *, repeats=16, blocks=4, missing=0.1, fano=1.3, shared_gain=0.1, drift=0.3, blank_repeats=32
) -> Responses:
    """Negative-binomial counts with shared gain noise, a linear drift of the gain and trials lost at random."""
    image, block = [], []
    for b in range(blocks):
        shown = [
            i
            for i, row in enumerate(truth.key.rows)
            for _ in range((blank_repeats if row.role == "blank" else repeats) // blocks)
        ]
        image.append(rng.permutation(shown))
        block.append(np.full(len(shown), b))
    image, block = np.concatenate(image), np.concatenate(block)
    time = np.linspace(-0.5, 0.5, len(image))
    gain = np.exp(shared_gain * rng.normal(size=len(image)) + drift * time)
    expected = truth.means[image] * gain[:, None]
    values = (
        rng.poisson(rng.gamma(expected / (fano - 1), fano - 1)).astype(float)
        if fano > 1
        else rng.poisson(expected).astype(float)
    )
    rep = np.zeros(len(image), dtype=int)
    for i in range(len(truth.key.rows)):
        rep[image == i] = np.arange((image == i).sum())
    kept = rng.random(len(image)) >= missing
    return Responses(
        values=values[kept],
        image_ids=np.array([truth.key.rows[i].image_id for i in image[kept]]),
        site_ids=truth.key.site_ids,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=block[kept],
        rep=rep[kept],
        onset_s=np.arange(len(image))[kept] * 0.2,
    )


def shuffled_within_block(rng, responses: Responses) -> Responses:
    """The same trials with the image labels permuted within every block: no label means anything."""
    labels = responses.image_ids.copy()
    for b in np.unique(responses.block):
        rows = np.flatnonzero(responses.block == b)
        labels[rows] = labels[rng.permutation(rows)]
    return replace(responses, image_ids=labels, rep=None)


def subset(key: Key, keep) -> Key:
    """The key without the rows for which `keep(row)` is false."""
    return replace(key, rows=tuple(r for r in key.rows if keep(r)))


def one_reference(key: Key) -> Key:
    """The key with one reference per objective and site, the one whose image id comes first."""
    taken, kept = set(), set()
    for row in sorted(key.of_role("reference"), key=lambda r: r.image_id):
        if not taken & set(row.reference_for):
            taken |= set(row.reference_for)
            kept.add(row.image_id)
    return subset(key, lambda r: r.role != "reference" or r.image_id in kept)


def rows_of(report: ControlReport, objective: str, site: str | None = None) -> list[ControlRow]:
    """The confirmatory rows of an objective, of all sites or of one."""
    return [r for r in report.confirmatory(objective) if site in (None, r.site)]
