from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from encoders import (
    Encoder,
    EncoderInfo,
    Ensemble,
    backbone,
    check_encoder,
    correlation,
    extract_features,
    group_folds,
    to_images,
)
from encoders.analysis.cka import linear_cka
from encoders.backbones.backbone import backbone_from_config
from encoders.backbones.features import Reduction
from encoders.backbones.multiple import Backbones, open_backbone, open_config
from encoders.encoder import load
from encoders.fitting.members import fit_members
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.tuning.change import feature_change, layer_map
from encoders.tuning.descent import one_cycle, shifted
from encoders.tuning.fine_tune import fine_tune
from encoders.tuning.tunable import stage
from tests.encoders.conftest import LAYERS, TINY, smooth_images

SITES, LAST = 6, "blocks.1.0"
FAST: dict[str, Any] = {"layers": "late", "epochs": 3, "learning_rate": 1e-3, "readout_learning_rate": 1e-3}


@dataclass
class Planted:
    """Sites that are linear in the features of a perturbed copy of the tiny network, and its frozen fit."""

    images: np.ndarray
    targets: np.ndarray
    fitted: np.ndarray
    stopping: np.ndarray
    held_out: np.ndarray
    encoder: Ensemble

    def tune(self, **changes: Any) -> Any:
        sides = {"fitted": self.fitted, "stopping": self.stopping}
        encoder = changes.pop("encoder", self.encoder)
        images, targets = changes.pop("images", self.images), changes.pop("targets", self.targets)
        return fine_tune(encoder, images, targets, **(sides | FAST | changes))

    def held_out_r(self, encoder: Any) -> float:
        with torch.no_grad():
            predicted = encoder(to_images(self.images[self.held_out]))
        predicted = predicted if predicted.ndim == 2 else predicted.mean(0)
        return float(np.median(correlation(predicted.numpy(), self.targets[self.held_out])))


def perturbed(network: Any, layer: str, scale: float) -> Any:
    """The network with noise on the weights of `layer`, and other thresholds of its hidden units."""
    generator, tensors = torch.Generator().manual_seed(5), {}
    for name, parameter in network.network.named_parameters():
        size = 1.0 if name.endswith("bn1.bias") else float(parameter.std()) if "conv" in name else 0.0
        if name.startswith(f"{layer}.") and size:
            tensors[name] = parameter + scale * size * torch.randn(parameter.shape, generator=generator)
    return network.adapt(tensors)


def frozen_fit(network: Any, images: np.ndarray, targets: np.ndarray, kind: str = "factorised") -> Ensemble:
    spec = ReadoutSpec(kind, pool=1 if kind == "ridge" else 4, **({"epochs": 8} if kind == "factorised" else {}))
    features = extract_features(network, images, reduction=Reduction(spec.pooled_to, maps=spec.trained))
    y = torch.from_numpy(targets)
    readouts = []
    for layer in network.layers:
        fit = fit_members(spec, features, [layer], y, folds=group_folds(range(len(y)), 2))
        readouts += fit.readouts
    ids = tuple(f"v4_{u}" for u in range(y.shape[1]))
    info = EncoderInfo(ids, ids, "spikes", (3, 32, 32), 4.0, 128, "rgb", settings={"made": "by hand"})
    return Ensemble(network, readouts, info, natural_mean=y.mean(0), natural_sd=y.std(0))


def plant(kind: str = "factorised", n: int = 240) -> Planted:
    rng = np.random.default_rng(0)
    images = smooth_images(n, 32, 3)
    network = backbone(TINY, LAYERS, weights="random")
    source = perturbed(network, LAST, 3.0)
    rows = extract_features(source.select([LAST]), images, pool=1)[LAST].double().numpy()
    rows = (rows - rows.mean(0)) / rows.std(0)
    truth = rows @ rng.normal(size=(rows.shape[1], SITES))
    targets = truth / truth.std(0)
    part = np.arange(n) % 8
    fitted, stopping, held_out = part < 5, part == 5, part > 5
    return Planted(
        images, targets, fitted, stopping, held_out, frozen_fit(network, images[fitted], targets[fitted], kind)
    )


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant()


@pytest.fixture(scope="module")
def tuned(planted: Planted) -> Any:
    return planted.tune()


def state(encoder: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


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


def test_kernel_alignment_has_its_invariances():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    assert linear_cka(a, 3 * a @ rotation + 2) == pytest.approx(1)
    assert linear_cka(a, b) < 0.5
    ac, bc = a - a.mean(0), b - b.mean(0)  # eq. 5 in the form of features
    expected = (bc.T @ ac).norm() ** 2 / ((ac.T @ ac).norm() * (bc.T @ bc).norm())
    assert linear_cka(a, b) == pytest.approx(float(expected))
    assert np.isnan(linear_cka(a, torch.ones(40, 2)))
    assert feature_change(a, 1.5 * a).relative_change == pytest.approx(0.5)
    assert feature_change(a, 1.5 * a).cka_distance == pytest.approx(0, abs=1e-12)


def test_the_layer_map_by_hand():
    y = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    good, poor = y, y.mean(0).expand(3, -1)
    predicted = torch.stack([torch.stack([good[:, 0], poor[:, 1]], 1), torch.stack([poor[:, 0], good[:, 1]], 1)])
    found = layer_map(["a", "b+c"], predicted, y, torch.ones(3, 2))
    assert found.best == ("a", "b+c")
    np.testing.assert_allclose(found.explained, [[1, 0], [0, 1]])


def test_the_learning_rate_rises_once_and_falls_to_nothing():
    factors = [one_cycle(x) for x in np.linspace(0, 1, 101)]
    assert factors[0] == pytest.approx(1 / 25)
    assert int(np.argmax(factors)) == 20
    assert max(factors) == pytest.approx(1)
    assert factors[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(factors[:21]) > 0).all()
    assert (np.diff(factors[20:]) < 0).all()


def test_jitter_moves_by_less_than_asked():
    ramp = torch.linspace(0, 1, 33).expand(64, 1, 33, 33)
    moved = shifted(ramp, 1.0, torch.Generator().manual_seed(0))
    step = (moved - ramp)[:, 0, 5:-5, 5:-5] * 32  # pixels along the ramp
    assert float(step.abs().max()) <= 1 + 1e-4
    assert float(step[:, 0, 0].std()) == pytest.approx(1 / np.sqrt(3), rel=0.3)
    assert shifted(ramp, 0.0, torch.Generator()) is ramp


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("blocks.4.0", "blocks.4"),
        ("layer2.0.conv1", "layer2"),
        ("stages.1.blocks.0", "stages.1"),
        ("conv_stem", "conv_stem"),
    ],
)
def test_stages(layer, expected):
    assert stage(layer) == expected
