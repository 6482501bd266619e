"""Scores, gains and intervals of a verdict, computed again by plain loops, and against known truth.

Further computations that share no code with the product: ridge and its cross-validation, noise-corrected correlations and
interval calibration under tests/encoders; projections and guidance under tests/synth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses
from protocols.verdict.evaluate import evaluate
from tests.trust.helpers.page import promised

BLOCKS, REPEATS, TEMPERATURE = 4, 8, 0.8


def design(rng: np.random.Generator, sites: int) -> tuple[Key, dict[str, np.ndarray]]:
    """A key with one controller per site and objective, three references per site, natural images, a blank; true means."""
    names = [f"s{u}" for u in range(sites)]
    rows, truth = [], {}

    def add(role: str, mean: np.ndarray, **about: Any) -> None:
        image = f"r01_{len(rows):04d}"
        rows.append(KeyRow(image, f"src_{image}", role, **about))
        truth[image] = mean

    for u, site in enumerate(names):
        for _ in range(3):
            mean = rng.uniform(2, 6, sites)
            mean[u] = rng.uniform(7, 10)
            add("reference", mean, reference_for=(("stretch", site), ("one_hot", site)))
        for objective in ("stretch", "one_hot"):
            mean = rng.uniform(2, 6, sites)
            mean[u] = rng.uniform(8, 16)
            add("controller", mean, objective=objective, target=site, generator="gradient", seed=0, confirmatory=True)
    for _ in range(4):
        add("natural", rng.uniform(2, 6, sites))
    add("blank", rng.uniform(0.5, 1.5, sites))
    key = Key(tuple(rows), tuple(SiteRow(s, 4.0 + 0.1 * u, 2.0 + 0.1 * u) for u, s in enumerate(names)))
    return key, truth


def shown(
    rng: np.random.Generator, truth: dict[str, np.ndarray], repeats: int = REPEATS
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Every image `repeats` times in BLOCKS blocks, in random order: images, blocks, reps."""
    images, blocks, reps = [], [], []
    seen: dict[str, int] = defaultdict(int)
    for block in range(BLOCKS):
        for image in rng.permutation([i for i in truth for _ in range(repeats // BLOCKS)]).tolist():
            images.append(image)
            blocks.append(block)
            reps.append(seen[image])
            seen[image] += 1
    return images, np.array(blocks), np.array(reps)


def judged(
    key: Key, images: list[str], blocks: np.ndarray, reps: np.ndarray, values: np.ndarray, unit: str = "spikes"
) -> Any:
    """The product's report."""
    responses = Responses(
        values=values,
        image_ids=np.array(images),
        site_ids=key.site_ids,
        unit=unit,
        window_ms=(70.0, 170.0),
        block=blocks,
        rep=reps,
    )
    return evaluate(responses, key, alpha=0.05, permutations=99, seed=3, temperature=TEMPERATURE)


def share(mean: list[float], target: int) -> float:
    """Softmax share of one site."""
    top = max(mean)
    powers = [math.exp((m - top) / TEMPERATURE) for m in mean]
    return powers[target] / sum(powers)


def test_scores_of_responses_almost_without_noise() -> None:
    """Then no choice of trials matters: measured, reference, S and margin are those of the true means, block offsets gone."""
    checked = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        key, truth = design(rng, sites=2 + seed % 3)
        images, blocks, reps = shown(rng, truth)
        offset = rng.uniform(0, 3, BLOCKS)
        values = np.array([truth[i] + offset[b] for i, b in zip(images, blocks, strict=True)])
        values = values + rng.uniform(-1e-9, 1e-9, values.shape)
        report = judged(key, images, blocks, reps, values, unit="au")
        for row in report.rows:
            u = key.site_ids.index(row.site)
            level = sum(offset) / BLOCKS
            z = {
                i: [(truth[i][v] + level - s.natural_mean) / s.natural_sd for v, s in enumerate(key.sites)]
                for i in truth
            }
            candidates = [r.image_id for r in key.rows if (row.objective, row.site) in r.reference_for]
            if row.objective == "stretch":
                scores = tested = {i: truth[i][u] + level for i in truth}
            else:
                scores = {i: share(z[i], u) for i in truth}
                others = [v for v in range(len(key.sites)) if v != u]  # nothing is predicted: all weigh the same
                tested = {i: z[i][u] - sum(z[i][v] for v in others) / len(others) for i in truth}
            best = max(candidates, key=tested.__getitem__)
            assert row.reference_image == best
            assert row.measured == pytest.approx(truth[row.image_id][u] + level, abs=1e-7)
            assert row.reference == pytest.approx(truth[best][u] + level, abs=1e-7)
            assert row.score == pytest.approx(scores[row.image_id], abs=1e-7)
            assert row.reference_score == pytest.approx(scores[best], abs=1e-7)
            wanted = tested[row.image_id] - tested[best]
            if row.objective == "one_hot":
                assert row.gain == pytest.approx(math.log(scores[row.image_id]) - math.log(scores[best]), abs=1e-5)
                mine = z[row.image_id]
                assert row.margin == pytest.approx(mine[u] - max(m for v, m in enumerate(mine) if v != u), abs=1e-7)
            assert row.difference == pytest.approx(wanted, abs=1e-6)
            assert row.gain is not None
            checked += 1
    name = "tests/trust/test_recomputed_scores.py::test_scores_of_responses_almost_without_noise"
    assert checked >= max(60, promised(name)), checked


def test_means_of_noisy_responses_with_lost_trials() -> None:
    """Measured responses and blanks of stretch controllers, by loops over the trials that are left."""
    checked = 0
    for seed in range(20):
        rng = np.random.default_rng([1, seed])
        key, truth = design(rng, sites=3)
        images, blocks, reps = shown(rng, truth)
        values = rng.poisson([truth[i] * (1 + 0.2 * b) for i, b in zip(images, blocks, strict=True)]).astype(float)
        values[rng.random(values.shape) < 0.03] = np.nan
        kept = rng.random(len(images)) > 0.05
        images = [i for i, k in zip(images, kept, strict=True) if k]
        blocks, reps, values = blocks[kept], reps[kept], values[kept]
        report = judged(key, images, blocks, reps, values)
        usable = [r for r in range(len(images)) if any(v == v for v in values[r])]
        for row in report.rows:
            if row.objective != "stretch" or row.verdict == "excluded":
                continue
            u = key.site_ids.index(row.site)
            of_block, everything = defaultdict(list), []
            for r in usable:
                if values[r, u] == values[r, u]:
                    of_block[blocks[r]].append(values[r, u])
                    everything.append(values[r, u])
            grand = sum(everything) / len(everything)
            mean = {b: sum(v) / len(v) for b, v in of_block.items()}

            def corrected(of: set[str], u: int = u, mean: dict[int, float] = mean, grand: float = grand) -> list[float]:
                rows = [r for r in usable if images[r] in of and values[r, u] == values[r, u]]  # noqa: B023
                return [values[r, u] - mean[blocks[r]] + grand for r in rows]  # noqa: B023

            blanks = {r.image_id for r in key.rows if r.role == "blank"}
            mine, blank = corrected({row.image_id}), corrected(blanks)
            if row.n == len(mine):  # no block without a trial of the reference
                assert row.measured == pytest.approx(sum(mine) / len(mine), abs=1e-9)
                checked += 1
            assert (row.n_blank, row.blank) == (len(blank), pytest.approx(sum(blank) / len(blank), abs=1e-9))
    name = "tests/trust/test_recomputed_scores.py::test_means_of_noisy_responses_with_lost_trials"
    assert checked >= max(40, promised(name)), checked


@pytest.mark.parametrize("unit", ["spikes", "zscore"])
def test_intervals_of_gains_cover_the_truth(unit: str) -> None:
    """Poisson counts (a fraction of the evoked response) and normal responses (natural SDs): 95 % of the intervals hold."""
    covered, total = 0, 0
    for seed in range(45):
        rng = np.random.default_rng([2, len(unit), seed])
        key, truth = design(rng, sites=4)
        images, blocks, reps = shown(
            rng, truth, repeats=24
        )  # fewer than ten tested trials carry a note: not calibrated
        means = np.array([truth[i] for i in images])
        values = rng.poisson(means).astype(float) if unit == "spikes" else means + rng.normal(0, 1.5, means.shape)
        blank = next(r.image_id for r in key.rows if r.role == "blank")
        for row in judged(key, images, blocks, reps, values, unit).rows:
            if row.objective != "stretch" or row.gain_low is None or "fewer" in row.gain_note:
                continue
            u = key.site_ids.index(row.site)
            mine, other, ground = (truth[i][u] for i in (row.image_id, row.reference_image, blank))
            sd = key.sites[u].natural_sd
            gain = (mine - ground) / (other - ground) - 1 if row.gain_unit == "fraction" else (mine - other) / sd
            covered += row.gain_low <= gain <= row.gain_high
            total += 1
    name = f"tests/trust/test_recomputed_scores.py::test_intervals_of_gains_cover_the_truth[{unit}]"
    assert total >= max(150, promised(name))
    assert stats.binomtest(covered, total, 0.95).pvalue > 0.01 or covered / total > 0.95, f"{covered} of {total}"
    print(f"{unit}: {covered} of {total} intervals hold the truth")
