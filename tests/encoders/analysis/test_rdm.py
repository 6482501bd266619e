"""Dissimilarity matrices and their similarity, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.metrics.pairwise import nan_euclidean_distances

from encoders.analysis.rdm import rdm, rdm_similarity, topological_rdm, topological_similarity
from tests.encoders.helpers.matrices import upper

# RDMs


def test_rdm_equals_scipy(rng):
    responses = rng.normal(size=(12, 7)) + 100 * rng.normal(size=(12, 1))
    np.testing.assert_allclose(rdm(responses), squareform(pdist(responses, "correlation")), atol=1e-12)
    np.testing.assert_allclose(rdm(responses, "euclidean"), squareform(pdist(responses)), atol=1e-12)


def test_missing_responses_leave_the_other_sites_of_the_pair(rng):
    responses = rng.normal(size=(9, 8)) + 5
    responses[rng.random(responses.shape) < 0.25] = np.nan
    found = rdm(responses)
    for i in range(9):
        for j in range(i):
            both = np.isfinite(responses[i]) & np.isfinite(responses[j])
            expected = 1 - np.corrcoef(responses[i][both], responses[j][both])[0, 1] if both.sum() >= 3 else np.nan
            np.testing.assert_allclose(found[i, j], expected, atol=1e-10)
    np.testing.assert_allclose(rdm(responses, "euclidean"), nan_euclidean_distances(responses), atol=1e-10)


def test_images_without_a_pattern_have_no_correlation_distance(rng):
    responses = rng.normal(size=(5, 6))
    responses[1], responses[3] = 2.0, np.nan
    found = rdm(responses)
    assert np.isnan(found[1, [0, 2, 3, 4]]).all()
    assert np.isnan(found[3, [0, 1, 2, 4]]).all()
    assert np.isfinite(found[0, [2, 4]]).all()
    np.testing.assert_array_equal(np.diag(found), 0)


def test_rdm_does_not_know_gain_or_offset_of_an_image(rng):
    responses = rng.normal(size=(10, 6))
    np.testing.assert_allclose(rdm(responses * rng.uniform(0.1, 9, (10, 1)) - 3), rdm(responses), atol=1e-12)
    np.testing.assert_allclose(rdm(responses, "euclidean"), rdm(responses + rng.normal(size=6), "euclidean"))


def test_similarity_equals_scipy_with_ties_and_gaps(rng):
    a, b = (np.round(squareform(pdist(rng.normal(size=(15, 4)))), 0) for _ in range(2))
    b = b + a
    assert rdm_similarity(a, b) == pytest.approx(spearmanr(upper(a), upper(b)).statistic)
    assert rdm_similarity(a, b, "pearson") == pytest.approx(np.corrcoef(upper(a), upper(b))[0, 1])
    a[2, 5] = a[5, 2] = b[0, 1] = b[1, 0] = np.nan
    kept = np.isfinite(upper(a) + upper(b))
    assert rdm_similarity(a, b) == pytest.approx(spearmanr(upper(a)[kept], upper(b)[kept]).statistic)


def test_similarity_of_ranks_is_invariant_to_monotone_maps(rng):
    a, b = rdm(rng.normal(size=(20, 5))), rdm(rng.normal(size=(20, 5)))
    assert rdm_similarity(np.exp(3 * a), b) == pytest.approx(rdm_similarity(a, b))
    assert rdm_similarity(a, a) == pytest.approx(1)
    assert np.isnan(rdm_similarity(np.ones((5, 5)), b[:5, :5]))
    assert np.isnan(rdm_similarity(a[:2, :2], b[:2, :2]))


def test_wrong_rdms_are_named(rng):
    with pytest.raises(ValueError, match=r"expected \(N, P\)"):
        rdm(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="metric 'cosine'"):
        rdm(np.zeros((3, 2)), "cosine")
    with pytest.raises(ValueError, match="responses given in place of their RDM"):
        rdm_similarity(np.zeros((3, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="method 'kendall'"):
        rdm_similarity(np.zeros((3, 3)), np.zeros((3, 3)), "kendall")


# Topology


def test_topological_rdm_by_hand():
    matrix = squareform([1.0, 2, 3, 4, 5, 6])
    found = upper(topological_rdm(matrix, 0.2, 0.8))  # quantiles 2 and 5
    np.testing.assert_allclose(found, [0, 0, 1 / 3, 2 / 3, 1, 1])
    np.testing.assert_array_equal(upper(topological_rdm(matrix, 0.4, 0.4)), [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(upper(topological_rdm(matrix, 0, 1)), np.arange(6) / 5)


def test_the_widest_quantiles_keep_the_geometry(rng):
    a, b = rdm(rng.normal(size=(20, 5))), rdm(rng.normal(size=(20, 5)))
    assert topological_similarity(a, b, 0, upper=1) == pytest.approx(rdm_similarity(a, b, "pearson"))


def test_topology_does_not_feel_the_far_distances(rng):
    a = squareform(pdist(np.concatenate([rng.normal(size=(10, 3)), 20 + rng.normal(size=(10, 3))])))
    b = np.where(a > 10, a**2, a)  # the two clouds, pulled apart
    assert topological_similarity(a, b, 0, upper=0.4) == pytest.approx(1)
    assert rdm_similarity(a, b, "pearson") < 0.999
    assert not np.isnan(topological_rdm(np.zeros((4, 4)), 0.1, 0.9)).any()


def test_missing_dissimilarities_stay_missing():
    matrix = squareform([1.0, 2, np.nan, 4, 5, 6])
    assert np.isnan(topological_rdm(matrix, 0.1, 0.9)).sum() == 2
    assert np.isnan(topological_rdm(np.full((3, 3), np.nan), 0.1, 0.9)).all()
    with pytest.raises(ValueError, match="give quantiles"):
        topological_rdm(matrix, 0.5, 1.5)
