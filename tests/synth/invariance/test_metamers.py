"""Metamers of encoders whose null space is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth.answers import images_of, z_scores_to
from synth.invariance.metamers import Matching, find_metamers, largest_deviation, starts_of
from synth.invariance.site import shown
from tests.synth.helpers.known_invariance import Planes, display, pictures, weights

SETTINGS = Matching(tolerance=0.25, steps=80)


@pytest.fixture(scope="module")
def made() -> tuple:
    encoder, limits = Planes(weights(5, size=4.0)), display()
    images = shown(pictures(4, contrast=0.15), limits)
    sites = encoder.site_ids[:4]  # the fifth is free
    references = {"a": images[0], "b": images[1]}
    starts = {name: starts_of(image, images[2:], 3, name=name)[0] for name, image in references.items()}
    batch = find_metamers(encoder, sites, references, starts=starts, constraints=limits, settings=SETTINGS)
    return encoder, limits, images, starts, batch


def test_a_metamer_differs_in_the_null_space_alone(made: tuple) -> None:
    encoder, limits, images, _, batch = made
    difference = (images_of(batch.images) - images_of(images[[0, 0, 0, 1, 1, 1]])).flatten(1).double()
    rows = encoder.weights[:4].flatten(1).double()
    named = difference @ torch.linalg.pinv(rows) @ rows
    assert (difference @ rows.T).abs().max() < SETTINGS.tolerance
    largest = named.norm(dim=1) / difference.norm(dim=1)
    assert largest.max() < 0.1, "nearly all of the difference lies where the sites do not see"
    assert difference.norm(dim=1).min() / 16 > 0.15, "RMS distance as of two unrelated images, sqrt(2) x 0.15, or so"
    assert not any(limits[0].violations(torch.from_numpy(batch.images)))


def test_sites_that_are_not_named_are_free(made: tuple) -> None:
    encoder, _, images, _, batch = made
    z, wanted = z_scores_to(encoder, batch.images), z_scores_to(encoder, images[[0, 0, 0, 1, 1, 1]])
    assert largest_deviation(z[:, :4], wanted[:, :4]).max() < SETTINGS.tolerance
    assert largest_deviation(z, wanted).max() > 2 * SETTINGS.tolerance


def test_scores_are_those_of_the_pattern_and_predictions_of_the_pixels(made: tuple) -> None:
    encoder, _, images, _, batch = made
    z, wanted = z_scores_to(encoder, batch.images)[:, :4], z_scores_to(encoder, images[[0, 0, 0, 1, 1, 1]])[:, :4]
    assert batch.scores == pytest.approx(-((z - wanted) ** 2).mean(1), abs=1e-5)
    assert batch.predicted == pytest.approx(encoder(images_of(batch.images)).numpy(), abs=1e-5)
    assert set(batch.kinds) == {"pattern"}


def test_an_image_is_the_same_alone(made: tuple) -> None:
    encoder, limits, images, starts, batch = made
    alone = find_metamers(
        encoder,
        encoder.site_ids[:4],
        {"b": images[1]},
        starts={"b": starts["b"]},
        constraints=limits,
        settings=SETTINGS,
    )
    assert np.abs(alone.images.astype(int) - batch.images[3:]).max() <= 2
    assert alone.predicted == pytest.approx(batch.predicted[3:], abs=0.02)


def test_starts_are_the_negative_then_noise_and_photographs_in_turn() -> None:
    images = pictures(3)
    starts, kinds = starts_of(images[0], images[1:], 5, name="a")
    assert kinds == ["negative", "noise", "photograph", "noise", "photograph"]
    assert starts[0] == pytest.approx(1 - images_of(images[:1])[0].numpy())
    assert starts[2] == pytest.approx(images_of(images[1:2])[0].numpy())
    assert starts[4] == pytest.approx(images_of(images[2:3])[0].numpy())
    again, _ = starts_of(images[0], images[1:], 2, name="a")
    assert np.array_equal(again, starts[:2])
    other, _ = starts_of(images[0], images[1:], 2, name="b")
    assert not np.array_equal(other[1], starts[1])
