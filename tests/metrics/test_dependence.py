"""Gaussian total correlation against closed forms."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import (
    gaussian_total_correlation,
    squared_wasserstein_dependence,
    total_correlation,
    wasserstein_dependence,
)
from tests.metrics.coverage import assert_coverage

CORRELATED = np.array([[1.0, 0.9], [0.9, 1.0]])


def test_published_fixture() -> None:
    assert total_correlation(CORRELATED) == pytest.approx(0.8304, abs=5e-5)
    assert total_correlation(CORRELATED) == pytest.approx(-0.5 * math.log(1 - 0.81), rel=1e-12)


def test_codes_of_that_covariance() -> None:
    signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    codes = signs @ np.linalg.cholesky(CORRELATED).T
    value = gaussian_total_correlation(codes, num_resamples=0).value
    assert value == pytest.approx(total_correlation(CORRELATED), rel=1e-12)


def test_the_units_of_dimensions_do_not_count() -> None:
    scaled = CORRELATED * np.outer([1e-8, 1e8], [1e-8, 1e8])
    assert total_correlation(scaled) == pytest.approx(total_correlation(CORRELATED), rel=1e-12)


def test_dependent_dimensions_are_infinite() -> None:
    z = np.random.default_rng(0).normal(size=(100, 3))
    score = gaussian_total_correlation(np.c_[z, z[:, :1] - 2 * z[:, 1:2]])
    assert score.value == math.inf
    assert score.interval is None
    assert score.to_json()["value"] is None


def test_a_constant_dimension_is_independent() -> None:
    z = np.random.default_rng(0).normal(size=(100, 2))
    score = gaussian_total_correlation(np.c_[z, np.full(100, 0.1)])
    assert score.value == gaussian_total_correlation(z).value
    assert score.variant["constant_dims"] == [2]
    assert total_correlation(np.diag([1.0, 0.0])) == 0.0


@pytest.mark.full
def test_the_interval_holds_the_populations() -> None:
    root = np.linalg.cholesky([[1.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 1.0]])
    truth = total_correlation(root @ root.T)
    assert_coverage(
        gaussian_total_correlation, lambda rng: (rng.normal(size=(300, 3)) @ root.T,), truth
    )


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match=r"more rows than the 3 dimensions that vary .* got 3"):
        gaussian_total_correlation(np.eye(3))
    with pytest.raises(DataError, match=r"at least 1 of 2 dimensions to vary .* got 0 that do"):
        gaussian_total_correlation(np.ones((5, 2)))
    with pytest.raises(DataError, match="at least 2 rows for gaussian_total_correlation, got 1"):
        gaussian_total_correlation(np.ones((1, 2)))


RHO = 0.6
COVARIANCE = np.array([[1.0, RHO], [RHO, 1.0]])
TRUTH = 4 - 2 * (math.sqrt(1 + RHO) + math.sqrt(1 - RHO))  # eigenvalues 1 +- rho


def test_two_dimensions() -> None:
    assert squared_wasserstein_dependence(COVARIANCE) == pytest.approx(TRUTH, rel=1e-12)
    assert squared_wasserstein_dependence(9 * COVARIANCE) == pytest.approx(9 * TRUTH, rel=1e-12)


def test_the_formula_of_two_gaussians() -> None:
    """W2^2 = tr(A + B - 2 (A^1/2 B A^1/2)^1/2), here with B the diagonal of A."""
    a = np.cov(np.random.default_rng(0).normal(size=(6, 4)), rowvar=False) * np.outer(
        *[[1, 2, 3, 4]] * 2
    )
    b = np.diag(np.diag(a))
    root = sqrtm(a)
    expected = np.trace(a + b - 2 * sqrtm(root @ b @ root)).real
    assert squared_wasserstein_dependence(a) == pytest.approx(expected, rel=1e-6)


def test_normalised_is_free_of_units() -> None:
    z = np.random.default_rng(0).normal(size=(50, 3)) @ [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    one, other = (wasserstein_dependence(c * z, normalised=True) for c in (1.0, 100.0))
    assert one.value == pytest.approx(other.value, rel=1e-9)
    assert wasserstein_dependence(z).value == pytest.approx(one.value * np.trace(np.cov(z.T)))


def test_dependent_dimensions_are_finite() -> None:
    z = np.random.default_rng(0).normal(size=(50, 1))
    value = wasserstein_dependence(np.c_[z, z], num_resamples=0).value
    assert value == pytest.approx((4 - 2 * math.sqrt(2)) * z.var(ddof=1))


@pytest.mark.full
def test_the_interval_of_a_distance_holds_the_populations() -> None:
    root = np.linalg.cholesky(COVARIANCE)
    assert_coverage(
        wasserstein_dependence, lambda rng: (rng.normal(size=(300, 2)) @ root.T,), TRUTH
    )
