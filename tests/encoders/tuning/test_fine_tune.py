"""Tuning the network of an encoder: what it recovers, what it leaves alone, what it refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import (
    Encoder,
    Ensemble,
    check_encoder,
    to_images,
)
from encoders.backbones.build import backbone_from_config
from encoders.backbones.multiple import Backbones, open_backbone, open_config
from encoders.encoder import load
from encoders.tuning.fine_tune import fine_tune
from tests.encoders.helpers.planted import FAST, LAST, Planted, frozen_fit, plant, same, state
from tests.encoders.helpers.simulated import LAYERS, TINY


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant()


@pytest.fixture(scope="module")
def tuned(planted: Planted) -> Any:
    return planted.tune()


def test_tuning_recovers_what_the_frozen_network_lacks(planted, tuned):
    report = tuned.report
    assert report.epoch > 0
    assert report.losses[-1] < report.losses[0]
    assert report.stopping_errors[report.epoch] == min(report.stopping_errors) < report.stopping_errors[0]
    assert planted.held_out_r(tuned.encoder) > planted.held_out_r(planted.encoder) + 0.01


def test_solved_readouts_and_single_encoders_are_tuned_too():
    planted = plant("ridge")
    options = {
        "targets": planted.targets + 2,
        "epochs": 1,
        "learning_rate": 1e-6,
        "jitter_px": 0,
    }  # the intercept is wrong
    found = planted.tune(**options, readout_learning_rate=1e-4)
    assert found.report.epoch == 1
    before, after = planted.encoder.readouts[0], found.encoder.readouts[0]
    assert not torch.equal(before.coef, after.coef)
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.scale, after.scale)
    single = planted.tune(**options, encoder=planted.encoder.members[-1], readout_learning_rate=1e-4)
    assert isinstance(single.encoder, Encoder)
    assert single.report.epoch == 1


def test_the_encoder_given_stays_as_it_is(planted):
    before, config = state(planted.encoder), copy.deepcopy(planted.encoder.backbone.config())
    fingerprint = planted.encoder.fingerprint
    planted.tune(layers="all", epochs=1)
    assert same(state(planted.encoder), before)
    assert planted.encoder.backbone.config() == config
    assert planted.encoder.fingerprint == fingerprint
    assert not any(p.requires_grad for p in planted.encoder.parameters())


def test_where_nothing_improves_the_encoder_is_the_one_given(planted):
    noise = np.random.default_rng(1).normal(size=planted.targets.shape)
    targets = np.where(planted.stopping[:, None], planted.targets, noise)  # to learn the one is to lose the other
    found = planted.tune(targets=targets, readout_learning_rate=3e-2)
    assert found.report.epoch == 0
    assert found.encoder is planted.encoder
    assert min(found.report.stopping_errors) == found.report.stopping_errors[0]
    assert all(change.cka_distance == change.relative_change == 0 for change in found.report.forgetting.values())
    np.testing.assert_array_equal(found.report.before.explained, found.report.after.explained)


def test_a_diverging_tuning_is_not_kept(planted):
    found = planted.tune(learning_rate=1e30, epochs=2)
    assert found.report.epoch == 0
    assert found.encoder is planted.encoder


def test_only_what_was_named_changes(planted, tuned):
    """Late stage only; other modules, and batch-norm statistics, keep every bit."""
    before, after = planted.encoder.backbone.network.state_dict(), tuned.encoder.backbone.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(tuned.encoder.backbone.adapted)
    assert all(name.startswith("blocks.1.") for name in changed)
    assert tuned.report.modules
    assert all(module.startswith("blocks.1.") for module in tuned.report.modules)
    assert not any("running" in name or "num_batches" in name for name in changed)
    every = planted.tune(layers="all", epochs=1).encoder.backbone.network.state_dict()
    assert not torch.equal(every["conv_stem.weight"], before["conv_stem.weight"])
    assert all(torch.equal(every[n], before[n]) for n in before if "running" in n or n.startswith("blocks.2."))


def test_rates_of_zero_freeze_the_network_or_the_readouts(planted):
    readouts_only = planted.tune(learning_rate=0.0, epochs=2)
    assert readouts_only.report.n_parameters == 0
    assert not readouts_only.encoder.backbone.adapted
    network_only = planted.tune(readout_learning_rate=0.0, epochs=1)
    assert network_only.encoder.backbone.adapted
    assert same(network_only.encoder.readouts.state_dict(), planted.encoder.readouts.state_dict())


def test_saved_and_loaded_it_predicts_the_same(tuned, planted, tmp_path):
    folder = tuned.encoder.save(tmp_path)
    loaded = load(folder)
    x = to_images(planted.images[:4])
    assert torch.equal(loaded(x), tuned.encoder(x))
    assert loaded.fingerprint == tuned.encoder.fingerprint == folder.name != planted.encoder.fingerprint
    stored = {n for n in load_file(folder / "encoder.safetensors") if n.startswith("backbone.")}
    assert stored == {f"backbone.{name}" for name in tuned.encoder.backbone.adapted}
    assert loaded.info.settings["fine_tuning"]["intervals"] == "calibrated before tuning"
    assert loaded.info.settings["made"] == "by hand"
    assert "adapted" not in json.loads((planted.encoder.save(tmp_path) / "encoder.json").read_text())["backbone"]


def test_altered_adapted_tensors_are_refused(tuned, tmp_path):
    folder = tuned.encoder.save(tmp_path)
    tensors = load_file(folder / "encoder.safetensors")
    name = next(n for n in tensors if n.startswith("backbone."))
    save_file(tensors | {name: tensors[name] + 1e-3}, folder / "encoder.safetensors")
    with pytest.raises(ValueError, match="altered after saving"):
        load(folder)
    config, adapted = tuned.encoder.backbone.config(), tuned.encoder.backbone.adapted
    with pytest.raises(ValueError, match="found 0 adapted tensors"):
        backbone_from_config(config)
    with pytest.raises(ValueError, match="are not those described"):
        backbone_from_config(config, adapted={n: t + 1 for n, t in adapted.items()})
    with pytest.raises(ValueError, match="Likely cause: another version of the weights"):
        backbone_from_config(config | {"seed": 4}, adapted=adapted)


def test_it_is_an_encoder_like_any_other(tuned, planted):
    check_encoder(tuned.encoder, (3, 32, 32))
    x = to_images(planted.images[:1]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(tuned.encoder(x).sum(), x)
    assert float(gradient.abs().max()) > 0
    assert not any(p.requires_grad for p in tuned.encoder.parameters())
    assert torch.equal(tuned.encoder.natural_mean, planted.encoder.natural_mean)


def test_the_seed_decides(planted, tuned):
    again, other = planted.tune(), planted.tune(seed=1)
    assert again.encoder.fingerprint == tuned.encoder.fingerprint != other.encoder.fingerprint
    assert again.report.as_dict() == tuned.report.as_dict()


def test_global_random_numbers_are_left_alone(planted):
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    planted.tune(epochs=1)
    assert torch.equal(torch.rand(2), expected)


def test_leaks_are_refused(planted):
    images, both = planted.images.copy(), planted.stopping.copy()
    images[np.flatnonzero(planted.stopping)[0]] = images[np.flatnonzero(planted.fitted)[0]]
    with pytest.raises(ValueError, match=r"found as fitted and stopping.*Likely cause: copies"):
        planted.tune(images=images)
    images = planted.images.copy()
    images[np.flatnonzero(planted.held_out)[0]] = images[np.flatnonzero(planted.fitted)[0]]
    with pytest.raises(ValueError, match="fitted and held out"):
        planted.tune(images=images)
    both[np.flatnonzero(planted.fitted)[0]] = True
    with pytest.raises(ValueError, match="found as fitted and stopping"):
        planted.tune(stopping=both)
    with pytest.raises(ValueError, match="one group"):
        planted.tune(groups=[i // 2 for i in range(len(images))])


def test_wrong_arguments_are_named(planted):
    with pytest.raises(ValueError, match=r"expected uint8 .N, 32, 32, 3."):
        planted.tune(images=planted.images[:, :16])
    with pytest.raises(ValueError, match=r"targets \(240, 5\)"):
        planted.tune(targets=planted.targets[:, :5])
    with pytest.raises(ValueError, match="3 images to tune on"):
        planted.tune(fitted=np.arange(240) < 3, stopping=np.arange(240) > 220)
    with pytest.raises(ValueError, match=r"unknown module of timm:test_efficientnet: 'blocks.9'; nearest: blocks"):
        planted.tune(layers=["blocks.9"])
    with pytest.raises(ValueError, match=r"blocks.2: no parameter of theirs reaches the layers blocks.0.0"):
        planted.tune(layers=["blocks.2"])
    with pytest.raises(ValueError, match="expected 'late', 'all' or a list"):
        planted.tune(layers="last")
    with pytest.raises(ValueError, match="learning rate above 0"):
        planted.tune(learning_rate=0.0, readout_learning_rate=0.0)
    with pytest.raises(ValueError, match="weights of shape"):
        planted.tune(weights=np.ones(3))
    constant = planted.targets.copy()
    constant[:, 2] = 1.0
    with pytest.raises(ValueError, match="site 2: no variance over the fitted images"):
        planted.tune(targets=constant)


OTHER = "timm:test_resnet"


@pytest.fixture(scope="module")
def two_networks(planted) -> Ensemble:
    """Members of two networks, and each network's alone."""
    networks = open_backbone(TINY, [LAST, f"{OTHER}/layer2"], weights="random")
    return frozen_fit(networks, planted.images[planted.fitted], planted.targets[planted.fitted])


def test_networks_of_one_encoder_are_tuned_each_with_the_members_that_read_it(planted, two_networks):
    """Together or alone comes to the same: no member's error reaches the other network (Adam knows no scale)."""
    how: dict[str, Any] = {"layers": "all", "epochs": 2, "learning_rate": 3e-4, "readout_learning_rate": 3e-4}
    both = planted.tune(encoder=two_networks, **how).encoder
    parts, given = both.backbone.networks, two_networks.backbone.networks
    assert set(parts) == {"", OTHER}
    for name, part in parts.items():
        readouts = [r for r in two_networks.readouts if r.layers[0].rpartition("/")[0] == name]
        backbone_ = given[""] if not name else Backbones({name: given[name]})
        natural = {"natural_mean": two_networks.natural_mean, "natural_sd": two_networks.natural_sd}
        alone = planted.tune(encoder=Ensemble(backbone_, readouts, two_networks.info, **natural), **how).encoder
        own = alone.backbone.networks[name] if name else alone.backbone
        assert part.adapted.keys() == own.adapted.keys() != set()
        start = given[name].tunable()
        moves = [torch.cat([(of.adapted[k] - start[k]).flatten() for k in own.adapted]) for of in (part, own)]
        assert float(moves[1].abs().max()) > 1e-4
        assert float(torch.nn.functional.cosine_similarity(*moves, dim=0)) > 0.999
        assert float((moves[0] - moves[1]).abs().median()) < 1e-3 * float(moves[1].abs().median())


def test_tuned_networks_are_saved_and_loaded_and_others_refused(planted, two_networks, tmp_path):
    tuned = planted.tune(encoder=two_networks, layers=[f"{OTHER}/layer2"]).encoder
    assert {name.partition("/")[0] for name in tuned.backbone.adapted} == {OTHER}
    again = Encoder.load(tuned.save(tmp_path))
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(again(images), tuned(images))
    assert again.fingerprint == tuned.fingerprint != two_networks.fingerprint
    config, adapted = tuned.backbone.config(), tuned.backbone.adapted
    with pytest.raises(ValueError, match="found 0 adapted tensors"):
        open_config(config)
    with pytest.raises(ValueError, match="unknown network: 'timm:test_resnett'"):
        open_config(config, adapted={name.replace(OTHER, "timm:test_resnett"): t for name, t in adapted.items()})
    with pytest.raises(ValueError, match="unknown module of"):
        planted.tune(encoder=two_networks, layers=["layer2"])  # of which network?


def test_late_means_the_last_stage_of_each_network(planted, two_networks):
    found = planted.tune(encoder=two_networks, layers="late", epochs=1).report
    assert {module.split(".")[0] for module in found.modules} == {"blocks", f"{OTHER}/layer2"}


def test_an_adjusted_encoder_is_not_stripped_in_silence(planted):
    sites = len(planted.encoder.site_ids)
    for gain, offset in ((2.0, 0.0), (1.0, 0.5)):
        adjusted = planted.encoder.adjusted(torch.full((sites,), gain), torch.full((sites,), offset))
        with pytest.raises(ValueError, match=r"gain and offset .*unadjusted"):
            planted.tune(encoder=adjusted)


def test_missing_responses_and_weights(planted):
    """Images of weight 0, and sites that were not recorded, change nothing by what their responses say."""
    targets, weights = planted.targets.copy(), np.ones(len(planted.images))
    targets[0, 0], weights[1] = np.nan, 0.0
    changed = targets.copy()
    changed[1] = 99.0
    a, b = (planted.tune(targets=y, weights=weights, epochs=1) for y in (targets, changed))
    assert a.report.losses == b.report.losses
    assert np.isfinite(a.report.losses).all()
    targets[planted.stopping, 0] = np.nan
    report = planted.tune(targets=targets, epochs=1).report
    assert report.before.best[0] == ""
    assert np.isfinite(report.stopping_errors).all()
    assert report.as_dict()["before"]["explained"][0][0] is None


def test_the_report_tells_what_moved(planted, tuned):
    report = tuned.report
    assert report.forgetting["blocks.0.0"].relative_change == 0
    assert report.forgetting[LAST].relative_change > 0
    assert 0 < report.forgetting[LAST].cka_distance < 1
    assert report.before.layers == report.after.layers == LAYERS
    assert report.after.explained[1].mean() > report.before.explained[1].mean()
    assert report.stopping_seen == 0
    json.dumps(report.as_dict(), allow_nan=False)


def test_distances_are_taken_anew_and_intervals_kept(pair, recording):
    n = len(recording.images)
    held = np.zeros(n, bool)
    held[pair.report.held_out_images] = True
    stopping = ~held & (np.cumsum(~held) % 5 == 0)
    fitted = ~held & ~stopping
    seen: list[tuple[str, int, int]] = []
    found = fine_tune(
        pair.encoder,
        recording.images,
        recording.truth,
        fitted=fitted,
        stopping=stopping,
        progress=lambda *step: seen.append(step),
        **FAST | {"epochs": 2},
    )
    assert found.report.stopping_seen == stopping.sum()  # the fit knew them all
    assert seen == [("fine-tuning", 1, 2), ("fine-tuning", 2, 2)]
    assert found.report.epoch > 0
    old, new = pair.encoder.uncertainty, found.encoder.uncertainty
    assert torch.equal(old.error_floor, new.error_floor)
    assert torch.equal(old.width, new.width)
    assert len(new.familiar) == fitted.sum()
    judged = found.encoder.judge(to_images(recording.images[fitted][:40]))
    assert float(judged.distance.median()) < 1
