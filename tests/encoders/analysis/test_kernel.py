"""Kernel analysis against refits without each image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import LinearRegression

from encoders.analysis.kernel import kernel_analysis
from tests.encoders.helpers.matrices import upper

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
