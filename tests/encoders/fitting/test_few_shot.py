"""New sites fitted beside a fitted encoder, from few images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import correlation
from encoders.encoder import load
from encoders.fitting.few_shot import few_shot_encoder
from encoders.readouts import PopulationReadout


@pytest.fixture(scope="module")
def few(recording):
    """Trials of two new sites that mix the known ones, for 60 images, the last 20 of them held out."""
    rng = np.random.default_rng(5)
    truth = 3 + (recording.truth[:60] - 3) @ np.array([[1, 0], [1, 1], [0, 1], [0, -1], [0.5, 0]])
    index = np.repeat(np.arange(60), 4)
    return {
        "images": recording.images[:60],
        "values": truth[index] + 0.5 * rng.normal(size=(240, 2)),
        "image_index": index,
        "site_ids": ["new_0", "new_1"],
        "held_out": np.arange(60) >= 40,
    }


def fit(pair, few, **changes):
    given = few | changes
    return few_shot_encoder(
        pair.encoder, given.pop("images"), given.pop("values"), image_index=given.pop("image_index"), **given
    )


def test_new_sites_are_predicted_and_described(pair, few, recording):
    before = pair.encoder.fingerprint
    encoder = fit(pair, few)
    assert pair.encoder.fingerprint == before
    assert encoder.site_ids == encoder.target_ids == ("new_0", "new_1")
    assert encoder.info.settings["known_encoder"] == before
    assert len(encoder.members) == len(pair.encoder.members)
    assert all(isinstance(readout, PopulationReadout) for readout in encoder.readouts)
    for name in ("reliability", "left_out_r", "held_out_r"):
        assert min(encoder.scores[name]) > 0.6
    means = few["values"].reshape(60, 4, 2).mean(1)[:40]
    np.testing.assert_allclose(encoder.natural_mean, means.mean(0), rtol=1e-5)
    noise = few["values"].reshape(60, 4, 2)[:40].var(1, ddof=1).mean(0) / 4
    np.testing.assert_allclose(encoder.natural_sd, np.sqrt(means.var(0, ddof=1) - noise), rtol=1e-5)
    images = torch.from_numpy(recording.images[40:60]).permute(0, 3, 1, 2).float() / 255
    r = correlation(encoder.mean(images).double().numpy(), few["values"].reshape(60, 4, 2).mean(1)[40:])
    np.testing.assert_allclose(r, encoder.scores["held_out_r"], atol=1e-4)
    judged = encoder.judge(images)
    assert judged.mean.shape == (20, 2)
    torch.testing.assert_close(judged.distance, pair.encoder.judge(images).distance)


def test_a_saved_encoder_predicts_the_same(pair, few, tmp_path):
    encoder = fit(pair, few)
    again = load(encoder.save(tmp_path))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(images), encoder(images), rtol=0, atol=0)
    assert again.fingerprint == encoder.fingerprint


def test_held_out_images_are_never_touched(pair, few):
    whole = fit(pair, few)
    held = few["held_out"]
    values = np.where(held[few["image_index"]][:, None], 1e3, few["values"])
    images = few["images"].copy()
    images[held] = np.random.default_rng(0).integers(0, 256, images[held].shape, dtype=np.uint8)
    changed = fit(pair, few, values=values, images=images)
    for a, b in zip(whole.readouts, changed.readouts, strict=True):
        for name, tensor in a.state_dict().items():
            torch.testing.assert_close(tensor, b.state_dict()[name], rtol=0, atol=0)
    assert changed.scores["left_out_r"] == whole.scores["left_out_r"]
    assert changed.scores["held_out_r"] != whole.scores["held_out_r"]


def test_sites_of_noise_are_no_targets(pair, few):
    noise = np.random.default_rng(3).normal(size=few["values"].shape)
    assert len(fit(pair, few, values=noise, averages=True).target_ids) < 2
    assert fit(pair, few, averages=True).scores["reliability"] == [None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_index": np.full(240, -1)}, "no images with responses among 60"),
        ({"held_out": None, "image_index": np.arange(240) % 12}, "site new_0: 12 images with a response; expected 20"),
        ({"site_ids": ["new_0", "v4_001"]}, "v4_001 of them in the encoder; expected new sites"),
        ({"site_ids": ["new_0"]}, "1 site ids for 2 sites"),
        ({"image_index": np.arange(240)}, "image_index reaches 239 for 60 images"),
        ({"images": np.zeros((60, 8, 8, 3), np.uint8), "held_out": None}, r"\(3, 8, 8\); expected the encoder's"),
        ({"values": np.ones((240, 2))}, "site new_0: the response never varies"),
    ],
)
def test_what_cannot_be_fitted_is_named(pair, few, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(pair, few, **changes)


def test_an_adjusted_encoder_is_not_stripped_in_silence(pair, few):
    values = few["values"]
    adjusted = replace(pair, encoder=pair.encoder.adjusted(torch.full((5,), 2.0), torch.ones(5)))
    with pytest.raises(ValueError, match=r"gain and offset .*unadjusted"):
        fit(adjusted, few, values=values)
    plain = replace(pair, encoder=adjusted.encoder.unadjusted())
    assert fit(plain, few).fingerprint == fit(pair, few).fingerprint
