"""Signal and noise of mean responses against plain loops and against simulations whose truth is known."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway

from encoders.metrics import explainable_variance, feve, noise_corrected_r, split_half_reliability
from encoders.reliability import chance_of_signal, reliability_of_means, signal_sd, varies

EXAMPLES = settings(max_examples=10, deadline=None)


@st.composite
def designs(draw):
    """Trials of each of 150 ... 400 images: equal, odd, mostly single, or any; noise SD; share of missing trials."""
    images = draw(st.integers(150, 400))
    kind = draw(st.sampled_from(["equal", "single beside many", "any"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "equal":
        counts = np.full(images, draw(st.integers(2, 11)))
    elif kind == "single beside many":
        share = draw(st.floats(0.2, 0.5))
        counts = np.where(rng.random(images) < share, draw(st.integers(3, 25)), 1)
    else:
        counts = rng.integers(1, draw(st.integers(3, 9)), images)
    missing = draw(st.sampled_from([0.0, 0.0, 0.1, 0.3]))
    return counts, draw(st.floats(0.3, 1.2)), missing, rng


def simulated(counts, noise, missing, rng, sites):
    truth = rng.normal(size=(len(counts), sites))
    index = np.repeat(np.arange(len(counts)), counts)
    values = truth[index] + noise * rng.normal(size=(len(index), sites))
    values[rng.random(values.shape) < missing] = np.nan
    return truth, values, index


@EXAMPLES
@given(designs(), st.floats(-15, 6), st.floats(-1e3, 1e3))
def test_a_perfect_prediction_scores_one_whatever_the_design(design, magnitude, shift):
    """Mean over sites, in any unit; without the correction the scores of these designs lie between 0.5 and 1."""
    truth, values, index = simulated(*design, sites=150)
    unit = 10.0**magnitude
    found = noise_corrected_r(unit * (truth + shift), unit * (values + shift), index)
    assert np.nanmedian(found) == pytest.approx(1.0, abs=0.02)
    assert np.nanmedian(feve(truth, values, index)) == pytest.approx(1.0, abs=0.05)


def looped(values, index, images):
    """Reliability site by site and trial by trial, by the definition of one-way random effects."""
    found = []
    for site in range(values.shape[1]):
        groups = [
            [x for x, i in zip(values[:, site], index, strict=True) if i == k and math.isfinite(x)] for k in images
        ]
        groups = [group for group in groups if group]
        repeated = [group for group in groups if len(group) > 1]
        if len(repeated) < 3:
            found.append(math.nan)
            continue
        within = [sum((x - sum(g) / len(g)) ** 2 for x in g) for g in groups]
        pooled = sum(within) / sum(len(g) - 1 for g in groups)
        single = pooled
        # moved along the line of variance over mean
        if len(repeated) >= 8 and any(len(group) == 1 for group in groups):
            alone = [group[0] for group in groups if len(group) == 1]
            weights = [len(group) - 1 for group in repeated]
            line = [(sum(g) / len(g), statistics.variance(g)) for g in repeated]
            centre = sum(w * m for w, (m, _) in zip(weights, line, strict=True)) / sum(weights)
            across = sum(w * (m - centre) ** 2 for w, (m, _) in zip(weights, line, strict=True))
            along = sum(w * (m - centre) * v for w, (m, v) in zip(weights, line, strict=True))
            single = max(pooled + (along / across if across > 0 else 0) * (sum(alone) / len(alone) - centre), 0.0)
        noise = sum((w / (len(g) - 1) if len(g) > 1 else single) / len(g) for g, w in zip(groups, within, strict=True))
        means = [sum(g) / len(g) for g in groups]
        centre = sum(means) / len(means)
        total = sum((m - centre) ** 2 for m in means) / (len(means) - 1)
        found.append((total - noise / len(groups)) / total)
    return found


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.integers(4, 24), st.integers(8, 80))
def test_the_reliability_equals_a_loop_over_trials(seed, images, trials):
    rng = np.random.default_rng(seed)
    index = rng.integers(-1, images, trials)
    values = rng.normal(size=(trials, 3)) + index[:, None]
    values[rng.random(values.shape) < 0.2] = np.nan
    found = reliability_of_means(values, index, n_images=images)
    np.testing.assert_allclose(found, looped(values, index, range(images)), rtol=1e-9, atol=1e-9)


@EXAMPLES
@given(
    st.sampled_from([0.25, 0.4, 2.0, 3.0]),
    st.sampled_from(["poisson", "normal"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_repeats_of_the_images_that_drive_a_site_most_or_least_do_not_mislead(factor, noise, follows, seed):
    """The repeated images drive the sites more or less than those with one trial, as where the best are shown again."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(1.5, 2.0, size=(240, 150))
    if follows:  # one rate, and as many trials as it gives
        truth = np.repeat(truth[:, :1], 150, 1)
        counts = np.clip((3 * truth[:, 0] if factor > 1 else 12 - 3 * truth[:, 0]).astype(int), 1, 15)
    else:
        counts = np.where(np.arange(240) < 60, 10, 1)
        truth[:60] *= factor
    index = np.repeat(np.arange(240), counts)
    rates = truth[index]
    values = rng.poisson(rates).astype(float) if noise == "poisson" else rates + rng.normal(size=rates.shape)
    assert np.nanmedian(noise_corrected_r(truth, values, index)) == pytest.approx(1.0, abs=0.03)
    assert np.median(signal_sd(values, index) / truth.std(0, ddof=1)) == pytest.approx(1.0, abs=0.05)


@EXAMPLES
@given(designs())
def test_split_halves_agree_with_the_variance_components(design):
    _, values, index = simulated(*design, sites=60)
    halves = split_half_reliability(values, index, n_splits=12)
    assert np.nanmean(halves) == pytest.approx(np.nanmean(reliability_of_means(values, index)), abs=0.04)


@EXAMPLES
@given(designs(), st.sampled_from(["normal", "uniform"]))
def test_noise_alone_passes_as_often_as_promised(design, kind):
    """1000 sites without signal: the probabilities that `chance_of_signal` gives are uniform, up to their own noise."""
    counts, _, missing, rng = design
    index = np.repeat(np.arange(len(counts)), counts)[: 40 * 25]
    values = getattr(rng, kind)(size=(len(index), 1000))
    values[rng.random(len(index)) < missing] = np.nan
    chance = chance_of_signal(values, index)
    if np.isnan(chance).all():
        return
    for level in (0.2, 0.05, 0.01):
        assert np.mean(chance < level) < 1.3 * level + 3 * math.sqrt(level / 1000)


@EXAMPLES
@given(st.integers(0, 2**32 - 1))
def test_the_probability_is_that_of_the_analysis_of_variance_where_all_images_have_as_many_trials(seed):
    rng = np.random.default_rng(seed)
    images, repeats = int(rng.integers(15, 40)), int(rng.integers(2, 7))
    values = rng.uniform(size=(images * repeats, 2)) + 0.3 * rng.uniform(size=(images, 2)).repeat(repeats, 0)
    index = np.repeat(np.arange(images), repeats)
    single = np.concatenate([values, rng.uniform(size=(50, 2))])  # images of one trial take no part
    found = chance_of_signal(single, np.concatenate([index, images + np.arange(50)]))
    expected = [f_oneway(*values[:, u].reshape(images, repeats)).pvalue for u in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("counts", [[4] * 150, [10] * 25, [2] * 60 + [20] * 20, [2] * 60 + [3] * 80])
def test_sparse_counts_without_signal_do_not_pass_more_often(counts):
    """Poisson counts of 0.05 per trial; the F distribution alone lets four times too many pass at 0.001."""
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(len(counts)), counts)
    chance = chance_of_signal(rng.poisson(0.05, size=(len(index), 400)).astype(float), index)
    assert np.nanmean(chance < 0.05) < 0.09
    assert np.nanmean(chance < 0.002) < 0.012
    assert np.nanmean(chance < 1e-4) < 0.005


def test_sparse_counts_with_signal_pass():
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(200), 6)
    rates = np.where(rng.random((200, 10)) < 0.05, 3.0, 0.02)
    assert chance_of_signal(rng.poisson(rates[index]).astype(float), index).max() < 1e-4


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.floats(-15, 6), st.floats(-1e6, 1e6))
def test_constant_sites_are_unknown_in_any_unit_and_others_do_not_change(seed, magnitude, level):
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    signal = rng.normal(size=(30, 2))
    values = signal[index] + 0.5 * rng.normal(size=(len(index), 2))
    scaled = 10.0**magnitude * np.column_stack([values[:, 0], np.full(len(index), level), values[:, 1]])
    predicted = np.column_stack([signal[:, 0], rng.normal(size=30), signal[:, 1]]) * 10.0**magnitude
    for score in (reliability_of_means, chance_of_signal, split_half_reliability, explainable_variance):
        found = score(scaled, index)
        assert np.isnan(found).tolist() == [False, True, False]
        np.testing.assert_allclose(found[[0, 2]], score(values, index), rtol=1e-6, atol=1e-9)
    for score in (noise_corrected_r, feve):
        assert np.isnan(score(predicted, scaled, index)[1])
    np.testing.assert_allclose(signal_sd(scaled, index)[1], 0, atol=0)


def test_reliability_without_noise_without_signal_and_without_repeats():
    rng = np.random.default_rng(1)
    index = np.repeat(np.arange(40), 3)
    signal = rng.normal(size=(40, 1))
    np.testing.assert_allclose(reliability_of_means(signal[index], index), 1)
    assert chance_of_signal(signal[index], index)[0] == 0
    noise = rng.normal(size=(120, 400))
    assert np.median(reliability_of_means(noise, index)) == pytest.approx(0, abs=0.05)
    assert np.isnan(noise_corrected_r(np.tile(signal, (1, 400)), noise, index)).mean() > 0.3  # no signal to correct for
    assert np.isnan(reliability_of_means(noise, np.arange(120))).all()
    assert np.isnan(chance_of_signal(noise, np.arange(120))).all()


def test_what_varies_is_told_without_a_unit():
    x = np.array([[1.0, 1e-15, 5.0, np.nan, 0.0], [1.0, 3e-15, 5.0 + 1e-14, np.nan, 0.0], [1.0, np.nan, 5.0, 2.0, 0.0]])
    assert varies(x).tolist() == [False, True, False, False, False]
    assert varies(np.zeros((0, 2))).tolist() == [False, False]
