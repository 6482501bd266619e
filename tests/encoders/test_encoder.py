from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import Encoder, EncoderInfo, Ensemble, LinearReadout, backbone, to_images
from encoders.backbones.networks import build_network
from encoders.backbones.tensors import hash_tensors

TINY = "timm:test_efficientnet"
INFO = {
    "site_ids": ("a", "b"),
    "target_ids": ("a",),
    "response_unit": "spikes",
    "image_shape": (1, 16, 16),
    "field_of_view_deg": 4.0,
    "background": 128,
    "colour": "grey",
}


@pytest.fixture
def images(recording):
    return to_images(recording.images[:6])


def test_ensemble_shapes_and_members(pair, images):
    out = pair.encoder(images)
    assert out.shape == (2, 6, 5)
    torch.testing.assert_close(pair.encoder.mean(images), out.mean(0))
    torch.testing.assert_close(pair.encoder.sd(images), out.std(0))
    for m, member in enumerate(pair.encoder.members):
        torch.testing.assert_close(member(images), out[m])
        assert member.backbone is pair.encoder.backbone
    assert pair.validator(images).shape == (6, 5)
    assert pair.validator.members == (pair.validator,)


def test_members_share_one_backbone_pass(pair, images):
    calls = []
    handle = pair.encoder.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    pair.encoder(images)
    handle.remove()
    assert calls == [1]


def test_predictions_are_in_the_recorded_unit(pair, recording):
    predicted = pair.encoder.mean(to_images(recording.images)).numpy()
    np.testing.assert_allclose(predicted.mean(0), recording.values.mean(0), atol=0.15)
    np.testing.assert_allclose(pair.encoder.natural_mean, recording.values.mean(0), atol=0.15)
    np.testing.assert_allclose(pair.encoder.natural_sd, recording.truth.std(0), atol=0.15)


def test_never_in_training_mode_and_nothing_to_train(pair):
    pair.encoder.train()
    assert not any(module.training for module in pair.encoder.modules())
    assert not any(p.requires_grad for p in pair.encoder.parameters())


def test_one_member_has_no_sd(pair, images):
    encoder = pair.encoder
    single = Ensemble(
        encoder.backbone,
        [encoder.readouts[0]],
        encoder.info,
        natural_mean=encoder.natural_mean,
        natural_sd=encoder.natural_sd,
    )
    assert torch.isnan(single.sd(images)).all()


@pytest.mark.parametrize("which", ["encoder", "validator"])
def test_saved_and_loaded_is_the_same(pair, images, tmp_path, which):
    source = getattr(pair, which)
    path = source.save(tmp_path)
    assert path == tmp_path / source.fingerprint
    assert sorted(p.name for p in path.iterdir()) == ["encoder.json", "encoder.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == [source.fingerprint]  # no temporary folder is left
    loaded = Encoder.load(path)
    assert type(loaded) is type(source)
    assert torch.equal(loaded(images), source(images))
    assert loaded.fingerprint == source.fingerprint
    assert loaded.info == source.info
    assert torch.equal(loaded.natural_sd, source.natural_sd)
    for name in (
        "site_ids",
        "target_ids",
        "response_unit",
        "image_shape",
        "field_of_view_deg",
        "background",
        "colour",
        "scores",
    ):
        assert getattr(loaded, name) == getattr(source, name)
    assert source.save(tmp_path) == path  # again: nothing to do


def test_a_failed_save_leaves_nothing(pair, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        pair.encoder.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def alter_weights(path):
    tensors = load_file(path / "encoder.safetensors")
    tensors["readouts.0.coef"][0, 0] += 1e-3
    save_file(tensors, path / "encoder.safetensors")


def alter_json(path, change):
    record = json.loads((path / "encoder.json").read_text())
    change(record)
    (path / "encoder.json").write_text(json.dumps(record))


ALTERATIONS = {
    "weights": alter_weights,
    "unit": lambda p: alter_json(p, lambda r: r["info"].update(response_unit="dff")),
    "field of view": lambda p: alter_json(p, lambda r: r["info"].update(field_of_view_deg=8.0)),
    "site order": lambda p: alter_json(p, lambda r: r["info"].update(site_ids=r["info"]["site_ids"][::-1])),
    "score": lambda p: alter_json(p, lambda r: r["info"]["scores"].update(held_out_r=[1.0] * 5)),
    "layer": lambda p: alter_json(p, lambda r: r["readouts"][0].update(pool=3)),
    "backbone seed": lambda p: alter_json(p, lambda r: r["backbone"].update(seed=1)),
    "fingerprint": lambda p: alter_json(p, lambda r: r.update(fingerprint="enc_00000000")),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_altered_files_are_refused(pair, tmp_path, name):
    path = pair.encoder.save(tmp_path)
    ALTERATIONS[name](path)
    with pytest.raises(ValueError, match=r"weights or encoder.json were altered after saving"):
        Encoder.load(path)


def test_broken_and_missing_files_are_named(pair, tmp_path):
    with pytest.raises(ValueError, match=r"no encoder.json and encoder.safetensors"):
        Encoder.load(tmp_path)
    path = pair.encoder.save(tmp_path)
    data = (path / "encoder.safetensors").read_bytes()
    (path / "encoder.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cannot be read .* a file copied in part"):
        Encoder.load(path)
    (path / "encoder.safetensors").write_bytes(data)
    alter_json(path, lambda r: r.update(schema="encoder/9"))
    with pytest.raises(ValueError, match="schema 'encoder/9', expected 'encoder/2'"):
        Encoder.load(path)


def test_moved_backbone_weights_can_be_pointed_at(recording, tmp_path):
    state = build_network(TINY, "random", 9)[0].state_dict()  # as it is loaded, before batch norms are folded
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_file(state, before)
    encoder = recording.fit(weights=before).encoder
    path = encoder.save(tmp_path / "fitted")
    before.rename(after)
    with pytest.raises(ValueError, match="no weights file"):
        Encoder.load(path)
    assert Encoder.load(path, weights=after).fingerprint == encoder.fingerprint


def test_a_file_of_weights_is_for_the_network_that_it_is_named_with(recording, tmp_path):
    state = build_network(TINY, "random", 9)[0].state_dict()
    save_file(state, tmp_path / "before.safetensors")
    other = "offline:efficientnet_lite0"
    pair = recording.fit(
        layers=["blocks.1.0", f"{TINY}@40/blocks.1.0", f"{other}/blocks.1.0"],
        weights=tmp_path / "before.safetensors",
        validator_backbone=other,
        validator_layers=["blocks.2.0"],
    )
    own, resized, stranger = (pair.encoder.backbone.networks[n] for n in ("", f"{TINY}@40", other))
    assert own.weights_sha256 == resized.weights_sha256 == hash_tensors(state)
    assert stranger.weights_sha256 == pair.validator.backbone.weights_sha256 != own.weights_sha256
    path = pair.encoder.save(tmp_path / "fitted")
    (tmp_path / "before.safetensors").rename(tmp_path / "after.safetensors")
    assert Encoder.load(path, weights=tmp_path / "after.safetensors").fingerprint == pair.encoder.fingerprint


def test_fingerprint_follows_content_not_precision_or_place(pair, tmp_path):
    loaded = Encoder.load(pair.encoder.save(tmp_path))
    assert loaded.double().fingerprint == pair.encoder.fingerprint
    loaded.readouts[1].intercept[0] += 1
    assert loaded.fingerprint != pair.encoder.fingerprint
    assert pair.encoder.fingerprint != pair.validator.fingerprint
    assert pair.encoder.fingerprint.startswith("enc_")
    assert len(pair.encoder.fingerprint) == 12


def test_dtype_follows_the_module(pair, images, tmp_path):
    double = Encoder.load(pair.encoder.save(tmp_path)).double()
    out = double(images.double())
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), pair.encoder(images), atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_predictions_are_the_same(pair, images, tmp_path):
    moved = Encoder.load(pair.encoder.save(tmp_path)).to("cuda")
    torch.testing.assert_close(moved(images.cuda()).cpu(), pair.encoder(images), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site_ids": ("a", "a")}, "unique sites"),
        ({"site_ids": (), "target_ids": ()}, "unique sites"),
        ({"target_ids": ("c",)}, "targets among them"),
        ({"colour": "rgb"}, "grey, 1 channel, or rgb, 3"),
        ({"colour": "gray"}, "grey, 1 channel"),
        ({"background": 256}, "0 ... 255"),
        ({"field_of_view_deg": 0.0}, "positive"),
    ],
)
def test_descriptions_that_cannot_be_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        EncoderInfo(**(INFO | changes))


def test_readouts_that_do_not_fit_are_named():
    network = backbone(TINY, ["blocks.0.0"], weights="random")
    tensors = {"mean": torch.zeros(4), "scale": torch.tensor(1.0), "alpha": torch.ones(2)}
    natural = {"natural_mean": torch.zeros(2), "natural_sd": torch.ones(2)}
    other = LinearReadout("blocks.1.0", torch.zeros(2, 4), torch.zeros(2), **tensors)
    with pytest.raises(
        ValueError, match=r"layer blocks.1.0; expected 2 sites and some of the backbone's layers blocks.0.0"
    ):
        Encoder(network, other, EncoderInfo(**INFO), **natural)
    own = LinearReadout("blocks.0.0", torch.zeros(2, 4), torch.zeros(2), **tensors)
    with pytest.raises(ValueError, match=r"expected shape \(2,\)"):
        Encoder(network, own, EncoderInfo(**INFO), **(natural | {"natural_sd": torch.ones(3)}))
