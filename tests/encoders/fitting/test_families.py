"""Readouts of several families together: their mean, on frozen and on tuned networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from encoders import Encoder, Ensemble, LinearReadout, MeanReadout, ReadoutSpec, to_images
from encoders.fields.sites import site_maps
from encoders.fitting.candidates import Candidate
from encoders.fitting.compare import compare
from encoders.fitting.members import FitRun, Warm, fit_members
from encoders.fitting.options import NoWarmStart
from tests.encoders.helpers.planted import same
from tests.encoders.helpers.simulated import LAYERS, TINY, Simulated, simulate

BOTH = "ridge+factorised"
HOW: dict[str, Any] = {"folds": 2, "pool": None}


def spec(kind: str) -> ReadoutSpec:
    return ReadoutSpec(kind, epochs=8) if "factorised" in kind else ReadoutSpec(kind)


@pytest.fixture(scope="module")
def small() -> Simulated:
    return simulate(n=120, sites=3, repeats=3)


@pytest.fixture(scope="module")
def pairs(small: Simulated) -> dict[str, Any]:
    return {kind: small.fit(**HOW, readout=spec(kind)) for kind in ("ridge", "factorised", BOTH)}


@pytest.fixture(scope="module")
def tuned(small: Simulated) -> dict[str, Any]:
    how = HOW | {"fine_tune": 3, "final_fit": True}
    return {kind: small.fit(**how, readout=spec(kind)) for kind in ("factorised", BOTH)}


def mean(encoder: Encoder | Ensemble, images: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        answers = encoder(to_images(images))
    return answers.mean(0) if answers.ndim == 3 else answers


@pytest.mark.parametrize("which", ["encoder", "validator"])
def test_the_mean_of_both_is_the_mean_of_each(pairs: dict[str, Any], small: Simulated, which: str) -> None:
    ridge, factorised, both = (getattr(pairs[kind], which) for kind in ("ridge", "factorised", BOTH))
    expected = (mean(ridge, small.images) + mean(factorised, small.images)) / 2
    torch.testing.assert_close(mean(both, small.images), expected, rtol=1e-5, atol=1e-5)
    kinds = [type(readout) for readout in both.readouts]
    assert kinds == [LinearReadout, MeanReadout] * (len(LAYERS) if which == "encoder" else 1)
    assert both(to_images(small.images[:4])).shape == (len(kinds), 4, 3)
    assert len(both.members) == len(kinds)


def test_it_is_saved_loaded_judged_and_mapped(pairs: dict[str, Any], small: Simulated, tmp_path: Any) -> None:
    pair = pairs[BOTH]
    loaded = Encoder.load(pair.encoder.save(tmp_path))
    assert loaded.fingerprint == pair.encoder.fingerprint
    images = to_images(small.images[:20])
    torch.testing.assert_close(loaded(images), pair.encoder(images))
    assert bool((loaded.judge(images).sd > 0).all())
    masked = site_maps(pairs["factorised"].encoder, small.images)
    np.testing.assert_allclose(site_maps(pair.encoder, small.images), masked, rtol=1e-4)  # by the factorised masks


def test_intervals_hold_what_was_left_out_of_the_fit() -> None:
    whole = simulate(n=240, sites=5, repeats=3, seed=1)
    pair = whole.fit(**HOW, readout=spec(BOTH), holdout_fraction=0.4)
    held = pair.report.held_out_images
    found = pair.encoder.judge(to_images(whole.images[held]), level=0.9)
    truth = torch.from_numpy(whole.truth[held])
    inside = ((found.lower < truth) & (truth < found.upper)).double().mean()
    assert 0.84 < float(inside) < 0.97


def test_closed_forms_are_solved_on_the_networks_that_the_others_tuned(tuned: dict[str, Any], small: Simulated) -> None:
    """The network is that of the trained family alone; the ridges are those fitted to it with `networks_from`."""
    alone, both = tuned["factorised"], tuned[BOTH]
    assert both.report.settings["fine_tuning"]["epoch"] == alone.report.settings["fine_tuning"]["epoch"] > 0
    for name in ("encoder", "final"):
        own, other = (getattr(pair, name).backbone.adapted for pair in (both, alone))
        assert same(own, other)
        assert own
    again = small.fit(**HOW, readout="ridge", networks_from=both.final, final_fit=True).final
    expected = (mean(again, small.images) + mean(alone.final, small.images)) / 2
    torch.testing.assert_close(mean(both.final, small.images), expected, rtol=1e-4, atol=1e-4)


def test_a_tuning_that_is_not_kept_leaves_the_frozen_families(pairs: dict[str, Any], small: Simulated) -> None:
    import encoders.fitting.ensemble_fit as module

    real = module.tune
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "tune", lambda *a, **k: real(*a, **k | {"learning_rate": 1e30}))
        pair = small.fit(**HOW, readout=spec(BOTH), fine_tune=1)
    assert pair.report.settings["fine_tuning"]["epoch"] == 0
    assert not pair.encoder.backbone.adapted
    assert [type(r) for r in pair.encoder.readouts] == [type(r) for r in pairs[BOTH].encoder.readouts]


def test_a_comparison_scores_the_mean(small: Simulated) -> None:
    layers = ("blocks.0.0",)
    how = {"layers": layers, "backbone": TINY, "weights": "random"}
    kinds = ("ridge", "factorised", BOTH)
    found = compare(
        [Candidate(kind, spec(kind), **how) for kind in kinds],
        small.images,
        small.values,
        image_index=small.index,
        site_ids=small.options["site_ids"],
        folds=2,
    )
    ridge, factorised, both = (score.predicted for score in found.scores)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ridge, factorised, rtol=1e-3)
    assert np.isfinite(both).all()
    assert np.corrcoef(both.ravel(), (ridge + factorised).ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ridge+nonsense", r"readout 'nonsense'.*ridge\+factorised"),
        ("ridge+ridge", "different families"),
        ("ridge+banded_ridge", r"would weigh unequally"),
        ("population+topographic", "expected 'population' alone"),
        ("ridge+population", "expected 'population' alone"),
    ],
)
def test_families_that_cannot_stand_together_are_refused(kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReadoutSpec(kind)


def test_there_is_no_warm_start(pairs: dict[str, Any], small: Simulated) -> None:
    before = pairs[BOTH]
    with pytest.raises(NoWarmStart, match=r"'ridge\+factorised' is solved in closed form"):
        small.fit(**HOW, readout=spec(BOTH), initial=(before.encoder, before.validator))
    with pytest.raises(NoWarmStart, match=r"several families of readouts, 'factorised\+gaussian'"):
        small.fit(**HOW, readout="factorised+gaussian", initial=(before.encoder, before.validator))
    warm = FitRun(warm=Warm([], torch.ones(4, dtype=torch.bool)))
    for kind, why in ((BOTH, "is solved in closed form"), ("factorised+gaussian", "joins several families")):
        with pytest.raises(ValueError, match=rf"{why}: it has no warm start"):
            fit_members(ReadoutSpec(kind), {}, (), targets=torch.ones(4, 1), folds=torch.arange(4), run=warm)


def test_a_mean_reads_all_layers_of_its_parts_and_needs_as_many_sites_each(pairs: dict[str, Any]) -> None:
    first, second = pairs["ridge"].encoder.readouts[:2]
    assert MeanReadout([first, second]).layers == (*first.layers, *second.layers)
    with pytest.raises(ValueError, match="expected one or more, of the same number of sites"):
        MeanReadout([])
