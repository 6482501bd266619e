"""One network tuned on several recordings, and the one encoder of all their sites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from encoders import Encoder, TrunkPart, TuningSchedule, check_encoder, join_encoders, to_images, tune_together
from encoders.encoder import load
from tests.encoders.helpers.planted import FAST, Planted, frozen_fit, plant, same, state

HALF = 3  # sites of the first recording


def part(planted: Planted, half: int, **changes: Any) -> TrunkPart:
    """Every second image and half of the sites of a planted recording, as a recording of its own."""
    rows, sites = slice(half, None, 2), slice(HALF * half, HALF * (half + 1))
    images, targets, fitted = planted.images[rows], planted.targets[rows, sites], planted.fitted[rows]
    encoder = frozen_fit(planted.encoder.backbone, images[fitted], targets[fitted])
    return TrunkPart(
        **{
            "encoder": encoder,
            "pixels": images,
            "targets": targets,
            "fitted": fitted,
            "stopping": (np.arange(len(images)) % 4 == 3) & ~fitted,
        }
        | changes
    )


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant()


@pytest.fixture(scope="module")
def parts(planted: Planted) -> list[TrunkPart]:
    return [part(planted, 0), part(planted, 1)]


@pytest.fixture(scope="module")
def trunk(parts: list[TrunkPart]) -> Any:
    return tune_together(parts, TuningSchedule(epochs=3, readout_learning_rate=1e-3), layers="late")


def test_one_network_serves_all_recordings_better_than_the_frozen_one(parts, trunk):
    assert trunk.epoch > 0
    assert trunk.stopping_errors[trunk.epoch] == min(trunk.stopping_errors) < trunk.stopping_errors[0]
    assert trunk.losses[-1] < trunk.losses[0]
    first, second = trunk.encoders
    assert first.backbone.weights_sha256 == second.backbone.weights_sha256 != parts[0].encoder.backbone.weights_sha256
    given = parts[0].encoder
    assert not given.backbone.adapted
    assert not any(p.requires_grad for p in given.parameters())
    assert not same(state(given), state(first))
    assert first.info.settings["fine_tuning"]["together_with"] == [parts[1].encoder.fingerprint]


def test_of_one_recording_it_is_fine_tune_bit_for_bit(planted):
    schedule = TuningSchedule(epochs=1, learning_rate=FAST["learning_rate"], readout_learning_rate=1e-3)
    given = TrunkPart(
        encoder=planted.encoder,
        pixels=planted.images,
        targets=planted.targets,
        fitted=planted.fitted,
        stopping=planted.stopping,
    )
    robust = {"adversarial_step": 1.0, "decay": 1e-3, "averaged": 1}
    found = tune_together([given], replace(schedule, **robust), layers="late")
    alone = planted.tune(epochs=1, **robust)
    assert found.encoders[0].info.settings["fine_tuning"]["adversarial_step"] == 1.0
    assert found.stopping_errors == alone.report.stopping_errors
    assert found.epoch == alone.report.epoch == 1
    assert same(state(found.encoders[0]), state(alone.encoder))


def test_different_networks_and_no_recording_are_refused(parts, trunk):
    with pytest.raises(ValueError, match="no recording to tune on"):
        tune_together([])
    other = replace(parts[1], encoder=trunk.encoders[1])
    with pytest.raises(ValueError, match=r"part 1: encoder enc_.* Fix: fit all with the same layers"):
        tune_together([parts[0], other])
    with pytest.raises(ValueError, match=r"adversarial_step, decay and averaged are \(-1.0, 0.0, 0\)"):
        tune_together(parts, TuningSchedule(adversarial_step=-1.0))
    with pytest.raises(ValueError, match="found as fitted and stopping"):
        tune_together([replace(parts[0], stopping=parts[0].stopping | parts[0].fitted)])


def test_the_joined_encoder_answers_as_its_parts_do(trunk, parts, tmp_path):
    joined = join_encoders(trunk.encoders, ["day1", "day2"])
    assert joined.site_ids[:1] + joined.site_ids[-1:] == ("day1_v4_0", "day2_v4_2")
    images = to_images(parts[0].pixels[:4])
    with torch.no_grad():
        expected = torch.cat([encoder(images) for encoder in trunk.encoders], -1)
        torch.testing.assert_close(joined(images), expected, rtol=0, atol=0)
        again = load(joined.save(tmp_path))
        torch.testing.assert_close(again(images), expected, rtol=0, atol=0)
    assert again.fingerprint == joined.fingerprint
    assert [p["sites"] for p in joined.info.settings["trunk"]] == [HALF, HALF]
    check_encoder(joined, joined.image_shape)


def test_encoders_that_cannot_be_joined_are_refused(trunk, parts):
    with pytest.raises(ValueError, match="expected one name each, all different"):
        join_encoders(trunk.encoders, ["day", "day"])
    with pytest.raises(ValueError, match=r"differs from enc_.* in its network"):
        join_encoders([trunk.encoders[0], parts[1].encoder], ["day1", "day2"])
    single = trunk.encoders[1].members[0]
    assert isinstance(single, Encoder)
    with pytest.raises(ValueError, match="the layers of its members"):
        join_encoders([trunk.encoders[0], single], ["day1", "day2"])
    gained = trunk.encoders[1].adjusted(torch.full((HALF,), 2.0), torch.zeros(HALF))
    with pytest.raises(ValueError, match="gain and offset"):
        join_encoders([trunk.encoders[0], gained], ["day1", "day2"])
