"""Planted types are found whatever the number of clusters to start with; sites without types give nothing that lasts."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from synth import fourier
from synth.discriminative import Clustering, Settings, adjusted_rand, changes, discriminative_stimuli
from tests.synth.helpers.planted_types import PlantedTypes, held

SIZE = 12
QUICK = Settings(clusters=5, iterations=6).of_steps(15)


def found(encoder: PlantedTypes, validator: PlantedTypes | None = None, **changed: Any) -> Clustering:
    """Clusters of all sites of 12 px encoders, from seeds 0 and 1."""
    arguments: dict[str, Any] = {"settings": QUICK, "seeds": (0, 1)} | changed
    options = {"constraints": [held], "transforms": [], "learning_rate": 0.08} | arguments.pop("options", {})
    sites = encoder.site_ids
    return discriminative_stimuli(
        encoder, sites, fourier((1, SIZE, SIZE)), validator=validator, options=options, **arguments
    )


def judging(encoder: PlantedTypes) -> PlantedTypes:
    """An encoder of the same sites, with errors of its own."""
    other = copy.deepcopy(encoder)
    noise = torch.randn(other.filters.shape, generator=torch.Generator().manual_seed(7))
    size = other.filters.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    other.filters.data = other.filters + 0.3 * size * noise
    return other


@pytest.mark.parametrize(("types", "per_type"), [(3, 10), (5, 6), (8, 5)])
def test_planted_types_are_found_from_five_clusters(types: int, per_type: int) -> None:
    encoder = PlantedTypes(types, per_type, own=0.3, size=SIZE, seed=types)
    clustering = found(encoder, judging(encoder))
    best, truth = clustering.best, encoder.types.numpy()
    assert adjusted_rand(best.labels, truth) >= 0.95
    assert len(best.batch) == types
    assert best.objective == pytest.approx(np.log(types), abs=0.15)  # J is at most the log of their number
    assert (clustering.margins > 0).mean() >= 0.95
    assert best.judged is not None
    assert (best.judged == best.labels).mean() >= 0.95
    # each image drives its own type most, and is the encoder's answer to the 8-bit pixels
    shown = torch.from_numpy(best.batch.images).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(encoder(shown).detach().numpy(), best.batch.predicted, rtol=1e-4, atol=1e-5)


def test_sites_without_types_are_clustered_otherwise_from_every_seed() -> None:
    alone = found(PlantedTypes(30, 1, own=0.0, size=SIZE), settings=Settings(changes=0, iterations=4).of_steps(10))
    assert alone.stability is not None
    assert alone.stability < 0.5
    assert alone.agreement is not None
    assert alone.agreement.mean() < 0.75


def test_sites_of_one_type_become_one_cluster() -> None:
    encoder = PlantedTypes(1, 12, own=0.0, size=SIZE)
    best = found(encoder, seeds=(0,)).best
    assert len(best.batch) == 1
    assert best.objective == 0.0
    np.testing.assert_array_equal(best.labels, np.zeros(12))


def test_a_seed_gives_the_same_alone_and_in_batches_of_one() -> None:
    encoder = PlantedTypes(3, 4, own=0.3, size=SIZE)
    few = Settings(clusters=3, iterations=2, changes=1).of_steps(5)
    both = found(encoder, settings=few)
    alone = found(encoder, settings=few, seeds=(1,), options={"batch_size": 1})
    again = found(encoder, settings=few, seeds=(1,))
    np.testing.assert_array_equal(again.best.batch.images, both.restarts[1].batch.images)
    np.testing.assert_array_equal(alone.best.labels, both.restarts[1].labels)
    apart = np.abs(alone.best.batch.images.astype(int) - both.restarts[1].batch.images)
    assert apart.max() <= 1
    assert alone.best.batch.objective_description == both.restarts[1].batch.objective_description


def test_images_are_scored_for_the_clusters_they_are_told_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sites still move at the end, objective and scores are those of the clusters after the move."""
    monkeypatch.setattr("synth.discriminative.clustering.LAST_TURNS", 1)
    encoder, moved = PlantedTypes(16, 1, own=0.0, size=SIZE), 0
    few = Settings(clusters=4, iterations=1, changes=0).of_steps(1)
    for restart in found(encoder, judging(encoder), settings=few, seeds=range(4)).restarts:
        z, labels = restart.z, restart.labels
        means = np.stack([z[:, labels == c].mean(1) for c in range(len(z))], 1) / few.temperature
        scores = np.diag(means) - np.log(np.exp(means).mean(1))
        np.testing.assert_allclose(restart.batch.scores, scores, atol=1e-4)
        assert restart.objective == pytest.approx(scores.mean(), abs=1e-4)
        for c, row in enumerate(restart.batch.objective_description["rows"]):
            (term,) = row["terms"]
            told = dict(zip(term["among"], term["values"], strict=True))
            own = [told[site] == told[term["site"]] for site in encoder.site_ids]
            assert own == (labels == c).tolist()
        moved += restart.batch.settings["check_steps"] == [0]
    assert moved, "no sites moved: nothing was tested"


def test_the_clusters_as_they_are_are_compared_once_per_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    compared = changes._compared
    monkeypatch.setattr(
        changes, "_compared", lambda climber, own: (asked.append(own.tobytes()), compared(climber, own))[1]
    )
    found(
        PlantedTypes(3, 8, own=0.6, size=SIZE),
        settings=Settings(clusters=2, iterations=3, changes=1).of_steps(8),
        seeds=(0,),
    )
    assert len(asked) > 1
    assert len(set(asked)) == len(asked)


def test_fresh_images_start_where_they_are_told() -> None:
    encoder, asked = PlantedTypes(2, 3, own=0.0, size=SIZE), []

    def begin(objective: Any) -> torch.Tensor:
        asked.append(len(objective))
        return torch.rand((len(objective), 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))

    found(encoder, settings=Settings(clusters=2, iterations=1, changes=0).of_steps(2), seeds=(0,), begin=begin)
    assert asked == [2]  # later turns go on from the images before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": ()}, "at least one, each once"),
        ({"seeds": (1, 1)}, "at least one, each once"),
        ({"settings": Settings(clusters=7)}, "6 sites for 7 clusters"),
    ],
)
def test_what_cannot_serve_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(PlantedTypes(2, 3, size=SIZE), **changed)


@pytest.mark.parametrize(
    "wrong",
    [{"clusters": 0}, {"steps": 0}, {"temperature": 0.0}, {"separation": 0.7}, {"selectivity": 1.2}, {"changes": -1}],
)
def test_settings_that_cannot_serve_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)
