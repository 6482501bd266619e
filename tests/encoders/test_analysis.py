from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import f_oneway, spearmanr
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import nan_euclidean_distances

from encoders.analysis.kernel import kernel_analysis
from encoders.analysis.layer_gradient import layer_gradient
from encoders.analysis.rdm import rdm, rdm_similarity, topological_rdm, topological_similarity
from encoders.analysis.similarity import representational_similarity, robust_rdm_similarity, split_half_rdm_similarity


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


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
    assert topological_similarity(a, b, 0, 1) == pytest.approx(rdm_similarity(a, b, "pearson"))


def test_topology_does_not_feel_the_far_distances(rng):
    a = squareform(pdist(np.concatenate([rng.normal(size=(10, 3)), 20 + rng.normal(size=(10, 3))])))
    b = np.where(a > 10, a**2, a)  # the two clouds, pulled apart
    assert topological_similarity(a, b, 0, 0.4) == pytest.approx(1)
    assert rdm_similarity(a, b, "pearson") < 0.999
    assert not np.isnan(topological_rdm(np.zeros((4, 4)), 0.1, 0.9)).any()


def test_missing_dissimilarities_stay_missing():
    matrix = squareform([1.0, 2, np.nan, 4, 5, 6])
    assert np.isnan(topological_rdm(matrix, 0.1, 0.9)).sum() == 2
    assert np.isnan(topological_rdm(np.full((3, 3), np.nan), 0.1, 0.9)).all()
    with pytest.raises(ValueError, match="give quantiles"):
        topological_rdm(matrix, 0.5, 1.5)


# Subsamples, ceilings


def recording(rng, n=60, sites=24, repeats=6, noise=1.0, units=40):
    """A model that shares 12 of its dimensions with the sites and has 6 of its own."""
    shared, own = rng.normal(size=(n, 12)), rng.normal(size=(n, 6))
    model = shared @ rng.normal(size=(12, units)) + 1.5 * own @ rng.normal(size=(6, units))
    truth = shared @ rng.normal(size=(12, sites)) / np.sqrt(12)
    index = np.repeat(np.arange(n), repeats)
    return model, truth, truth[index] + noise * rng.normal(size=(n * repeats, sites)), index


def test_a_subsample_of_everything_is_the_whole(rng):
    a, b = rng.normal(size=(2, 15, 8))
    found = robust_rdm_similarity(a, b, image_fraction=1.0, n_sites=8, units="all", n_subsamples=3)
    np.testing.assert_allclose(found.values, rdm_similarity(rdm(a), rdm(b)))
    assert found.lower == pytest.approx(found.upper)


def test_matched_units_are_the_sites_own(rng):
    a = rng.normal(size=(30, 10))
    assert robust_rdm_similarity(a, 3 * a, units="matched", n_subsamples=20).lower == pytest.approx(1)
    assert robust_rdm_similarity(a, 3 * a, units="equal", n_subsamples=20).mean < 0.9


def test_interval_holds_the_mean_and_one_seed_is_one_answer(rng):
    model, truth, _, _ = recording(rng)
    a, b, c = (robust_rdm_similarity(model, truth, n_subsamples=60, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.values, b.values)
    assert (a.values != c.values).any()
    assert a.lower < a.mean < a.upper
    wide = robust_rdm_similarity(model, truth, n_subsamples=60, confidence=0.99, seed=1)
    assert wide.lower <= a.lower
    assert wide.upper >= a.upper


def test_representations_that_share_nothing_are_near_zero(rng):
    found = robust_rdm_similarity(rng.normal(size=(60, 30)), rng.normal(size=(60, 20)), n_subsamples=50)
    assert abs(found.mean) < 0.05
    assert found.lower < 0 < found.upper


def test_ceiling_is_what_the_truth_reaches(rng):
    _, truth, values, index = recording(rng, n=100)
    means = values.reshape(100, 6, -1).mean(1)
    found = split_half_rdm_similarity(values, index, rdm(truth), n_splits=20)
    assert found.ceiling == pytest.approx(rdm_similarity(rdm(truth), rdm(means)), abs=0.03)
    assert found.corrected == pytest.approx(1, abs=0.03)
    assert 0 < found.half < found.reliability < 1
    assert found.ceiling == pytest.approx(np.sqrt(found.reliability))


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_correction_gives_the_similarity_without_noise(noise):
    errors, raw = [], []
    for seed in range(6):
        model, truth, values, index = recording(np.random.default_rng(seed), noise=noise)
        expected = rdm_similarity(rdm(model), rdm(truth))
        errors.append(split_half_rdm_similarity(values, index, rdm(model), n_splits=10).corrected - expected)
        raw.append(rdm_similarity(rdm(model), rdm(values.reshape(60, 6, -1).mean(1))) - expected)
    assert abs(np.mean(errors)) < 0.04
    assert noise < 1 or np.mean(raw) < -0.05


def test_trials_without_noise_repeat_their_rdm(rng):
    _, truth, _, _ = recording(rng)
    found = split_half_rdm_similarity(np.tile(truth, (3, 1)), np.tile(np.arange(60), 3), rdm(truth), n_splits=3)
    np.testing.assert_allclose([found.half, found.reliability, found.ceiling, found.corrected], 1)


def test_single_trials_have_no_ceiling(rng):
    found = split_half_rdm_similarity(rng.normal(size=(20, 5)), np.arange(20))
    assert np.isnan([found.half, found.reliability, found.ceiling, found.corrected]).all()


def test_images_and_trials_that_do_not_count_are_left_out(rng):
    model, _, values, index = recording(rng, n=30)
    expected = split_half_rdm_similarity(values, index, rdm(model), n_splits=4)
    more_values = np.concatenate([values, rng.normal(size=(9, 24))])
    more_index = np.concatenate([index, [-1] * 6, [30, 31, 32]])  # blanks, then images shown once
    more_model = np.concatenate([model, rng.normal(size=(5, 40))])  # two of them never shown
    found = split_half_rdm_similarity(more_values, more_index, rdm(more_model), n_splits=4)
    assert found == expected


def test_user_function_agrees_with_its_parts(rng):
    model, _, values, index = recording(rng)
    values[::17, 3] = np.nan
    found = representational_similarity(model.reshape(60, 10, 2, 2), values, index, n_subsamples=30, n_splits=5)
    means = np.nanmean(values.reshape(60, 6, 24), 1)
    assert found.similarity == pytest.approx(rdm_similarity(rdm(model), rdm(means)))
    assert found.lower < found.similarity < found.upper
    assert found.similarity < found.corrected < 1
    assert found.ceiling == split_half_rdm_similarity(values, index, n_splits=5).ceiling
    assert (found.n_images, found.n_sites) == (60, 24)


def test_predictions_of_the_sites_are_matched(rng):
    _, truth, values, index = recording(rng)
    found = representational_similarity(truth, values, index, units="matched", n_subsamples=30, n_splits=5)
    assert found.similarity == pytest.approx(found.ceiling, abs=0.05)
    assert found.corrected == pytest.approx(1, abs=0.05)


def test_wrong_comparisons_are_named(rng):
    a = rng.normal(size=(20, 8))
    with pytest.raises(ValueError, match="same images"):
        robust_rdm_similarity(a, a[:10])
    with pytest.raises(ValueError, match="matched"):
        robust_rdm_similarity(a, a[:, :4], units="matched")
    with pytest.raises(ValueError, match="30 of 8 sites"):
        robust_rdm_similarity(a, a, n_sites=30)
    with pytest.raises(ValueError, match=r"confidence 95.*such as 0.95"):
        robust_rdm_similarity(a, a, confidence=95)
    with pytest.raises(ValueError, match=r"integers"):
        split_half_rdm_similarity(a, np.arange(20.0))
    with pytest.raises(ValueError, match="does not point into the rows"):
        representational_similarity(a, a, np.arange(20) + 100)


# Kernel analysis


def clouds(rng, n=40, distance=2.0):
    labels = np.arange(n) % 3
    return distance * rng.normal(size=(3, 6))[labels] + rng.normal(size=(n, 6)), labels


def scaled_kernel(x, kernel, quantile):
    """The kernel itself, with the scale that gives its centred form a mean diagonal of 1."""
    squared = squareform(pdist(x, "sqeuclidean"))
    k = x @ x.T if kernel == "linear" else np.exp(-squared / np.quantile(upper(squared), quantile))
    centre = np.eye(len(x)) - 1 / len(x)
    return k * len(x) / np.trace(centre @ k @ centre)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
@pytest.mark.parametrize("lam", [1e3, 1.0, 1e-2])
def test_closed_form_equals_refits_without_each_image(rng, kernel, lam):
    x, labels = clouds(rng)
    n, k = len(x), scaled_kernel(x, kernel, 0.5)
    y = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    error, base = np.empty((2, *y.shape))
    for i in range(n):
        rest = np.arange(n) != i
        system = np.block([[k[np.ix_(rest, rest)] + lam * np.eye(n - 1), np.ones((n - 1, 1))], [np.ones(n - 1), 0]])
        solution = np.linalg.solve(system, np.vstack([y[rest], np.zeros(3)]))  # weights of images, then the intercept
        error[i] = y[i] - k[i, rest] @ solution[:-1] - solution[-1]
        base[i] = y[i] - y[rest].mean(0)
    found = kernel_analysis(x, labels, kernel=kernel, quantiles=(0.5,), lambdas=[lam])
    assert found.precision[0] == pytest.approx(1 - (error**2).mean() / (base**2).mean(), abs=1e-9)
    assert found.area == pytest.approx(found.precision[0])


def test_components_equal_least_squares_without_each_image(rng):
    x, _ = clouds(rng)
    y = x[:, 0] + rng.normal(size=40)
    vectors = np.linalg.svd(x - x.mean(0), full_matrices=False)[0]
    found = kernel_analysis(x, y, kernel="linear", along="dimension", n_dimensions=8)
    assert found.precision[0] == pytest.approx(0, abs=1e-12)
    for d in (1, 3, 6):
        errors = []
        for i in range(40):
            rest = np.arange(40) != i
            fit = LinearRegression().fit(vectors[rest, :d], y[rest])
            errors.append((y[i] - fit.predict(vectors[i : i + 1, :d])[0], y[i] - y[rest].mean()))
        own, mean = (np.array(errors) ** 2).mean(0)
        assert found.precision[d] == pytest.approx(1 - own / mean, abs=1e-9)
    np.testing.assert_allclose(found.precision[6:], found.precision[6])  # the representation has no more dimensions


def test_training_curve_is_that_of_the_neural_representation_benchmark(rng):
    x, labels = clouds(rng, 30)
    y = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    y = (y - y.mean(0)) / (y - y.mean(0)).std()
    curves = []
    for q in (0.1, 0.5, 0.9):
        k = scaled_kernel(x, "gaussian", q)
        centre = np.eye(30) - 1 / 30
        values, vectors = np.linalg.eigh(centre @ k @ centre)
        basis = vectors[:, np.argsort(-values)][:, :29]
        curves.append([((y - basis[:, :d] @ basis[:, :d].T @ y) ** 2).mean() for d in range(31)])
    found = kernel_analysis(x, labels, along="dimension", loss="training", n_dimensions=30)
    np.testing.assert_allclose(found.precision, 1 - np.min(curves, 0), atol=1e-9)
    assert found.area == pytest.approx(1 - np.min(curves, 0).mean())
    np.testing.assert_array_equal(found.complexity, np.arange(31))


def test_separable_classes_beat_shuffled_labels(rng):
    x, labels = clouds(rng, 90, distance=4.0)
    real = kernel_analysis(x, labels)
    shuffled = [kernel_analysis(x, rng.permutation(labels)).area for _ in range(10)]
    assert real.area > 0.4
    assert real.precision.max() > 0.9
    assert max(shuffled) < 0.05
    assert set(real.quantile) <= {0.1, 0.5, 0.9}
    assert (np.diff(real.complexity) > 0).all()


def test_curves_do_not_know_scale_or_names(rng):
    x, labels = clouds(rng)
    expected = kernel_analysis(x, labels).precision
    np.testing.assert_allclose(kernel_analysis(50 * x + 3, np.array(["cat", "dog", "car"])[labels]).precision, expected)
    linear = kernel_analysis(x, labels, kernel="linear")
    np.testing.assert_allclose(kernel_analysis(9 * x - 1, labels, kernel="linear").precision, linear.precision)
    assert np.isnan(linear.quantile).all()


def test_the_gaussian_kernel_reads_what_the_linear_one_cannot(rng):
    x = rng.normal(size=(120, 2))
    inside = np.hypot(*x.T) < 1.2
    assert kernel_analysis(x, inside).precision.max() > 0.6
    assert kernel_analysis(x, inside, kernel="linear").precision.max() < 0.1


def test_an_image_that_stands_alone_is_no_division_by_zero(rng):
    x = np.concatenate([rng.normal(size=(20, 2)), np.zeros((20, 1))], 1)
    x[0, 2] = 1e3
    assert np.isfinite(kernel_analysis(x, np.arange(20) % 2, kernel="linear", along="dimension").precision).all()


def test_wrong_kernel_analyses_are_named(rng):
    x, labels = clouds(rng)
    with pytest.raises(ValueError, match="missing responses"):
        kernel_analysis(np.where(x > 2, np.nan, x), labels)
    with pytest.raises(ValueError, match="do not vary"):
        kernel_analysis(x, np.zeros(40, int))
    with pytest.raises(ValueError, match="kernel 'cubic'"):
        kernel_analysis(x, labels, kernel="cubic")
    with pytest.raises(ValueError, match="positive lambdas"):
        kernel_analysis(x, labels, lambdas=[1, 0])
    with pytest.raises(ValueError, match="39 dimensions"):
        kernel_analysis(x, labels, along="dimension", n_dimensions=39)
    with pytest.raises(ValueError, match="leave duplicates out"):
        kernel_analysis(np.repeat(x[:2], 20, 0), labels)


# Layers by area


AREAS = ["v1"] * 10 + ["v4"] * 10 + ["it"] * 10


def test_layer_gradient_by_hand():
    layers = np.array([0] * 5 + [1] * 5 + [2] * 10 + [4] * 5 + [5] * 5)
    found = layer_gradient(layers, AREAS, 999, order=["v1", "v4", "it"])
    np.testing.assert_allclose(found.mean_layer, [0.5, 2, 4.5])
    np.testing.assert_array_equal(found.n_sites, 10)
    assert found.p == 1 / 1000
    assert found.statistic == pytest.approx(spearmanr(np.repeat([0, 1, 2], 10), layers).statistic)
    assert layer_gradient(layers, AREAS, 99, order=["it", "v4", "v1"]).p == 1


def test_any_difference_orders_as_the_one_way_f(rng):
    layers = rng.integers(0, 8, 30)
    found = layer_gradient(layers, AREAS, 9)
    assert found.areas == ("it", "v1", "v4")
    f = f_oneway(*(layers[np.array(AREAS) == a] for a in found.areas)).statistic
    assert found.statistic == pytest.approx(f * 2 / (f * 2 + 27))


@pytest.mark.parametrize("order", [None, ["v1", "v4", "it"]])
def test_without_a_gradient_p_is_uniform(rng, order):
    p = np.array([layer_gradient(rng.integers(0, 4, 30), AREAS, 99, order=order, seed=s).p for s in range(200)])
    assert 0.02 <= (p <= 0.1).mean() <= 0.18
    assert 0.4 < p.mean() < 0.65
    assert layer_gradient(np.ones(30, int), AREAS, 99, order=order).p == 1


def test_wrong_layers_are_named():
    with pytest.raises(ValueError, match="without a chosen layer"):
        layer_gradient(np.r_[-1, np.zeros(29, int)], AREAS)
    with pytest.raises(ValueError, match=r"in `order` once"):
        layer_gradient(np.zeros(30, int), AREAS, order=["v1", "v4"])
    with pytest.raises(ValueError, match="at least two areas"):
        layer_gradient(np.zeros(3, int), ["v4"] * 3)
