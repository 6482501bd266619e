"""Every function that takes an encoder and images works with an encoder on another device, and leaves it whole there."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import few_shot_encoder
from encoders.fields.sites import site_fields, site_maps
from encoders.fitting.earlier_networks import count_known
from encoders.fitting.predict import BATCH, answers_to, network_on, predict_stored
from tests.encoders.helpers.device import elsewhere, places


@pytest.fixture(scope="module")
def made(recording, tmp_path_factory):
    """A fitted pair with its cache, for a closed form and a trained readout."""
    found = {}
    for kind in ("ridge", "factorised"):
        cache = tmp_path_factory.mktemp(kind)
        found[kind] = recording.fit(readout=kind, cache=cache), cache
    return found


def moved(encoder):
    return copy.deepcopy(encoder).to("meta")


@pytest.mark.parametrize("kind", ["ridge", "factorised"])
@pytest.mark.parametrize("role", ["encoder", "validator"])
def test_stored_features_reach_an_encoder_on_another_device(made, recording, kind, role):
    pair, cache = made[kind]
    encoder = getattr(pair, role)
    expected = predict_stored(encoder, recording.images, cache)
    with elsewhere():
        there = moved(encoder)
        answers = predict_stored(there, recording.images, cache)
        assert answers.device.type == "cpu"
        assert answers.shape == expected.shape
        assert places(there) == {"meta"}


@pytest.mark.parametrize("device", ["cpu", "meta", None])
@pytest.mark.parametrize("seed", range(2))
def test_the_encoder_is_never_moved_in_part(made, recording, device, seed):
    """Any images, in the cache or not, computed on any device, by an encoder on either."""
    pair, cache = made["ridge"]
    rng = np.random.default_rng(seed)
    pixels = recording.images[rng.integers(0, 160, rng.integers(1, 30))]
    if device != "meta":  # numbers exist
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        expected = torch.stack([member(images) for member in pair.encoder.members])
        for place in (cache, None):
            found = predict_stored(pair.encoder, pixels, place, device=device)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with elsewhere():
        for encoder, home in ((pair.encoder, "cpu"), (moved(pair.encoder), "meta")):
            if (home, device) == ("meta", "cpu"):
                continue  # what has no numbers cannot come back
            assert predict_stored(encoder, pixels, None, device=device).device.type == "cpu"
            assert count_known(encoder, pixels, device) is not None
            assert places(encoder) == {home}


def test_a_network_is_copied_only_where_it_must_be(made):
    encoder = made["ridge"][0].encoder
    assert network_on(encoder, "cpu")[0] is encoder.backbone
    assert network_on(encoder, None)[0] is encoder.backbone
    network, place = network_on(encoder, "meta")
    assert network is not encoder.backbone
    assert place.type == "meta"
    assert network.weights_sha256 == encoder.backbone.weights_sha256


def test_batches_are_put_together_in_order(made):
    encoder = made["ridge"][0].encoder
    layers = encoder.backbone.layers
    generator = torch.Generator().manual_seed(0)
    sizes = {layer: made["ridge"][0].encoder.readouts[k].mean.shape[0] for k, layer in enumerate(layers)}
    features = {layer: torch.rand(BATCH + 3, size, generator=generator) for layer, size in sizes.items()}
    with torch.no_grad():
        expected = encoder.adjust(torch.stack([readout(features) for readout in encoder.readouts]))
    torch.testing.assert_close(answers_to(encoder, features), expected)


@pytest.mark.parametrize("kind", ["ridge", "factorised"])
def test_fields_and_judgements_on_another_device(made, recording, kind):
    encoder = made[kind][0].encoder
    pixels = recording.images[:60]
    with elsewhere() as device:
        there = moved(encoder)
        assert site_maps(there, pixels).shape == (5, 32, 32)
        assert len(site_fields(there, pixels)) == 5
        judged = there.judge(torch.zeros(2, 3, 32, 32, device=device))
        assert judged.mean.device == device
        assert places(there) == {"meta"}


def test_new_sites_on_another_device(made, recording):
    pixels, few = recording.images[:60], recording.index < 60
    values, index = recording.values[few][:, :2], recording.index[few]
    with elsewhere():
        there = moved(made["ridge"][0].encoder)
        new = few_shot_encoder(there, pixels, values, image_index=index, site_ids=["new a", "new b"])
        assert places(new) == places(there) == {"meta"}


def test_an_adjusted_encoder_answers_from_stored_features_on_another_device(made, recording):
    pair, cache = made["ridge"]
    adjusted = pair.encoder.adjusted(torch.full((5,), 2.0), torch.ones(5))
    plain, found = (predict_stored(e, recording.images[:7], cache) for e in (pair.encoder, adjusted))
    torch.testing.assert_close(found, 2 * plain + 1)
    with elsewhere():
        assert predict_stored(moved(adjusted), recording.images[:7], cache).shape == plain.shape
    assert replace(adjusted.info) == pair.encoder.info
