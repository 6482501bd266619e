"""The encoder once more, fitted to every photograph, when all is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import encoders.fitting.ensemble_fit
from encoders import Encoder, FittedPair, ReadoutSpec, correlation, to_images
from encoders.tuning.report import FineTuned
from tests.encoders.helpers.planted import plant, same, state
from tests.encoders.helpers.simulated import Simulated, simulate

TRAINED: dict[str, Any] = {"readout": ReadoutSpec("factorised", epochs=8), "folds": 2}
TUNED = TRAINED | {"fine_tune": 4}  # enough that an epoch is kept, whatever the start of the readouts


def predicted(encoder: Any, images: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        answers = encoder(to_images(images))
    return answers.mean(0) if answers.ndim == 3 else answers


@pytest.mark.parametrize("how", [{}, TRAINED, TUNED])
def test_what_is_scored_stays_as_it_is(recording: Simulated, how: dict[str, Any]) -> None:
    """Encoder, validator and report are those of a fit without it, apart from the setting."""
    plain, pair = recording.fit(**how), recording.fit(**how, final_fit=True)
    assert plain.final is None
    assert plain.report.final == {}
    assert "final_fit" not in plain.report.settings
    for name in ("encoder", "validator"):
        assert same(state(getattr(plain, name)), state(getattr(pair, name)))
    old, new = plain.report.to_dict(), pair.report.to_dict()
    assert old["sites"] == new["sites"]
    assert new["settings"] == old["settings"] | {"final_fit": True}
    assert pair.report.final["encoder"] == pair.final.fingerprint != pair.encoder.fingerprint
    assert pair.report.final["n_fitted_images"] == len(recording.images)


@pytest.mark.parametrize("how", [{}, TRAINED, TUNED])
def test_it_has_the_same_sites_scores_and_kind_and_knows_every_image(
    recording: Simulated, how: dict[str, Any], tmp_path: Any
) -> None:
    pair: FittedPair = recording.fit(**how, final_fit=True)
    final, scored = pair.final, pair.encoder
    assert final is not None
    assert final.site_ids == scored.site_ids
    assert final.target_ids == scored.target_ids
    assert final.info.scores == scored.info.scores
    assert [r.layers for r in final.readouts] == [r.layers for r in scored.readouts]
    held = recording.images[pair.report.held_out_images]
    assert final.uncertainty is not None
    assert len(final.uncertainty.familiar) == len(recording.images)
    settings = final.info.settings
    assert settings["n_fitted_images"] == len(recording.images)
    assert settings["final_of"] == scored.fingerprint
    assert not same(state(final), state(scored))
    loaded = Encoder.load(final.save(tmp_path))
    assert loaded.fingerprint == final.fingerprint
    torch.testing.assert_close(predicted(loaded, held), predicted(final, held))


def test_it_is_the_fit_of_all_images(recording: Simulated) -> None:
    """Closed form: what the same fit gives that holds out nothing but images that were never shown."""
    pair = recording.fit(final_fit=True)
    unseen = recording.images[:20][:, ::-1]
    more = np.concatenate([recording.images, unseen])
    never = np.arange(len(more)) >= len(recording.images)
    rng = np.random.default_rng(0)
    index = np.concatenate([recording.index, np.arange(len(recording.images), len(more)).repeat(2)])
    values = np.concatenate([recording.values, 3 + rng.normal(size=(40, recording.values.shape[1]))])
    whole = recording.fit(images=more, values=values, image_index=index, held_out=never)
    assert pair.final.site_ids == whole.encoder.site_ids
    torch.testing.assert_close(predicted(pair.final, unseen), predicted(whole.encoder, unseen), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pair.final.natural_sd, whole.encoder.natural_sd)


@pytest.mark.parametrize("how", [{}, TRAINED])
def test_it_predicts_the_hidden_truth_better(how: dict[str, Any]) -> None:
    """More photographs, nearer to the truth: images that neither has seen, half of the photographs held out from the scored one."""
    whole = simulate(n=240, seed=3)
    first = whole.index < 120
    part = Simulated(
        images=whole.images[:120],
        values=whole.values[first],
        index=whole.index[first],
        truth=whole.truth[:120],
        options=whole.options,
    )
    pair = part.fit(**how, final_fit=True, holdout_fraction=0.5)
    columns = [whole.options["site_ids"].index(s) for s in pair.encoder.site_ids]
    truth = whole.truth[120:, columns]
    scored, final = (correlation(predicted(e, whole.images[120:]).numpy(), truth) for e in (pair.encoder, pair.final))
    assert np.median(final - scored) > 0.01
    assert (final > scored).mean() >= 0.8


def test_tuning_takes_the_epochs_that_were_kept_and_sets_no_image_aside(
    recording: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    real = encoders.fitting.ensemble_fit.tune

    def told(*arguments: Any, **named: Any) -> FineTuned:
        calls.append(named)
        return real(*arguments, **named)

    monkeypatch.setattr(encoders.fitting.ensemble_fit, "tune", told)
    pair = recording.fit(**TRAINED, fine_tune=3, final_fit=True)
    kept = pair.report.settings["fine_tuning"]["epoch"]
    assert kept > 0
    first, second = calls
    assert first["keep"] is None
    assert second["keep"] == kept
    assert first["epochs"] == second["epochs"] == 3
    assert second["fitted"].sum() == len(recording.images)
    assert not second["stopping"].any()
    assert pair.final.backbone.adapted.keys() == pair.encoder.backbone.adapted.keys()
    how = pair.final.info.settings["fine_tuning"]
    assert how["epoch"] == kept == pair.report.final["epoch"]
    assert how["n_fitted_images"] == len(recording.images)
    assert how["scores"] == "of the encoder that it is the final one of"


def test_where_no_tuning_was_kept_there_is_none(recording: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoders.fitting.ensemble_fit.tune
    calls = []

    def diverging(*arguments: Any, **named: Any) -> FineTuned:
        calls.append(named)
        return real(*arguments, **named | {"learning_rate": 1e30})

    monkeypatch.setattr(encoders.fitting.ensemble_fit, "tune", diverging)
    pair = recording.fit(**TRAINED, fine_tune=1, final_fit=True)
    assert pair.report.settings["fine_tuning"]["epoch"] == 0
    assert len(calls) == 1
    assert not pair.final.backbone.adapted
    assert pair.final.info.settings["fine_tuning"]["epoch"] == pair.report.final["epoch"] == 0
    assert torch.isfinite(predicted(pair.final, recording.images[:4])).all()


def test_a_tuning_that_fails_on_all_images_is_on_record(recording: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoders.fitting.ensemble_fit.tune

    def failing(*arguments: Any, **named: Any) -> FineTuned:
        return real(*arguments, **named | ({} if named["keep"] is None else {"learning_rate": 1.0}))

    monkeypatch.setattr(encoders.fitting.ensemble_fit, "tune", failing)
    pair = recording.fit(**TUNED, final_fit=True)
    assert pair.report.settings["fine_tuning"]["epoch"] > 0
    assert pair.report.final["epoch"] == 0
    assert not pair.final.backbone.adapted


def test_a_warm_start_goes_on_from_the_final_one(recording: Simulated) -> None:
    """With it the final fit begins with its readouts, without it from scratch; what is scored is the same."""
    first = recording.fit(**TRAINED, final_fit=True)
    more = simulate(n=200)
    added = (np.arange(200) >= 160).astype(np.int64)
    pair = (first.encoder, first.validator)
    warm = more.fit(**TRAINED, final_fit=True, added=added, initial=(*pair, first.final))
    cold = more.fit(**TRAINED, final_fit=True, added=added, initial=pair)
    assert same(state(warm.encoder), state(cold.encoder))
    assert not same(state(warm.final), state(cold.final))
    assert warm.final.info.settings["warm_start"] == warm.report.final["warm_start"] == [first.final.fingerprint]
    assert "warm_start" not in cold.final.info.settings
    assert "warm_start" not in cold.report.final
    assert warm.encoder.info.settings["warm_start"] == [e.fingerprint for e in pair]
    with pytest.raises(ValueError, match="initial holds 1 encoders; expected encoder and validator"):
        more.fit(**TRAINED, added=added, initial=pair[:1])
    x = more.images[:40]

    def moved(to: FittedPair) -> float:
        assert to.final is not None
        return float((predicted(to.final, x) - predicted(first.final, x)).square().mean())

    assert moved(warm) < moved(cold)


def test_earlier_networks_and_what_a_final_encoder_knows(recording: Simulated) -> None:
    """The final fit begins with them too; photographs held out here were seen there by the final encoder, which a fit counts."""
    earlier = recording.fit(**TUNED, final_fit=True)
    later = simulate(n=80, sites=4, seed=5).fit(**TRAINED, networks_from=earlier.encoder, final_fit=True)
    for name, tensor in earlier.encoder.backbone.adapted.items():
        assert torch.equal(later.final.backbone.adapted[name], tensor)
    counted = [
        recording.fit(**TRAINED, networks_from=e).report.settings["held_out_known_to_networks"]
        for e in (earlier.encoder, earlier.final)
    ]
    assert counted == [0, len(earlier.report.held_out_images)]


@pytest.mark.parametrize("how", [{"averages": True}, {"importance": True}, {"readout": "pls"}])
def test_other_recordings_and_readouts(recording: Simulated, how: dict[str, Any]) -> None:
    """Averages, weights, PLS; images that were never shown are none that were fitted."""
    values, index = recording.values, recording.index
    if how.pop("averages", False):
        values = np.stack([values[index == i].mean(0) for i in range(len(recording.images))])
        index = np.arange(len(recording.images))
        how = {"averages": True, "repeats": np.full(len(index), 6.0)}
    if how.pop("importance", False):
        how = {"importance": np.linspace(0.5, 2.0, len(recording.images))}
    shown = index >= 10
    pair = recording.fit(values=values[shown], image_index=index[shown], **trimmed(how, shown), final_fit=True)
    assert pair.report.final["n_fitted_images"] == len(recording.images) - 10
    assert len(pair.final.uncertainty.familiar) == len(recording.images) - 10
    assert np.isfinite(predicted(pair.final, recording.images[:10])).all()


def trimmed(how: dict[str, Any], shown: np.ndarray) -> dict[str, Any]:
    return how | ({"repeats": how["repeats"][shown]} if "repeats" in how else {})


def test_an_epoch_that_is_given_is_that_epoch_of_a_tuning() -> None:
    planted = plant(n=160)
    none = np.zeros_like(planted.stopping)
    chosen = planted.tune()
    given = planted.tune(stopping=none, keep=chosen.report.epoch)
    assert chosen.report.epoch > 0
    assert given.report.epoch == chosen.report.epoch
    assert given.report.losses == chosen.report.losses[: given.report.epoch]
    assert given.report.stopping_errors == ()
    assert given.report.stopping_seen == 0
    assert same(state(given.encoder.backbone), state(chosen.encoder.backbone))
    for one, other in zip(given.encoder.readouts, chosen.encoder.readouts, strict=True):
        assert same(state(one), state(other))
    assert given.report.forgetting["blocks.1.0"].relative_change > 0
    earlier = planted.tune(stopping=none, keep=1)
    assert len(earlier.report.losses) == 1
    assert not same(state(earlier.encoder.backbone), state(given.encoder.backbone))
    for rate in (1.0, 1e30):  # finite and not
        diverged = planted.tune(stopping=none, keep=1, learning_rate=rate)
        assert diverged.report.epoch == 0
        assert diverged.encoder is planted.encoder
    for keep in (0, 4):
        with pytest.raises(ValueError, match=f"keep {keep} of 3 epochs.*expected an epoch from 1 to 3"):
            planted.tune(stopping=none, keep=keep)
    with pytest.raises(
        ValueError, match=r"\d+ images to stop by; expected .* no such images.*Fix: flag them as fitted"
    ):
        planted.tune(keep=1)
    with pytest.raises(ValueError, match="3 images to tune on"):
        planted.tune(fitted=np.arange(160) < 3, stopping=none, keep=1)
