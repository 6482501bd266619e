"""A fit that begins with the networks that another recording tuned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from encoders import Encoder, ReadoutSpec, backbone, extract_features, to_images
from encoders.backbones import Backbone
from encoders.backbones.multiple import Backbones
from encoders.fitting.earlier_networks import start_from
from encoders.metrics import correlation
from encoders.splits import group_names, hold_out, stopping_images
from tests.encoders.helpers.simulated import LAYERS, TINY, Simulated, simulate, smooth_images

READOUT = ReadoutSpec("factorised", epochs=8)  # near its best, so that what a tuning gains is the network's
HOW = {"readout": READOUT, "folds": 2}
LITE0 = "offline:efficientnet_lite0"


@pytest.fixture(scope="module")
def earlier(recording: Simulated):
    return recording.fit(**HOW, fine_tune=4).encoder


@pytest.fixture(scope="module")
def later() -> Simulated:
    """Other sites, other photographs."""
    return simulate(n=80, sites=4, seed=5)


def test_the_encoder_takes_them_and_the_validator_does_not(earlier, later, tmp_path):
    assert earlier.info.settings["fine_tuning"]["epoch"] > 0
    pair = later.fit(**HOW, networks_from=earlier)
    assert pair.encoder.backbone.adapted.keys() == earlier.backbone.adapted.keys()
    for name, tensor in earlier.backbone.adapted.items():
        assert torch.equal(pair.encoder.backbone.adapted[name], tensor)
    assert pair.validator.backbone.weights_sha256 == backbone(TINY, LAYERS, weights="random").weights_sha256
    assert pair.encoder.info.settings["networks_from"] == pair.report.settings["networks_from"] == earlier.fingerprint
    assert pair.report.settings["held_out_known_to_networks"] == 0
    x = to_images(later.images[:5])
    for layer, features in earlier.backbone(x).items():
        torch.testing.assert_close(pair.encoder.backbone(x)[layer], features)
    loaded = Encoder.load(pair.encoder.save(tmp_path))
    assert loaded.fingerprint == pair.encoder.fingerprint
    torch.testing.assert_close(loaded(x), pair.encoder(x))
    assert "networks_from" not in later.fit(**HOW).encoder.info.settings  # nor in any encoder of before


def test_tuning_goes_on_from_them(earlier, later):
    pair = later.fit(**HOW, networks_from=earlier, fine_tune=4)
    told = pair.report.settings["fine_tuning"]
    assert told["epoch"] > 0
    moved = pair.encoder.backbone.adapted
    assert moved.keys() >= earlier.backbone.adapted.keys()
    given = earlier.backbone.adapted
    change = sum(float((moved[n] - given[n]).square().sum()) for n in given)
    plain = backbone(TINY, LAYERS, weights="random").tunable()
    before = sum(float((given[n] - plain[n]).square().sum()) for n in given)
    assert 0 < change < before  # from the tuned ones, not from those as loaded


def test_networks_that_know_the_area_predict_a_short_recording_better():
    """Sites that read a network whose weights were changed in secret: a long recording finds the change, short ones of other sites profit."""
    network = backbone(TINY, ["blocks.1.0"], weights="random")
    generator = torch.Generator().manual_seed(4)
    secret = network.adapt(
        {n: p + 2 * p.std() * torch.randn(p.shape, generator=generator) for n, p in network.tunable().items() if p.dim() == 4}
    )  # fmt: skip

    def record(n: int, sites: int, seed: int, shown: int) -> tuple[Simulated, np.ndarray, np.ndarray]:
        """A recording of the first `shown` images; the others, and the truth of these."""
        made = simulate(n=n, sites=sites, seed=seed)
        rng = np.random.default_rng(seed)
        features = extract_features(secret, made.images, pool=2)["blocks.1.0"].double().numpy()
        features = (features - features.mean(0)) / features.std(0)
        truth = features @ rng.normal(size=(features.shape[1], sites))
        truth /= truth.std(0)
        values = truth[made.index] + 0.3 * rng.normal(size=(len(made.index), sites))
        rows = made.index < shown
        options = made.options | {"site_ids": [f"v4_{u:03d}" for u in range(sites)], "layers": ("blocks.1.0",)}
        recorded = replace(
            made, images=made.images[:shown], values=values[rows], index=made.index[rows], options=options
        )
        return recorded, made.images[shown:], truth[shown:]

    how = {"readout": ReadoutSpec("factorised", epochs=40), "folds": 2}
    long, _, _ = record(500, 40, 11, shown=500)
    tuned = long.fit(**how, fine_tune=12).encoder
    gains = []
    for seed in (12, 13):  # of one short recording alone, the starts of the readouts blur the gain
        short, fresh, truth = record(370, 32, seed, shown=70)
        found = {}
        for name, source in (("trained", None), ("tuned", tuned)):
            pair = short.fit(**how, networks_from=source)
            columns = [short.options["site_ids"].index(s) for s in pair.encoder.site_ids]
            with torch.no_grad():
                predicted = pair.encoder(to_images(fresh)).mean(0).double().numpy()
            found[name] = dict(zip(pair.encoder.site_ids, correlation(predicted, truth[:, columns]), strict=True))
        assert found["tuned"].keys() == found["trained"].keys()
        gains += [found["tuned"][site] - r for site, r in found["trained"].items()]
    assert np.mean(gains) > 0.03
    assert np.mean(np.array(gains) > 0) > 0.6


def test_photographs_that_the_earlier_recording_was_fitted_to_are_counted(earlier, recording):
    names = group_names(recording.images)
    fitted_there = ~hold_out(names, 0.2, seed=0)
    fitted_there[fitted_there] = ~stopping_images([n for n, f in zip(names, fitted_there, strict=True) if f], 0)
    again = recording.fit(**HOW, networks_from=earlier)  # the same split by name and seed: none
    assert again.report.settings["held_out_known_to_networks"] == 0
    other = recording.fit(**HOW, networks_from=earlier, held_out=np.arange(len(recording.images)) < 40)
    assert other.report.settings["held_out_known_to_networks"] == fitted_there[:40].sum() > 10
    later = simulate(n=80, sites=4, seed=5)
    chained = later.fit(**HOW, fine_tune=1, networks_from=earlier).encoder
    end = recording.fit(**HOW, networks_from=chained)  # what its networks saw before is not on record
    assert end.report.settings["held_out_known_to_networks"] is None


def test_a_network_at_two_sizes_takes_that_of_its_size(earlier):
    def several(change: float) -> Backbones:
        parts = {
            name: backbone(TINY, ["blocks.1.0"], input_size=size, weights="random")
            for name, size in (("", None), ("48", 48))
        }
        name = next(iter(parts[""].tunable()))
        moved = {k: p.adapt({name: p.tunable()[name] + change * (i + 1)}) for i, (k, p) in enumerate(parts.items())}
        return Backbones(moved if change else parts)

    tuned = several(1.0)
    earlier_encoder = SimpleNamespace(backbone=tuned, fingerprint="enc_00000000")
    made = start_from(several(0.0), earlier_encoder)
    assert isinstance(made, Backbones)
    for name, part in made.networks.items():
        for key, tensor in part.adapted.items():
            assert torch.equal(tensor, tuned.networks[name].adapted[key])
    with pytest.raises(ValueError, match=r"at size 64: .* tuned it at the sizes None, 48"):
        start_from(backbone(TINY, ["blocks.1.0"], input_size=64, weights="random"), earlier_encoder)


def test_each_network_takes_its_own(earlier):
    several = Backbones(
        {
            "": backbone(TINY, LAYERS, weights="random"),
            f"{TINY}@48": backbone(TINY, ["blocks.1.0"], input_size=48, weights="random"),
            LITE0: backbone(LITE0, ["blocks.1.0"], weights="random"),
        }
    )
    made = start_from(several, earlier)
    assert isinstance(made, Backbones)
    own, resized, stranger = made.networks.values()
    assert own.adapted.keys() == resized.adapted.keys() == earlier.backbone.adapted.keys()
    assert not stranger.adapted
    assert isinstance(start_from(several.networks[""], earlier), Backbone)


def test_what_cannot_be_taken_is_refused(earlier, recording, later):
    with pytest.raises(
        ValueError, match=r"tuned no network; expected one of timm:test_efficientnet.*fitted without fine_tune"
    ):
        later.fit(**HOW, networks_from=recording.fit(**HOW).encoder)
    with pytest.raises(ValueError, match=r"tuned timm:test_efficientnet; expected one of offline:efficientnet_lite0"):
        start_from(backbone(LITE0, ["blocks.1.0"], weights="random"), earlier)
    with pytest.raises(ValueError, match=r"from other weights than are loaded here"):
        start_from(backbone(TINY, LAYERS, weights="random", seed=3), earlier)
    with pytest.raises(ValueError, match=r"with other batch norms folded .* reads the output of a single convolution"):
        start_from(backbone(TINY, ["blocks.0.0.conv", *LAYERS], weights="random"), earlier)


def test_images_of_another_shape_are_not_known(earlier):
    from encoders.fitting.earlier_networks import count_known

    assert count_known(earlier, smooth_images(4, 40)) is None
