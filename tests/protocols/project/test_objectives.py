"""The catalogue of objectives: one complete row per objective of project.toml."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
from scipy.special import softmax

from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.objectives import NAMES, OBJECTIVES, Objective, ObjectiveName

MAY_BE_EMPTY = {"score_name"}


def test_every_objective_of_the_config_has_a_row_under_its_name():
    of_config = get_args(get_args(SynthesisConfig.model_fields["objectives"].annotation)[0])
    assert of_config == get_args(ObjectiveName) == NAMES == tuple(OBJECTIVES)
    assert all(row.name == name for name, row in OBJECTIVES.items())


@pytest.mark.parametrize("row", OBJECTIVES.values(), ids=lambda row: row.name)
def test_every_row_is_complete(row):
    empty = {f.name for f in fields(Objective) if getattr(row, f.name) == ""} - MAY_BE_EMPTY
    assert not empty
    assert bool(row.score_name) is row.log_score
    assert "{" not in row.score_label("spikes")


@pytest.mark.parametrize("name", ["label", "marker", "marker_name", "explanation"])
def test_no_two_objectives_look_or_read_alike(name):
    assert len({getattr(row, name) for row in OBJECTIVES.values()}) == len(OBJECTIVES)


def test_a_logarithm_is_shown_as_the_share_and_a_response_as_itself():
    assert OBJECTIVES["one_hot"].displayed(np.log(0.25)) == pytest.approx(0.25)
    assert OBJECTIVES["one_hot"].difference_name == "log S"
    assert OBJECTIVES["stretch"].displayed(-3.5) == -3.5
    assert OBJECTIVES["stretch"].difference_name == ""
    assert OBJECTIVES["stretch"].score_label("spikes/s") == "recorded response (spikes/s)"


def test_site_scores_are_responses_or_the_log_softmax_of_standardised_ones():
    rng = np.random.default_rng(0)
    responses, mean, sd = rng.gamma(2, 5, (7, 4)), rng.gamma(2, 5, 4), rng.uniform(1, 3, 4)
    assert np.array_equal(OBJECTIVES["stretch"].site_scores(responses, mean, sd, temperature=2.0), responses)
    expected = np.log(softmax((responses - mean) / sd / 2.0, axis=1))
    assert OBJECTIVES["one_hot"].site_scores(responses, mean, sd, temperature=2.0) == pytest.approx(expected, abs=1e-12)
