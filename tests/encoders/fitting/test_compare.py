from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.fitting.candidates import Candidate, read_candidates
from encoders.fitting.compare import compare, explained_variance
from encoders.fitting.comparison import paired_difference
from encoders.fitting.readout_spec import READOUTS, ReadoutSpec
from encoders.metrics import correlation, repeat_means
from encoders.solvers.catalogue import NEEDS_EARLIER

TINY = "timm:test_efficientnet"


def candidate(name, kind="ridge", layers=("blocks.1.0",), combine="mean", **spec):
    return Candidate(
        name=name,
        readout=ReadoutSpec(kind, pool=4, **spec),
        layers=layers,
        backbone=TINY,
        weights="random",
        combine=combine,
    )


def run(recording, candidates, **changes):
    given = {"site_ids": recording.options["site_ids"], "folds": 3} | changes
    return compare(candidates, recording.images, recording.values, image_index=recording.index, **given)


@pytest.fixture(scope="module")
def comparison(recording):
    """The sites read blocks.1.0; the stem is a poor layer, a readout of shuffled images a worse one."""
    layers = ("conv_stem", "blocks.1.0", "blocks.2.0")
    candidates = [
        candidate("stem", layers=("conv_stem",)),
        candidate("search", layers=layers, combine="best"),
        candidate("true layer"),
    ]
    return run(recording, candidates)


def test_layer_search_finds_the_planted_layer(comparison):
    search = comparison.scores[1]
    assert (search.best_layer == 1).mean() > 0.9  # 3 outer folds x 5 sites
    assert np.median(search.r_nc) > np.median(comparison.scores[0].r_nc) + 0.05
    assert np.median(np.abs(search.r - comparison.scores[2].r)) < 0.02


def test_the_inner_folds_choose_and_the_outer_ones_score(comparison, recording):
    assert set(comparison.chosen_names) <= {"search", "true layer"}
    assert np.median(comparison.chosen.r_nc) > 0.8
    means, _ = repeat_means(recording.values, recording.index, len(recording.images))
    for score in comparison.scores:
        assert np.isfinite(score.predicted).all()
        np.testing.assert_allclose(score.r, correlation(score.predicted, means))
        np.testing.assert_allclose(score.r_nc, score.r / np.sqrt(comparison.reliability))


def test_outer_responses_change_no_prediction_of_their_fold(recording):
    from encoders.splits import group_folds, group_names

    outer = group_folds(group_names(recording.images), 3, seed=0)
    rows = (outer == 1).numpy()[recording.index]
    values = recording.values.copy()
    values[rows] = np.random.default_rng(0).random((int(rows.sum()), 5))
    layers = ("conv_stem", "blocks.1.0")
    a = run(recording, [candidate("x", layers=layers, combine="best")])
    b = compare(
        [a.scores[0].candidate], recording.images, values, image_index=recording.index, site_ids=a.site_ids, folds=3
    )
    held = (outer == 1).numpy()
    np.testing.assert_array_equal(a.scores[0].predicted[held], b.scores[0].predicted[held])
    assert not np.allclose(a.scores[0].predicted[~held], b.scores[0].predicted[~held])


@pytest.mark.parametrize("kind", sorted({*READOUTS} - {*NEEDS_EARLIER}))
def test_every_readout_can_be_compared(recording, kind):
    options = {"coordinates": [[float(u), 0.0] for u in range(5)]} if kind == "topographic" else {}
    spec = {"epochs": 3, "options": options} if kind not in ("ridge", "banded_ridge", "pls") else {}
    found = run(recording, [candidate(kind, kind, ("blocks.0.0", "blocks.1.0"), **spec)], folds=2)
    assert np.isfinite(found.scores[0].predicted).all()
    assert found.scores[0].memory > 0
    assert kind in found.table()


def test_averages_are_scored_without_a_ceiling(recording):
    means, _ = repeat_means(recording.values, recording.index, len(recording.images))
    found = compare(
        [candidate("ridge")],
        recording.images,
        means,
        image_index=np.arange(len(means)),
        site_ids=recording.options["site_ids"],
        folds=3,
        averages=True,
    )
    assert np.isnan(found.scores[0].r_nc).all()
    assert found.scores[0].r.min() > 0.7
    assert found.to_dict()["candidates"][0]["median_r_nc"] is None


def test_table_and_record(comparison):
    text = comparison.table()
    assert "gain over stem" in text
    assert "chosen in the 3 outer folds" in text
    record = comparison.to_dict()
    assert [row["name"] for row in record["candidates"]] == ["stem", "search", "true layer", "chosen"]
    assert record["candidates"][1]["gain"][1] > 0
    assert record["candidates"][0]["gain"] == [0, 0, 0]


def test_paired_interval_by_known_values():
    a = np.full(40, 0.5) + np.tile([0.1, 0.3], 20)
    found = paired_difference(a, np.full(40, 0.5))
    assert found.median == pytest.approx(0.2)
    assert found.lower == pytest.approx(0.1)
    assert found.upper == pytest.approx(0.3)
    assert (found.better, found.sites) == (40, 40)
    assert paired_difference(np.full(3, np.nan), np.zeros(3)).sites == 0


def test_explained_variance_is_one_for_truth_and_zero_for_the_mean():
    y = torch.randn(50, 2, dtype=torch.float64)
    w = torch.rand(50, dtype=torch.float64) + 0.1
    y[3, 0] = torch.nan
    centre = torch.stack([(w * y[:, u])[~y[:, u].isnan()].sum() / w[~y[:, u].isnan()].sum() for u in range(2)])
    torch.testing.assert_close(explained_variance(y, y, w), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(
        explained_variance(centre.expand(50, 2), y, w), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_candidates_are_read_and_faults_named():
    table = {"candidate": [{"name": "a", "readout": "factorised", "strengths": [0.3, 1.0], "combine": "best"}]}
    (found,) = read_candidates(table, layers=("x", "y"))
    assert found.layers == ("x", "y")
    assert found.readout.strengths == (0.3, 1.0)
    with pytest.raises(ValueError, match=r"no \[\[candidate\]\]"):
        read_candidates({}, layers=("x",))
    with pytest.raises(ValueError, match="unknown entry 'layer'; nearest: layers"):
        read_candidates({"candidate": [{"readout": "ridge", "layer": ["a"]}]}, layers=("x",))
    with pytest.raises(ValueError, match="candidate 1: readout 'rigde'; expected one of ridge"):
        read_candidates({"candidate": [{"readout": "rigde"}]}, layers=("x",))
    (both,) = read_candidates({"candidate": [{"readout": "ridge+factorised"}]}, layers=("x",))
    assert both.readout.kind == both.name == "ridge+factorised"
    with pytest.raises(ValueError, match="candidate 1: readout None; expected one of ridge"):
        read_candidates({"candidate": [{}]}, layers=("x",))
    with pytest.raises(ValueError, match=r"candidate 1: .*takes no options"):
        read_candidates({"candidate": [{"readout": "ridge", "options": {"mask": 1}}]}, layers=("x",))
    with pytest.raises(ValueError, match="combine 'median'"):
        candidate("x", combine="median")


def test_names_must_differ(recording):
    with pytest.raises(ValueError, match="all named differently"):
        run(recording, [candidate("x"), candidate("x")])


@pytest.mark.parametrize(("level", "averages"), [(0.0, False), (123.456, False), (1e-12, True)])
def test_a_channel_that_never_varies_chooses_no_candidate(recording, level, averages):
    """Beside it, the others are scored and chosen as without it, to the last digit of a closed form."""
    candidates = [candidate("stem", layers=("conv_stem",)), candidate("true layer"), candidate("trained", "factorised")]
    how = {"averages": averages}
    without = run(recording, candidates, **how)
    ids = [*recording.options["site_ids"][:2], "dead", *recording.options["site_ids"][2:]]
    values = np.insert(recording.values, 2, level, axis=1)
    beside = compare(candidates, recording.images, values, image_index=recording.index, site_ids=ids, folds=3, **how)
    assert beside.chosen_names == without.chosen_names
    assert beside.settings["constant_sites"] == ["dead"]
    assert "dead" in beside.table()
    alive = np.delete(np.arange(len(ids)), 2)
    for score, before in zip(beside.scores, without.scores, strict=True):
        assert np.isnan(score.r[2])
        assert np.isnan(score.inner_r2[:, 2]).all()
        np.testing.assert_allclose(score.r[alive], before.r, atol=2e-3 if score.candidate.name == "trained" else 1e-9)


def test_a_recording_without_a_varying_site_can_be_compared(recording):
    values = np.full_like(recording.values, 3.3)
    found = run(replace(recording, values=values), [candidate("a"), candidate("b", layers=("conv_stem",))])
    assert np.isnan(found.chosen.r).all()


def test_a_readout_that_needs_an_earlier_recording_is_not_compared():
    with pytest.raises(ValueError, match="'population' reads sites of an earlier recording"):
        candidate("x", "population", ("blocks.0.0",))
