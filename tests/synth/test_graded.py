"""Graded images: snapshots of an ascent, each with its own predictions, that leave the ascent as it is."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synth import StimulusBatch, ascend, exact_statistics, fourier, one_hot, stretch

SHAPE = (3, 28, 28)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)


def climb(encoder, **changed) -> StimulusBatch:
    arguments = {"constraints": [DISPLAY], "seeds": (0, 1), "steps": 12, "check_every": 5} | changed
    return ascend(encoder, stretch(encoder.site_ids[:2]) | one_hot(encoder.site_ids[2]), fourier(SHAPE), **arguments)


def same(a: StimulusBatch, b: StimulusBatch, *, but: tuple[str, ...] = ()) -> None:
    for f in fields(StimulusBatch):
        if f.name not in but:
            x, y = getattr(a, f.name), getattr(b, f.name)
            np.testing.assert_array_equal(x, y, err_msg=f.name) if isinstance(x, np.ndarray) else None
            assert isinstance(x, np.ndarray | StimulusBatch) or x == y, f.name


def test_snapshots_change_neither_the_draws_nor_the_result(encoder) -> None:
    plain, graded = climb(encoder), climb(encoder, snapshots=(7, 2, 5, 2))
    same(plain, graded, but=("settings", "graded"))
    assert plain.graded is None
    assert graded.settings["snapshots"] == [2, 5, 7]
    assert {**graded.settings, "snapshots": []} == plain.settings


@pytest.mark.parametrize("members", [1, 3])
def test_a_graded_images_score_and_prediction_belong_to_its_pixels(members: int, make_encoder) -> None:
    encoder = make_encoder(members=members)
    batch = climb(encoder, snapshots=(2, 7), batch_size=4)
    graded = batch.graded
    assert graded is not None
    assert graded.parents.tolist() == [i for i in range(6) for _ in range(2)]
    assert graded.steps.tolist() == [2, 7] * 6
    for name in ("row_names", "kinds", "targets"):
        assert list(getattr(graded, name)) == [getattr(batch, name)[p] for p in graded.parents]
    assert graded.seeds.tolist() == [0, 0, 1, 1] * 3
    images = torch.from_numpy(graded.images).permute(0, 3, 1, 2).float() / 255
    answers = encoder(images).reshape(members, 12, -1)
    assert np.allclose(answers.mean(0), graded.predicted, atol=1e-6)
    bound = graded.objective.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    assert np.allclose(bound(images, encoder(images)), graded.scores, atol=1e-5)
    if members > 1:
        assert np.allclose(answers.std(0), graded.predicted_sd, atol=1e-6)
    assert not any(DISPLAY.violations(torch.from_numpy(graded.images)))


def test_a_snapshot_is_the_iterate_of_a_shorter_ascent(encoder) -> None:
    """After k steps the iterate is what an ascent of k steps ends with (checked only there, and at its start)."""
    graded = climb(encoder, snapshots=(5,)).graded
    short = climb(encoder, steps=5, check_every=5)
    ended = short.trace[:, -1] > short.trace[:, 0]
    assert ended.any()
    np.testing.assert_array_equal(graded.images[ended], short.images[ended])
    np.testing.assert_array_equal(graded.scores, short.trace[:, -1])


def test_the_scores_rise_from_snapshot_to_snapshot_where_the_ascent_rises(encoder) -> None:
    batch = climb(encoder, snapshots=(0, 3, 12), transforms=(), learning_rate=0.02)
    levels = batch.graded.scores.reshape(6, 3)
    assert (np.diff(levels, axis=1) > 0).all()
    np.testing.assert_array_equal(levels[:, 0], batch.trace[:, 0])


def test_an_image_that_has_stopped_has_no_later_snapshot(encoder) -> None:
    batch = climb(encoder, snapshots=(1, 11), check_every=1, patience=1, learning_rate=3.0)
    stopped = np.isnan(batch.trace[:, 11])
    assert stopped.any()
    assert batch.graded.parents[batch.graded.steps == 11].tolist() == np.flatnonzero(~stopped).tolist()


def test_graded_images_follow_their_image_through_take_validate_and_file(encoder, make_encoder, tmp_path: Path) -> None:
    batch = climb(encoder, snapshots=(2, 7)).validate(make_encoder(seed=9))
    np.testing.assert_array_equal(
        batch.graded.validator_predicted, batch.graded.validate(make_encoder(seed=9)).validator_predicted
    )
    part = batch.take([4, 1])
    assert part.graded.parents.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(part.graded.images, batch.graded.images[[8, 9, 2, 3]])
    assert part.take([1]).graded.parents.tolist() == [0, 0]
    again = StimulusBatch.load(batch.save(tmp_path / "a.h5"))
    same(again, batch)
    same(again.graded, batch.graded)
    assert again.graded.graded is None
    assert len(batch.best_per_target().graded) == 6
    assert len(batch[:0].graded) == 0
    assert len(StimulusBatch.load(batch[:0].save(tmp_path / "none.h5")).graded) == 0


def test_wrong_snapshots_and_parents_are_refused(encoder) -> None:
    for wrong in ((13,), (-1,)):
        with pytest.raises(ValueError, match="expected steps from 0 to 12"):
            climb(encoder, snapshots=wrong)
    batch = climb(encoder, snapshots=(2,))
    with pytest.raises(ValueError, match="from 0 to 5"):
        replace(batch, graded=replace(batch.graded, parents=batch.graded.parents + 1))
    with pytest.raises(ValueError, match="parents None"):
        replace(batch, graded=replace(batch.graded, parents=None))
