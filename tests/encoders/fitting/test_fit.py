from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from encoders import FitOptions, NoReliableSites, Recording, extract_features, fit_encoder, to_images
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.metrics import correlation, feve, noise_corrected_r, repeat_means
from encoders.reliability import reliability_of_means
from encoders.solvers.ridge import ridge
from encoders.splits import group_names, hold_out


def held_out_mask(pair, n):
    mask = np.zeros(n, bool)
    mask[pair.report.held_out_images] = True
    return mask


def test_recovers_sites_that_are_linear_in_the_features(pair):
    """True reliability: 1 / (1 + 0.49 / 6) = 0.924; the ridge must come close to it on unseen images."""
    for site in pair.report.sites:
        assert site.eligible_fit
        assert site.eligible_target
        assert site.reason == ""
        assert abs(site.reliability - 0.924) < 0.04
        assert site.held_out_r_nc > 0.85
        assert site.validator_r_nc > 0.4  # from a deeper layer
        assert site.held_out_feve > 0.6
    assert pair.encoder.site_ids == pair.encoder.target_ids == tuple(f"v4_{u:03d}" for u in range(5))


def test_scores_are_those_of_the_saved_encoder_on_the_held_out_images(pair, recording):
    mask = held_out_mask(pair, len(recording.images))
    number = np.where(mask, np.cumsum(mask) - 1, -1)[recording.index]
    for module, prefix in ((pair.encoder.mean, "held_out"), (pair.validator, "validator")):
        predicted = module(to_images(recording.images[mask])).numpy()
        means, _ = repeat_means(recording.values, number, int(mask.sum()))
        rho = reliability_of_means(recording.values, number)
        found = {name: [getattr(s, f"{prefix}_{name}") for s in pair.report.sites] for name in ("r", "r_nc", "feve")}
        np.testing.assert_allclose(found["r"], correlation(predicted, means), atol=1e-4)
        expected = noise_corrected_r(predicted, recording.values, number, reliability=rho)
        np.testing.assert_allclose(found["r_nc"], expected, atol=1e-4)
        np.testing.assert_allclose(found["feve"], feve(predicted, recording.values, number), atol=1e-3)
        np.testing.assert_allclose([s.held_out_reliability for s in pair.report.sites], rho)
    assert pair.encoder.scores["held_out_r"] == [s.held_out_r for s in pair.report.sites]


def test_held_out_trials_change_no_weight_and_no_choice(pair, recording):
    """Whatever the held-out images evoked, the fitted tensors are bit-identical."""
    mask = held_out_mask(pair, len(recording.images))
    values = recording.values.copy()
    values[mask[recording.index]] = 99 * np.random.default_rng(0).random((int(mask[recording.index].sum()), 5))
    other = recording.fit(values=values)
    for a, b in ((pair.encoder, other.encoder), (pair.validator, other.validator)):
        for (name, ours), theirs in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), name
    for ours, theirs in zip(pair.report.sites, other.report.sites, strict=True):
        assert (ours.reliability, ours.alphas, ours.eligible_target) == (
            theirs.reliability,
            theirs.alphas,
            theirs.eligible_target,
        )
        assert ours.held_out_r != theirs.held_out_r


def test_held_out_pixels_change_no_weight(pair, recording):
    mask = held_out_mask(pair, len(recording.images))
    images = recording.images.copy()
    images[mask] = 255 - images[mask]
    names = group_names(recording.images)
    other = recording.fit(images=images, groups=names)
    for (name, ours), theirs in zip(
        pair.encoder.state_dict().items(), other.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_each_member_is_the_ridge_on_its_layer(pair, recording):
    mask = held_out_mask(pair, len(recording.images))
    readout = pair.encoder.readouts[0]
    rows = extract_features(pair.encoder.backbone, recording.images[~mask], pool=4)[readout.layers[0]].double()
    rows = (rows - rows.mean(0)) / (rows - rows.mean(0)).square().mean().sqrt()
    means, _ = repeat_means(recording.values, recording.index, len(recording.images))
    for u in range(5):
        alpha = [pair.report.sites[u].alphas[readout.layers[0]]]
        folds = torch.arange(len(rows)) % 5
        fit = ridge(rows, torch.from_numpy(means[~mask][:, u : u + 1]), folds=folds, alphas=alpha)
        np.testing.assert_allclose(readout.coef[u], fit.coef[:, 0], atol=1e-4)


def test_the_validator_takes_no_layer_and_no_folds_of_the_encoder(pair, recording):
    assert not set(pair.validator.readout.layers) & {layer for r in pair.encoder.readouts for layer in r.layers}
    assert pair.validator.backbone.layers == ("blocks.2.0",)
    assert pair.encoder.backbone.layers == ("blocks.0.0", "blocks.1.0")
    with pytest.raises(ValueError, match="shares the encoder's layer shares its mistakes"):
        recording.fit(validator_layers=("blocks.1.0",))


def test_of_several_validator_layers_the_best_left_out_one_is_taken(recording):
    fitted = recording.fit(layers=["blocks.0.0"], validator_layers=["conv_stem", "blocks.1.0"])
    assert fitted.validator.readout.layers == (fitted.report.settings["validator_layer"],) == ("blocks.1.0",)


def test_shuffled_labels_end_without_a_site(recording):
    for seed in range(5):
        index = np.random.default_rng(seed).permutation(recording.index)
        with pytest.raises(NoReliableSites) as caught:
            recording.fit(image_index=index)
        assert not any(site.eligible_fit for site in caught.value.report.sites)
        assert "below 0.3" in caught.value.report.sites[0].reason or "chance" in caught.value.report.sites[0].reason
        assert "responses joined to the wrong images" in str(caught.value)
        json.dumps(caught.value.report.to_dict(), allow_nan=False)


def test_bad_sites_are_left_out_with_their_reason(recording):
    rng = np.random.default_rng(1)
    values = recording.values.copy()
    values[:, 0] = np.nan
    values[:, 1] = 2.0
    values[:, 2] = rng.normal(size=len(values))
    values[recording.index >= 12, 3] = np.nan
    fitted = recording.fit(values=values)
    reasons = [site.reason for site in fitted.report.sites]
    assert reasons[0] == "no response recorded"
    assert reasons[1] == "the response never varies"
    assert "below 0.3" in reasons[2] or "chance" in reasons[2]
    assert reasons[3].endswith("images to fit, at least 20 needed")
    assert reasons[4] == ""
    assert fitted.encoder.site_ids == ("v4_004",)
    assert fitted.encoder.natural_mean.shape == (1,)
    assert "v4_001: the response never varies" in fitted.report.summary()


def test_weak_sites_are_fitted_but_no_targets(recording):
    fitted = recording.fit(reliability_target=0.99)
    assert fitted.encoder.target_ids == ()
    assert len(fitted.encoder.site_ids) == 5
    assert "fitted, not a target: reliability" in fitted.report.sites[0].reason


def test_a_photograph_never_lies_on_both_sides(recording):
    """Injected duplicates: groups of four, and a pixel copy under a foreign group."""
    images = recording.images.copy()
    groups = [f"photo_{i // 4}" for i in range(len(images))]
    images[7] = images[100]
    names = group_names(images, groups)
    assert len({names[i] for i in (4, 5, 6, 7, 100, 101, 102, 103)}) == 1
    side = hold_out(names, 0.2)
    for group in set(names):
        assert len({bool(side[i]) for i, name in enumerate(names) if name == group}) == 1
    fitted = recording.fit(images=images, groups=groups)
    assert set(fitted.report.held_out_images) == set(np.flatnonzero(side))


def test_a_split_that_leaks_is_refused(recording):
    """The same photograph held out and fitted: a pixel copy under its own name, and a second crop of one group."""
    images, held_out = recording.images.copy(), np.arange(len(recording.images)) % 5 == 0
    assert set(recording.fit(held_out=held_out).report.held_out_images) == set(np.flatnonzero(held_out))
    images[7] = images[100]
    with pytest.raises(ValueError, match=r"both sides of the split: images 7, 100 are one photograph"):
        recording.fit(images=images, held_out=held_out)
    groups = [f"photo_{i // 2}" for i in range(len(images))]
    with pytest.raises(ValueError, match="leave held_out to the toolkit"):
        recording.fit(groups=groups, held_out=held_out)
    with pytest.raises(ValueError, match="one flag per image"):
        recording.fit(held_out=held_out[:10])


def test_trained_readouts_give_one_member_a_layer_and_fold(recording):
    fitted = recording.fit(readout=ReadoutSpec("factorised", epochs=12, pool=4), folds=3)
    assert fitted.encoder(torch.rand(2, 3, 32, 32)).shape == (2 * 3, 2, 5)
    assert fitted.validator(torch.rand(2, 3, 32, 32)).shape == (3, 2, 5)
    assert fitted.report.median("held_out_r") > 0.6
    assert fitted.report.settings["readout"]["kind"] == "factorised"
    assert set(fitted.report.sites[0].cv_r2) == {"blocks.0.0", "blocks.1.0", "blocks.2.0"}


def test_default_groups_are_the_pixels(recording):
    images = recording.images.copy()
    images[3] = images[50]
    names = group_names(images)
    assert names[3] == names[50]
    assert len(set(names)) == len(images) - 1


def test_what_is_held_out_stays_held_out_when_images_are_added():
    names = [f"photo_{i}" for i in range(400)]
    before, after = hold_out(names[:200], 0.2), hold_out([*names[200:], *names[:200]], 0.2)
    assert before.tolist() == after[200:].tolist()
    assert 0.12 < after.mean() < 0.28
    assert hold_out(names, 0.2, seed=1).tolist() != hold_out(names, 0.2).tolist()


def test_holding_out_needs_enough_images():
    with pytest.raises(ValueError, match="expected at least 3 and 20"):
        hold_out([f"g{i}" for i in range(15)], 0.2)
    with pytest.raises(ValueError, match="one large group"):
        hold_out(["same"] * 100, 0.2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(["a", "b"], 1.2)


def test_averages_need_to_be_declared_and_stay_uncorrected(recording):
    n = len(recording.images)
    means, counts = repeat_means(recording.values, recording.index, n)
    with pytest.raises(NoReliableSites, match="averages=True"):
        recording.fit(values=means, image_index=np.arange(n))
    fitted = recording.fit(values=means, image_index=np.arange(n), averages=True, repeats=counts[:, 0])
    for site in fitted.report.sites:
        assert site.eligible_fit
        assert site.reason == "reliability unknown: averages without single trials"
        assert np.isnan([site.reliability, site.held_out_r_nc, site.held_out_feve]).all()
        assert site.held_out_r > 0.8
    assert fitted.encoder.scores["held_out_r_nc"] == [None] * 5
    assert fitted.report.to_dict()["sites"][0]["reliability"] is None


def test_averages_of_equal_repeats_give_the_weights_of_their_trials(pair, recording):
    n = len(recording.images)
    means, counts = repeat_means(recording.values, recording.index, n)
    fitted = recording.fit(values=means, image_index=np.arange(n), averages=True, repeats=counts[:, 0])
    torch.testing.assert_close(fitted.encoder.readouts[0].coef, pair.encoder.readouts[0].coef)


def test_ragged_trials_missing_differently_at_every_site(recording):
    values = recording.values.copy()
    values[np.random.default_rng(2).random(values.shape) < 0.3] = np.nan
    values[np.isin(recording.index, [1, 2, 3]), 2] = np.nan
    fitted = recording.fit(values=values)
    assert [site.n_images for site in fitted.report.sites][2] == len(recording.images) - 3
    assert min(site.held_out_r_nc for site in fitted.report.sites) > 0.8


def test_trials_of_other_images_are_ignored(pair, recording):
    values = np.concatenate([recording.values, np.full((40, 5), 1e6)])
    index = np.concatenate([recording.index, np.full(40, -1)])
    again = recording.fit(values=values, image_index=index)
    assert again.encoder.fingerprint == pair.encoder.fingerprint


def test_an_image_without_trials_is_not_fitted(recording):
    values = recording.values.copy()
    values[recording.index < 10] = np.nan
    assert recording.fit(values=values).report.median("held_out_r") > 0.8


def test_natural_statistics_of_the_named_images(recording):
    natural = np.arange(len(recording.images)) < 60
    fitted = recording.fit(natural=natural)
    rows = natural & ~held_out_mask(fitted, len(natural))
    means, _ = repeat_means(recording.values, recording.index, len(natural))
    np.testing.assert_allclose(fitted.encoder.natural_mean, means[rows].mean(0), rtol=1e-5)
    trials = recording.values.reshape(len(natural), 6, 5)[rows]
    expected = means[rows].var(0, ddof=1) - trials.var(1, ddof=1).mean(0) / 6
    np.testing.assert_allclose(fitted.encoder.natural_sd, np.sqrt(expected), rtol=1e-5)
    averages = recording.fit(
        natural=natural,
        values=means,
        image_index=np.arange(len(natural)),
        repeats=np.full(len(natural), 6),
        averages=True,
    )
    np.testing.assert_allclose(
        averages.encoder.natural_sd, means[natural & ~held_out_mask(averages, len(natural))].std(0, ddof=1), rtol=1e-5
    )


def test_grey_images(recording):
    fitted = recording.fit(images=recording.images[..., :1], colour="grey", averages=False)
    assert fitted.encoder.image_shape == (1, 32, 32)
    assert fitted.encoder(torch.rand(2, 1, 32, 32)).shape == (2, 2, 5)


def test_the_same_fit_twice_is_the_same_encoder(pair, recording):
    again = recording.fit()
    assert again.encoder.fingerprint == pair.encoder.fingerprint
    assert again.validator.fingerprint == pair.validator.fingerprint
    assert again.report.to_dict() == pair.report.to_dict()
    assert recording.fit(seed=1).encoder.fingerprint != pair.encoder.fingerprint


def test_report_is_json_and_complete(pair):
    record = json.loads(json.dumps(pair.report.to_dict(), allow_nan=False))
    assert set(record["sites"][0]) == {f.name for f in dataclasses.fields(pair.report.sites[0])}
    assert record["encoder_fingerprint"] == pair.encoder.fingerprint
    assert record["settings"]["backbone"] == "timm:test_efficientnet"
    assert record["settings"]["n_fitted_images"] + len(record["held_out_images"]) == record["settings"]["n_images"]
    assert "5 of 5 sites fitted" in pair.report.summary()


def test_progress_is_called(recording):
    calls = []
    recording.fit(progress=lambda *call: calls.append(call))
    assert calls[-1] == ("ridge on blocks.2.0", 1, 1)
    assert ("features", 160, 160) in calls


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3))}, "expected uint8"),
        ({"image_index": np.arange(3)}, r"image_index \(3,\)"),
        ({"site_ids": ["a"]}, "1 site ids for 5 sites"),
        ({"site_ids": ["a"] * 5}, "all different"),
        ({"values": np.full((960, 5), np.inf)}, "infinity"),
        ({"image_index": np.full(960, 160)}, "reaches 160 for 160 images"),
        ({"groups": ["a"]}, "1 groups for 160 images"),
        ({"layers": []}, "at least one each"),
        ({"colour": "sepia"}, "colour 'sepia'"),
        ({"natural": np.zeros(160, bool)}, "expected at least two"),
        ({"repeats": np.zeros(960)}, "not positive"),
        ({"folds": 1}, "at least 2 folds"),
    ],
)
def test_bad_input_is_named(recording, changes, message):
    with pytest.raises(ValueError, match=message):
        recording.fit(**changes)


def test_fit_encoder_names_its_keywords():
    with pytest.raises(TypeError, match="site_ids"):
        fit_encoder(np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 2)), np.arange(4))


def test_a_call_with_arrays_and_keywords_says_the_new_way(recording):
    arrays = (recording.images, recording.values, recording.index)
    with pytest.raises(TypeError, match=r"expects a Recording, then FitOptions") as caught:
        fit_encoder(*arrays, **recording.options, folds=3, bogus=1)
    message = str(caught.value)
    assert "site_ids, unit, field_of_view_deg, background, colour belong to Recording" in message
    assert "folds belong to FitOptions" in message
    assert "bogus are unknown" in message
    with pytest.raises(TypeError, match="Fix: put the data into a Recording"):
        fit_encoder(recording.images)
    with pytest.raises(TypeError, match="folds belong to FitOptions"):
        fit_encoder(_recording_of(recording), folds=3)
    with pytest.raises(TypeError, match="expects a Recording, then FitOptions"):
        fit_encoder(_recording_of(recording), {"folds": 3})
    assert "belong" not in _message_of(recording.images)


def _message_of(*arguments):
    with pytest.raises(TypeError) as caught:
        fit_encoder(*arguments)
    return str(caught.value)


def _recording_of(recording):
    named = {f.name: recording.options[f.name] for f in dataclasses.fields(Recording) if f.name in recording.options}
    return Recording(pixels=recording.images, values=recording.values, image_index=recording.index, **named)


def test_options_and_recording_are_built_by_keyword(recording):
    with pytest.raises(TypeError):
        FitOptions("random")
    with pytest.raises(TypeError):
        Recording(recording.images, recording.values, recording.index)
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitOptions().folds = 3


def test_sites_with_places_can_be_fitted_topographically(recording):
    spec = ReadoutSpec("topographic", epochs=3, pool=4)
    values = recording.values.copy()
    values[:, 1] = 2.0  # left out: the places of the others stay theirs
    places = np.stack([np.arange(5.0), np.zeros(5)], 1)
    fitted = recording.fit(values=values, readout=spec, coordinates=places, folds=2)
    assert fitted.encoder(torch.rand(2, 3, 32, 32)).shape == (2, 2, 4)
    ours = fitted.encoder.readouts[0].coordinates[:, 0]
    expected = torch.tensor([0.0, 2, 3, 4]) - 2.25
    torch.testing.assert_close(ours / ours[0], expected / expected[0])
    with pytest.raises(ValueError, match="needs the place of every site"):
        recording.fit(readout=spec)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("readout", ["ridge", "factorised"])
def test_a_fit_on_a_gpu_is_described_and_judges(recording, readout):
    fitted = recording.fit(device="cuda", readout=readout)
    assert fitted.encoder.natural_mean.device.type == "cuda"
    assert fitted.encoder.judge(torch.rand(2, 3, 32, 32, device="cuda")).outside.shape == (2,)


READOUT = ReadoutSpec("factorised", epochs=6, pool=4)


@pytest.fixture(scope="module")
def tuned(recording):
    return recording.fit(readout=READOUT, folds=2, fine_tune=2)


def test_a_tuned_fit_scores_what_it_gives_on_images_that_took_no_part(tuned, recording):
    """Scores of the tuned encoder; stopping images beside the fitted and the held-out ones; the validator stays frozen."""
    how = tuned.report.settings["fine_tuning"]
    assert how["epoch"] > 0
    assert how["stopping_errors"][how["epoch"]] < how["stopping_errors"][0]
    assert tuned.encoder.backbone.adapted
    assert not tuned.validator.backbone.adapted
    mask = held_out_mask(tuned, len(recording.images))
    names = group_names(recording.images)
    stopping = hold_out(names, 0.1, seed=1) & ~mask
    assert how["n_stopping_images"] == stopping.sum() > 5
    assert how["n_fitted_images"] == (~mask & ~stopping).sum()
    number = np.where(mask, np.cumsum(mask) - 1, -1)[recording.index]
    predicted = tuned.encoder.mean(to_images(recording.images[mask])).numpy()
    means, _ = repeat_means(recording.values, number, int(mask.sum()))
    np.testing.assert_allclose([s.held_out_r for s in tuned.report.sites], correlation(predicted, means), atol=1e-4)
    assert tuned.encoder.scores["held_out_r"] == [s.held_out_r for s in tuned.report.sites]
    assert tuned.encoder.info.settings["fine_tuning"] == how


def test_neither_held_out_nor_stopping_trials_touch_the_readouts_that_are_tuned(tuned, recording):
    """Held-out trials change nothing at all; stopping trials only the pass that is kept, here the same one."""
    mask = held_out_mask(tuned, len(recording.images))
    values = recording.values.copy()
    values[mask[recording.index]] += 5 * np.random.default_rng(0).normal(size=(int(mask[recording.index].sum()), 5))
    other = recording.fit(readout=READOUT, folds=2, fine_tune=2, values=values)
    for (name, ours), theirs in zip(
        tuned.encoder.state_dict().items(), other.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    stopping = hold_out(group_names(recording.images), 0.1, seed=1) & ~mask
    values = recording.values.copy()
    values[stopping[recording.index]] -= 0.3
    moved = recording.fit(readout=READOUT, folds=2, fine_tune=2, values=values)
    assert moved.report.settings["fine_tuning"]["epoch"] == tuned.report.settings["fine_tuning"]["epoch"]
    for key, tensor in tuned.encoder.backbone.adapted.items():
        assert torch.equal(moved.encoder.backbone.adapted[key], tensor), key


def test_too_few_images_to_tune_by_and_no_number_of_epochs_are_refused(recording):
    few = recording.index < 30
    some = {"images": recording.images[:30], "values": recording.values[few], "image_index": recording.index[few]}
    recording.fit(**some)
    with pytest.raises(ValueError, match=r"fine_tune sets a tenth of the groups aside .* set fine_tune = 0"):
        recording.fit(**some, fine_tune=1)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match="expected a whole number of epochs"):
            recording.fit(fine_tune=wrong)


def test_images_without_trials_take_no_part_in_the_tuning(recording):
    """Pairs of crops in one group, some shown once only: an unshown image is on no side."""
    rng = np.random.default_rng(0)
    unshown = rng.choice(np.arange(1, 160, 2), 20, replace=False)
    kept = ~np.isin(recording.index, unshown)
    groups = [f"photograph {i // 2}" for i in range(160)]
    how = {"readout": READOUT, "folds": 2, "fine_tune": 1, "groups": groups}
    found = recording.fit(values=recording.values[kept], image_index=recording.index[kept], **how)
    mask = held_out_mask(found, 160)
    told = found.report.settings["fine_tuning"]
    assert told["n_fitted_images"] + told["n_stopping_images"] == (~mask & ~np.isin(np.arange(160), unshown)).sum()
    assert f"({told['n_stopping_images']} of them to decide when the tuning stops)" in found.report.summary()


def test_a_layer_that_two_members_read_counts_once(recording):
    fitted = recording.fit(layers=("blocks.0.0", "blocks.0.0+blocks.1.0"))
    assert len(fitted.encoder.readouts) == 2
    assert fitted.encoder.judge(torch.rand(2, 3, 32, 32)).distance.shape == (2,)


def test_a_tuned_fit_has_no_warm_start(tuned, recording):
    from encoders.fitting.options import NoWarmStart

    for passes in (2, 0):  # tuned again, or tuning switched off since
        with pytest.raises(NoWarmStart, match="the network is tuned, or was"):
            recording.fit(readout=READOUT, folds=2, fine_tune=passes, initial=(tuned.encoder, tuned.validator))
