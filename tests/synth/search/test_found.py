"""Scores from known responses are those of the objective; found photographs become a batch like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth import StimulusBatch, cautious, diverse, margin, one_hot, stretch, within
from synth.contract import attributes_of
from synth.search import RowScorer, found_batch

SITES = ["v4_000", "v4_002"]
OBJECTIVE = cautious(stretch(SITES) | one_hot(SITES) | margin(SITES), 0.5) | (
    stretch(["v4_001"]) + 2.0 * within(["v4_003"], low=-1.0, high=1.0)
)


def test_scores_are_those_of_the_objective_whatever_is_asked_together(make_encoder: Any) -> None:
    encoder = make_encoder(members=3)
    pixels = torch.randint(0, 256, (23, 24, 24, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    responses = encoder(images)
    known = attributes_of(encoder)
    scorer = RowScorer(OBJECTIVE, known, chunk=8)
    scores = scorer(responses.numpy())
    for r in range(len(OBJECTIVE)):
        bound = OBJECTIVE[r].repeat(len(images)).bind(known.site_ids, known.mean, known.sd)
        np.testing.assert_allclose(scores[r], bound(images, responses).numpy(), rtol=1e-5, atol=1e-6)
    parts = [scorer(responses[:, a:b].numpy()) for a, b in ((0, 1), (1, 14), (14, 23))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), scores)


def test_rows_of_a_set_and_scores_that_are_not_finite_are_refused(encoder: Any) -> None:
    known = attributes_of(encoder)
    with pytest.raises(ValueError, match="made as a set"):
        RowScorer(diverse([SITES[0]], count=2), known)
    with pytest.raises(ValueError, match="expected a finite score"):
        RowScorer(stretch(SITES), known)(np.full((4, 5), np.nan, dtype=np.float32))


def test_a_found_batch_holds_the_encoders_answers_to_its_pixels(make_encoder: Any, tmp_path: Path) -> None:
    encoder, validator = make_encoder(members=2), make_encoder(seed=1)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 10, 24, 24, 3), dtype=np.uint8)
    objective = stretch(["v4_000", "v4_001"]) | one_hot(["v4_002", "v4_003"])
    names = [[f"lib_{r}_{k}" for k in range(10)] for r in range(4)]
    batch = found_batch(encoder, objective, pixels, names=names, settings={"library": "x"}).validate(validator)
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(batch.predicted, encoder(images).mean(0).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch.images.reshape(pixels.shape), pixels)
    assert batch.start_ids[13] == "lib_1_3"
    assert batch.seeds[13] == 3
    assert batch.row_names[13] == "stretch:v4_001"
    again = StimulusBatch.load(batch.save(tmp_path / "batch.h5"))
    assert again.settings["generator"] == "search"
    np.testing.assert_array_equal(again.scores, batch.scores)
    with pytest.raises(ValueError, match="expected 3 rows"):
        found_batch(encoder, objective[:3], pixels, names=names, settings={})
