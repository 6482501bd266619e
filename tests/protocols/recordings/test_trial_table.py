from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import image_means, remove_block_means, trial_table


def recording(rng, images=6, repeats=16, blocks=4, sites=3) -> Responses:
    image = np.concatenate([rng.permutation(np.repeat(np.arange(images), repeats // blocks)) for _ in range(blocks)])
    rep = np.array([(image[:t] == image[t]).sum() for t in range(len(image))])
    return Responses(
        values=rng.poisson(5.0, (len(image), sites)).astype(float),
        image_ids=np.array([f"im_{i}" for i in image]),
        site_ids=tuple(f"s_{s}" for s in range(sites)),
        unit="spikes",
        window_ms=(0.0, 100.0),
        block=np.repeat(np.arange(blocks), len(image) // blocks),
        rep=rep,
    )


IMAGES = [f"im_{i}" for i in range(6)]


def test_halves_are_balanced_in_every_block():
    table = trial_table(recording(np.random.default_rng(0)), IMAGES)
    for image in IMAGES:
        rows = table.rows(image)
        for block in range(4):
            assert table.halves[rows[table.blocks[rows] == block]].sum() == 2


def test_odd_trials_of_successive_blocks_go_to_either_half_in_turn():
    table = trial_table(recording(np.random.default_rng(0), repeats=12), IMAGES)
    for image in IMAGES:
        rows = table.rows(image)
        assert table.halves[rows].sum() == 6
        per_block = [table.halves[rows[table.blocks[rows] == b]].sum() for b in range(4)]
        assert sorted(per_block) == [1, 1, 2, 2]


@pytest.mark.parametrize("rep", [True, False])
def test_the_order_of_trials_and_sites_changes_nothing(rep):
    rng = np.random.default_rng(1)
    responses = recording(rng)
    responses = responses if rep else replace(responses, rep=None)
    mixed = responses.select(rng.permutation(len(responses.values))).sites(("s_2", "s_0", "s_1"))
    one, two = trial_table(responses, IMAGES, seed=4), trial_table(mixed, IMAGES[::-1], seed=4)
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.halves, two.halves)
    assert one.site_ids == two.site_ids
    for image in IMAGES:
        np.testing.assert_array_equal(one.rows(image), two.rows(image))


def test_the_split_depends_on_the_seed_but_not_on_other_images():
    responses = recording(np.random.default_rng(2))
    one, other = trial_table(responses, IMAGES, seed=0), trial_table(responses, IMAGES, seed=1)
    assert any(one.halves != other.halves)
    alone = trial_table(responses, ["im_3"], seed=0)
    np.testing.assert_array_equal(alone.halves[alone.rows("im_3")], one.halves[one.rows("im_3")])


def test_block_means_are_removed_and_the_grand_mean_is_kept():
    rng = np.random.default_rng(3)
    blocks = np.repeat([0, 1], 50)
    values = rng.normal(size=(100, 2)) + 10 * blocks[:, None]
    values[3, 0] = np.nan
    corrected = remove_block_means(values, blocks)
    np.testing.assert_allclose(np.nanmean(corrected, 0), np.nanmean(values, 0))
    np.testing.assert_allclose(np.nanmean(corrected[:50], 0), np.nanmean(corrected[50:], 0))
    assert np.isnan(corrected[3, 0])
    assert np.isnan(corrected).sum() == 1


def test_unknown_blocks_form_a_stratum_and_are_noted():
    responses = recording(np.random.default_rng(4))
    assert "no block column" in trial_table(replace(responses, block=None), IMAGES).notes[0]
    table = trial_table(replace(responses, block=np.where(responses.block == 2, -1, responses.block)), IMAGES)
    assert table.n_blocks == 4
    assert "24 trials without a block number" in table.notes[0]
    assert trial_table(responses, IMAGES).notes == ()


def test_invalid_and_empty_trials_are_left_out():
    responses = recording(np.random.default_rng(5))
    values = responses.values.copy()
    values[:5] = np.nan
    valid = np.ones(len(values), dtype=bool)
    valid[5:12] = False
    table = trial_table(replace(responses, values=values, valid=valid), IMAGES)
    assert len(table.values) == len(values) - 12


def test_image_means():
    responses = replace(recording(np.random.default_rng(6)), block=None)
    table = trial_table(responses, IMAGES)
    np.testing.assert_allclose(image_means(table, IMAGES), responses.mean(IMAGES))
    assert np.isnan(image_means(table, ["im_99"])).all()
