"""Diverse sets and the diversity index, against simulated cells whose invariance is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth.answers import images_of, z_scores_to
from synth.invariance.cells import gabor_cells, gaussian_field, place_and_size
from synth.invariance.diversity import Diversity, diverse_sets, diversity_index, null_diversity
from synth.invariance.site import shown
from tests.synth.helpers.known_invariance import display, pictures

SIDE = 28


def field(sd: float = 6.0) -> torch.Tensor:
    y, x = torch.arange(SIDE)[:, None] - 14.0, torch.arange(SIDE)[None] - 13.0
    return torch.exp(-(y * y + x * x) / (2 * sd**2))


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    return shown(pictures(40, SIDE, contrast=0.2), display(SIDE, 0.18))


def test_place_and_size_of_a_gaussian_are_its_own() -> None:
    row, column, sd = place_and_size(field(4.0) + 0.3)  # faint surroundings do not count
    assert (row, column) == (pytest.approx(14, abs=0.1), pytest.approx(13, abs=0.1))
    assert sd == pytest.approx(4.0, rel=0.05)
    assert gaussian_field(field(4.0))[14, 13] == pytest.approx(1.0, abs=0.01)
    with pytest.raises(ValueError, match="same everywhere"):
        place_and_size(torch.ones(8, 8))


def test_a_simple_cell_prefers_one_phase_and_a_complex_cell_none(photographs: np.ndarray) -> None:
    cells = gabor_cells(field(), [0.0, 1.0], photographs, orientations=1)
    even, odd = cells.filters[0]
    images = torch.stack([0.5 + 0.02 * even, 0.5 - 0.02 * even, 0.5 + 0.02 * odd])[:, None]
    simple, complex_ = cells(images).T
    assert simple[0] > 0
    assert simple[1:] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert complex_[1] == pytest.approx(float(complex_[0]), rel=1e-3)
    assert complex_[2] == pytest.approx(float(complex_[0]), rel=0.05)
    assert cells(torch.full((1, 1, SIDE, SIDE), 0.8)).abs().max() < 1e-6, "blind to the mean"


def test_index_of_a_simple_cell_is_0_of_a_complex_cell_1_and_between_it_rises(photographs: np.ndarray) -> None:
    """The cells that are judged have other orientations than those of the null."""
    limits, settings = display(SIDE, 0.18), Diversity(count=5, steps=50)
    null = null_diversity(field(), photographs, constraints=limits, settings=settings)
    judged = null_diversity(
        field(), photographs, constraints=limits, settings=settings, complexity=(0.0, 0.5, 1.0), turned=20
    )
    scale = [float(null[c].mean()) for c in (0.0, 1.0)]
    index = [diversity_index(float(judged[c].mean()), *scale) for c in (0.0, 0.5, 1.0)]
    assert index[0] == pytest.approx(0.0, abs=0.35)
    assert index[2] == pytest.approx(1.0, abs=0.45)
    assert index[0] < index[1] < index[2]


def test_a_set_keeps_its_floor_and_differs_in_the_field_alone(photographs: np.ndarray) -> None:
    limits, settings = display(SIDE, 0.18), Diversity(count=4, steps=40)
    cells, small = gabor_cells(field(3.0), [1.0], photographs, orientations=1), field(3.0)
    (found,) = diverse_sets(cells, cells.site_ids, small[None], constraints=limits, settings=settings)
    z = z_scores_to(cells, found.batch.images)[:, 0]
    assert found.z == pytest.approx(z)
    assert found.floor == pytest.approx(0.85 * float(z_scores_to(cells, found.best[None])[0, 0]))
    assert found.kept.sum() >= 3
    assert not any(limits[0].violations(torch.from_numpy(found.batch.images)))
    spread = images_of(found.batch.images).std(0)[0]
    assert spread[small > 0.5].mean() > 3 * spread[small < 0.01].mean()
    assert found.distance(small) > 0


def test_a_set_is_the_same_beside_others(photographs: np.ndarray) -> None:
    limits, settings = display(SIDE, 0.18), Diversity(count=2, steps=6)
    cells = gabor_cells(field(), [0.0, 1.0], photographs, orientations=1)
    masks, start = torch.stack([field(), field(5.0)]), photographs[z_scores_to(cells, photographs).argmax(0)]
    arguments = {"constraints": limits, "settings": settings}
    both = diverse_sets(cells, cells.site_ids, masks, start=start, **arguments)
    alone = diverse_sets(cells, cells.site_ids[1:], masks[1:], start=start[1:], **arguments)
    assert np.abs(alone[0].batch.images.astype(int) - both[1].batch.images).max() <= 1
    assert alone[0].z == pytest.approx(both[1].z, rel=1e-3)


def test_index_by_hand_and_refusals(photographs: np.ndarray) -> None:
    assert diversity_index(0.3, 0.2, 0.4) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expected more of the second"):
        diversity_index(0.3, 0.4, 0.2)
    with pytest.raises(ValueError, match="at least 2 images"):
        Diversity(count=1)
    with pytest.raises(ValueError, match="below 1"):
        Diversity(share=1.0)
    cells = gabor_cells(field(), [0.0], photographs, orientations=1)
    with pytest.raises(ValueError, match="one mask per site"):
        diverse_sets(cells, cells.site_ids, torch.ones(2, SIDE, SIDE), constraints=display(SIDE), settings=Diversity())
