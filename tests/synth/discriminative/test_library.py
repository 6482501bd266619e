"""Groups in the answers to photographs: found where they are planted, not where sites are alike or a continuum."""

from __future__ import annotations

import numpy as np
import pytest

from synth.discriminative.library import beyond_chance, by_photographs, independent, rotated
from synth.discriminative.partition import adjusted_rand

PHOTOGRAPHS, SITES = 150, 30


def standard(z: np.ndarray) -> np.ndarray:
    return (z - z.mean(0)) / z.std(0)


def planted(types: int, seed: int, noise: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(SITES) % types)
    shared = np.exp(rng.standard_normal((PHOTOGRAPHS, types)))
    return standard(shared[:, truth] + noise * rng.standard_normal((PHOTOGRAPHS, SITES))), truth


def test_planted_groups_are_beyond_chance_and_found() -> None:
    z, truth = planted(5, 0)
    assert beyond_chance(z, 5, draws=39).p == pytest.approx(1 / 40)
    runs = [by_photographs(z, 5, np.random.default_rng(s)) for s in range(8)]
    labels, images, objective = max(runs, key=lambda run: run[2])
    assert adjusted_rand(labels, truth) >= 0.9
    assert len(images) == 5
    assert objective <= np.log(5)


@pytest.mark.parametrize("kind", ["sparse", "gaussian", "one type", "continuum"])
def test_sites_without_groups_are_not(kind: str) -> None:
    significant = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        own = rng.standard_normal((PHOTOGRAPHS, SITES))
        z = {
            "sparse": lambda own=own: np.exp(own),
            "gaussian": lambda own=own: own,
            "one type": lambda own=own, rng=rng: rng.standard_normal((PHOTOGRAPHS, 1)) + own,
            "continuum": lambda own=own, rng=rng: (
                rng.standard_normal((PHOTOGRAPHS, 4)) @ rng.standard_normal((4, SITES)) + 0.5 * own
            ),
        }[kind]()
        significant += beyond_chance(standard(z), 5, draws=19, seed=seed).p <= 0.05
    assert significant <= 1  # of 6 at alpha = 0.05


def test_the_nulls_keep_what_they_promise() -> None:
    z, _ = planted(3, 1)
    z = 2.0 + 3.0 * z
    alone, turned = independent(z, np.random.default_rng(0)), rotated(z, np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(alone, 0), np.sort(z, 0))  # every site keeps its answers
    assert np.abs(np.corrcoef(alone.T) - np.eye(SITES)).mean() < 0.1
    np.testing.assert_allclose(turned.mean(0), z.mean(0))
    np.testing.assert_allclose(turned.std(0), z.std(0))
    raw = np.random.default_rng(5).standard_normal((PHOTOGRAPHS, SITES))
    same = np.corrcoef(raw.mean(1), rotated(raw, np.random.default_rng(0)).mean(1))[0, 1]
    assert same > 0.9  # what all sites share stays shared


def test_one_cluster_is_nothing_to_test_and_numbers_must_be_finite() -> None:
    z, _ = planted(3, 1)
    assert beyond_chance(z, 1).p == 1.0
    with pytest.raises(ValueError, match="not finite"):
        beyond_chance(np.full((4, 3), np.nan), 2)
