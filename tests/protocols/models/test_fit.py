"""Weights of the images in a refit: age, the floor and the share of natural images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from encoders import NoReliableSites, SiteReport
from protocols.models.fit import image_weights, no_reliable_site
from protocols.project.config.config import Config
from protocols.project.display import Display
from protocols.recordings.dataset import Dataset


def trials(natural: int, controllers: int, rounds: list[list[int]]) -> Dataset:
    """Images with one trial for every entry of `rounds`, a list of the rounds in which each was shown."""
    n = natural + controllers
    index = np.repeat(np.arange(n), [len(r) for r in rounds])
    ids = tuple(f"i{k}" for k in range(n))
    pixels, values = np.zeros((n, 2, 2, 1), np.uint8), np.ones((len(index), 1))
    return Dataset(
        pixels=pixels,
        source_ids=ids,
        groups=ids,
        values=values,
        image_index=index,
        site_ids=("v4_000",),
        unit="au",
        natural=natural,
        trial_rounds=np.array([r for each in rounds for r in each]),
    )


def test_weights_fade_with_age_down_to_the_floor_of_natural_images() -> None:
    data = trials(2, 2, [[0, 0], [0, 2], [1], [2]])
    fitted = np.ones(4, dtype=bool)
    weights = image_weights(data, fitted, newest=2, recency=0.5, floor=0.4, share=0.01)
    assert weights.factors is not None
    np.testing.assert_allclose(weights.factors, [0.4, (0.25 + 1) / 2, 0.5, 1.0])
    assert weights.natural_before == pytest.approx(4 / 6)
    assert weights.natural_share == pytest.approx((0.8 + 1.25) / (0.8 + 1.25 + 1.5))


def test_without_forgetting_and_with_enough_natural_images_all_factors_are_one() -> None:
    data = trials(3, 1, [[0], [0], [0], [1]])
    assert image_weights(data, np.ones(4, dtype=bool), newest=1, recency=1.0, floor=0.5, share=0.3).factors is None


def test_where_no_fitted_image_was_shown_the_natural_share_is_zero_and_nothing_is_weighed() -> None:
    data = trials(2, 1, [[0], [0], [1]])
    for fitted in (np.zeros(3, dtype=bool), np.array([False, True, False])):
        weights = image_weights(
            replace(data, image_index=np.where(data.image_index == 1, -1, data.image_index)),
            fitted,
            newest=1,
            recency=1.0,
            floor=0.5,
            share=0.3,
        )
        assert (weights.natural_share, weights.natural_before) == (0.0, 0.0)
        assert weights.factors is None


def test_the_natural_share_is_reached_by_the_fitted_images() -> None:
    data = trials(3, 2, [[0], [0], [0], [1] * 10, [1] * 10])
    fitted = np.array([True, True, False, True, True])
    weights = image_weights(data, fitted, newest=1, recency=1.0, floor=0.5, share=0.3)
    assert weights.factors is not None
    counts = np.array([1, 1, 1, 10, 10])
    total = counts * weights.factors * fitted
    assert total[:3].sum() / total.sum() == pytest.approx(0.3)
    assert weights.natural_share == pytest.approx(0.3)
    assert weights.natural_before == pytest.approx(2 / 22)


def test_the_cause_of_no_reliable_site_is_that_of_the_sites_reasons(tmp_path):
    project = SimpleNamespace(folder=tmp_path, config=Config(display=Display(width_px=16, height_px=16, size_deg=1.0)))
    reasons = [
        "reliability unknown: 0 images with two trials",
        "reliability 0.02 below 0.3",
        "the response never varies",
    ]
    said = []
    for reason in reasons:
        sites = (SiteReport("v4_000", 3, 3, reason=reason),)
        error = NoReliableSites(SimpleNamespace(sites=sites))
        said.append(str(no_reliable_site(project, error)))
    assert ["trial/averaged_over" in words for words in said] == [True, False, False]
    assert ["joined wrongly" in words for words in said] == [False, True, False]
    assert ["empty export" in words for words in said] == [False, False, True]
