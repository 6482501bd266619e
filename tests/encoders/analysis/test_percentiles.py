"""Percentiles of retrieved images: exact on small cases, uniform under the null, planted words."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from encoders.analysis.percentiles import WordTest, halves, percentile_test, percentiles, word_test
from tests.encoders.analysis.test_words import planted


def mask(n: int, *chosen: int) -> np.ndarray:
    return np.isin(np.arange(n), chosen)


def test_a_small_case_by_hand() -> None:
    found = percentile_test([5.0, 1.0, 4.0, 2.0], mask(4, 0, 2))
    assert (found.percentile, found.exact) == (100.0, True)
    assert found.p == pytest.approx(1 / 6)  # the largest of six sets
    assert percentile_test([1.0, 1.0, 1.0], mask(3, 0)) == percentile_test([1.0, 1.0, 1.0], mask(3, 2))
    np.testing.assert_array_equal(percentiles([0.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0]), [0.0, 37.5, 100.0])


def test_under_the_null_p_is_uniform_on_its_values() -> None:
    """Every set of K of N images is as likely as any other: P(p <= a) = a at each value a that p takes."""
    responses = np.random.default_rng(0).normal(size=7)
    for k in (1, 2, 3):
        p = np.array([percentile_test(responses, mask(7, *own)).p for own in combinations(range(7), k)])
        for value in np.unique(p):
            assert (p <= value + 1e-12).mean() == pytest.approx(value)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5))
def test_it_is_the_exact_rank_sum_test(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    responses, chosen = rng.normal(size=12), np.zeros(12, dtype=bool)
    chosen[rng.permutation(12)[:k]] = True
    found = percentile_test(responses, chosen)
    other = mannwhitneyu(responses[chosen], responses[~chosen], alternative="greater", method="exact")
    assert found.p == pytest.approx(other.pvalue)
    assert found.percentile == pytest.approx(100 * other.statistic / (k * (12 - k)))


def test_many_sets_are_sampled() -> None:
    responses = np.random.default_rng(0).normal(size=200)
    chosen = mask(200, *np.argsort(-responses)[:5])
    found = percentile_test(responses, chosen, n_draws=199)
    assert (found.exact, found.p, found.percentile) == (False, 1 / 200, 100.0)


def test_own_words_retrieve_images_that_drive_the_site_and_other_words_do_not() -> None:
    embeddings, words, responses, _ = planted(noise=6)
    found = word_test(embeddings, words, responses)
    own = np.diagonal(found.highest)
    assert own[:12].mean() > 75
    assert np.diagonal(found.lowest)[:12].mean() < 25
    assert np.median(found.p_highest[:12]) < 0.01 < found.p_highest[12:].min()
    assert abs(found.highest[~np.eye(18, dtype=bool)].mean() - 50) < 5
    assert abs(own[12:].mean() - 50) < 15
    judged = np.zeros_like(responses)
    judged[:] = -responses  # judged by responses that are the opposite
    turned = word_test(embeddings, words, responses, judged=judged)
    np.testing.assert_allclose(turned.highest, 100 - found.highest)


def test_words_and_images_come_from_different_photographs() -> None:
    """A recording of pure noise that follows every photograph: words chosen on the same photographs would succeed."""
    rng = np.random.default_rng(4)
    embeddings, words = rng.normal(size=(200, 150)), rng.normal(size=(150, 150))
    found = word_test(embeddings, words, rng.normal(size=(200, 20)))
    assert abs(np.diagonal(found.highest).mean() - 50) < 6


def test_shares_by_hand() -> None:
    own, other = np.array([99.5, 92.0]), 50.0
    highest = np.array([[own[0], other], [95.5, own[1]]])
    found = WordTest(highest=highest, lowest=100 - highest, p_highest=own, p_lowest=own, n_images=1)
    shares = {r["threshold"]: (r["highest"], r["highest_null"], r["lowest"], r["lowest_null"]) for r in found.shares()}
    assert shares == {90.0: (1.0, 0.5, 1.0, 0.5), 95.0: (0.5, 0.5, 0.5, 0.5), 99.0: (0.5, 0.0, 0.5, 0.0)}
    alone = WordTest(highest=highest[:1, :1], lowest=highest[:1, :1], p_highest=own, p_lowest=own, n_images=1)
    assert np.isnan(alone.shares()[0]["highest_null"])


def test_groups_stay_in_one_half_and_count_as_one_image() -> None:
    index = np.repeat(np.arange(10), 3)
    side = halves(index, 0)
    assert all(len(set(side[index == g])) == 1 for g in range(10))
    assert side.sum() == 15
    rng = np.random.default_rng(0)
    e, w, y = rng.normal(size=(24, 6)), rng.normal(size=(5, 6)), rng.normal(size=(24, 2))
    once = word_test(e, w, y, n_images=2)
    twice = word_test(np.repeat(e, 2, 0), w, np.repeat(y, 2, 0), groups=list(np.repeat(np.arange(24), 2)), n_images=2)
    np.testing.assert_allclose(twice.highest, once.highest)
    np.testing.assert_allclose(twice.p_highest, once.p_highest)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: percentile_test([1.0, 2.0], mask(2)), "at least one"),
        (lambda: percentile_test([1.0, 2.0], mask(2, 0, 1)), "not all"),
        (lambda: percentile_test([1.0, np.nan], mask(2, 0)), "finite"),
        (lambda: percentiles([1.0], []), "two lists"),
        (lambda: word_test(np.ones((8, 2)), np.ones((1, 2)), np.ones((8, 1)), n_images=3), "at most half"),
        (lambda: halves(np.zeros(4, dtype=int), 0), "one group"),
    ],
)
def test_what_is_refused(call, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        call()
